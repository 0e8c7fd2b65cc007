"""Timings made by hand: one group of devices, an evaluation in every round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from support import data, read

from sflsim.retime.timing import Timing
from sflsim.scenario.schema import Scenario


def scenario() -> Scenario:
    """Return a scenario of one client."""
    group = {"name": "only", "device": {"compute": "8 FLOP/s"}}
    return read(data(fleet={"clients": 1, "groups": [group]}, variants=["splitfed-v1"]))


def timing(
    seed: int, keys: Sequence[str], each_s: float = 1.0, each_bytes: float = 1.0, **figures: Any
) -> Timing:
    """Return a run whose time and bytes grow by so much in each round."""
    rounds = np.arange(len(keys))
    sizes = (rounds * each_bytes)[:, None]
    settings = {
        "energy_j": np.zeros(len(keys)),
        "up_bytes": sizes,
        "down_bytes": np.zeros_like(sizes),
        "busiest_bytes": sizes,
        "memory_share": 0.5,
        "memory_bytes": (1.0,),
        "server_memory_bytes": 1.0,
        "server_busy_s": np.zeros(len(keys)),
    }
    times_s = rounds * each_s
    return Timing(seed=seed, keys=tuple(keys), rounds=rounds, time_s=times_s, **(settings | figures))
