"""The small problem of which plans are held against brute force: two groups of devices, digits, 18 rounds."""

from __future__ import annotations

from typing import Any

from support import COSTS as EVERY_COST
from support import data, read

import sflsim

GROUPS = [
    {"name": "fast", "share": "50%", "device": {"compute": "30 GFLOP/s"}, "link": "wifi"},
    {"name": "slow", "share": "50%", "device": {"compute": "8 GFLOP/s"}, "link": "wifi"},
]
COSTS = EVERY_COST | {  # all given: none is derived anew for each point
    "client_forward": "300 MFLOP", "client_backward": "600 MFLOP", "server_forward": "2 GFLOP",
    "server_backward": "4 GFLOP", "activation": "256 KiB", "labels": "128 byte", "client_model": "64 KiB",
    "server_model": "8 MiB", "client_saved": "8 MiB", "client_live": "4 MiB",
}  # fmt: skip
MODEL = {"kind": "mlp", "hidden": [12, 12]}
FIRST_ORDER = {"client_optimizer": {"lr": 0.5}, "server_optimizer": {"lr": 0.5}}
SPLITFED_V1 = {"algorithm": "splitfed-v1", "local_iterations": [1, 4], **FIRST_ORDER}
MU_SPLITFED = {"algorithm": "mu-splitfed", "tau": 4, "eta_s": 0.05, "eta_c": 0.02, "eta_g": 1.0}


def workloads(batch_sizes: list[int]) -> list[dict[str, Any]]:
    """Return the workload at both cuts with each batch size; the costs are the same everywhere."""
    return [
        {"model": MODEL, "cut": cut, "batch_size": size, "costs": COSTS}
        for cut in (1, 2)
        for size in batch_sizes
    ]


def planned(block: dict[str, Any], **fields: Any) -> sflsim.Scenario:
    """Return the scenario with a `plan:` block; `fields` give variants, target and more."""
    content = data(
        workload={"model": MODEL, "batch_size": 16, "costs": COSTS},
        fleet={"clients": 6, "groups": GROUPS, "straggler": {"kind": "exponential", "mean": "0.4 s"}},
        server={"compute": "100 GFLOP/s"},
        stop={"rounds": 18},
        evaluate={"every": "2 rounds"},
    )
    return read(content | {"plan": block} | fields)
