"""One place to import the oracles from; see the modules for the algorithms and their readings.

Works as ``import reference`` (this folder on the path), as ``tests.oracle.reference`` and by file path.
"""

from __future__ import annotations

import sys
from pathlib import Path

if str(Path(__file__).resolve().parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from reference_async import (
    LabelStatistics,
    fedasync,
    fedbuff,
    gas,
    generated,
    staleness_weight,
    updated_statistics,
)
from reference_local import cse_fsl, heron_sfl, sent_iterations
from reference_losses import (
    Opt,
    OptState,
    Params,
    Part,
    Result,
    axpy,
    client_backward,
    client_forward,
    clone,
    cross_entropy,
    gradient,
    opt_step,
    server_gradients,
    shaped_direction,
    weighted_mean,
    whole,
)
from reference_sync import (
    fedavg,
    fedlora,
    frozen_client,
    ho_sfl,
    local_steps,
    mu_splitfed,
    sl,
    splitfed_v1,
    splitfed_v2,
    zo_splitfed,
)

__all__ = [
    "LabelStatistics",
    "Opt",
    "OptState",
    "Params",
    "Part",
    "Result",
    "axpy",
    "client_backward",
    "client_forward",
    "clone",
    "cross_entropy",
    "cse_fsl",
    "fedasync",
    "fedavg",
    "fedbuff",
    "fedlora",
    "frozen_client",
    "gas",
    "generated",
    "gradient",
    "heron_sfl",
    "ho_sfl",
    "local_steps",
    "mu_splitfed",
    "opt_step",
    "sent_iterations",
    "server_gradients",
    "shaped_direction",
    "sl",
    "splitfed_v1",
    "splitfed_v2",
    "staleness_weight",
    "updated_statistics",
    "weighted_mean",
    "whole",
    "zo_splitfed",
]
