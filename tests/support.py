"""Scenarios that tests share: everything that a scenario needs, small, with every cost given."""

from __future__ import annotations

import importlib.util
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import yaml

from sflsim.errors import ScenarioError
from sflsim.learning.costs import CostOverrides
from sflsim.scenario import parse_scenario
from sflsim.scenario.schema import Scenario

GIVEN = {
    "client_forward": "8 FLOP",
    "client_backward": "16 FLOP",
    "server_forward": "3 FLOP",
    "server_backward": "25 FLOP",
    "activation": "8 byte",
    "labels": "4 byte",
    "client_model": "16 byte",
    "server_model": "32 byte",
}
COSTS = {  # every figure, so that nothing is derived from the model; those not given are never timed here
    name: GIVEN.get(name, "4 FLOP" if name.endswith(("forward", "backward")) else "4 byte")
    for name in CostOverrides.model_fields
}
SIZES = {name for name in COSTS if name.endswith(("saved", "live", "step"))}  # of memory, above zero
FREE = {name: figure if name in SIZES else f"0 {figure.split()[1]}" for name, figure in COSTS.items()}
UNLIMITED = {"up": "unlimited", "down": "unlimited"}

# Two devices whose every time is a dyadic rational under COSTS.
FAST = {
    "name": "fast",
    "count": 1,
    "device": {"compute": "8 FLOP/s"},
    "link": {"up": "16 byte/s", "down": "16 byte/s", "latency": "0.25 s"},
}
SLOW = {
    "name": "slow",
    "count": 1,
    "device": {"compute": "4 FLOP/s"},
    "link": {"up": "4 byte/s", "down": "8 byte/s", "latency": "0.5 s"},
    "straggler": {"kind": "constant", "value": "1.25 s"},
}


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    return one, other


def whole(spans: pd.DataFrame) -> pd.DataFrame:
    """Return spans with each message as one row, from its first byte to its arrival."""
    spans = spans.reset_index(drop=True)
    travels = spans.index[spans["activity"] == "latency"]
    spans.loc[travels - 1, "end_s"] = spans.loc[travels, "end_s"].to_numpy()
    return spans.drop(travels)


def data(**fields: Any) -> dict[str, Any]:
    """Return a timed scenario as a mapping: two clients, one round; `fields` stand in place of its own."""
    return {
        "name": "test",
        "workload": {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8, "costs": COSTS},
        "fleet": {"clients": 2, "groups": [FAST, SLOW]},
        "server": {"compute": "4 FLOP/s", "slots": 1, "link": {"up": "unlimited", "down": "8 byte/s"}},
        "variants": [{"algorithm": "splitfed-v1"}],
        "stop": {"rounds": 1},
        "evaluate": {"every": "1 round"},
        **fields,
    }


def read(content: dict[str, Any], overrides: Sequence[str] = ()) -> Scenario:
    """Return the scenario that a mapping describes."""
    return parse_scenario(yaml.safe_dump(content, sort_keys=False), "test.yaml", overrides)


def imported(path: Path) -> ModuleType:
    """Return a file beside the package (a study, the hook of the docs) as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look for the module that they are in
    spec.loader.exec_module(module)
    return module


MOST_S, MOST_BYTES = 5.0, 200 * 2**20
"""What one input may take: processor time, and memory beyond what the process has already."""


@contextmanager
def within_bounds(most_bytes: int = MOST_BYTES) -> Iterator[None]:
    """Check that a block takes no more than MOST_S and `most_bytes`; one that waits for ever is ended."""

    def give_up(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    started_s, started_bytes = time.process_time(), _peak_bytes(anew=True)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert time.process_time() - started_s < MOST_S
    assert _peak_bytes() - started_bytes < most_bytes


def _peak_bytes(anew: bool = False) -> int:
    """Return the most memory that this process has held since it was last asked to measure `anew`."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


def check_uplink_refused(up: dict[str, Any], key: str, found: str) -> None:
    """Assert that an uplink is refused with one mistake, at `key` of it, that says what was `found`."""
    group = {"name": "pi", "device": {"compute": "8 FLOP/s"}, "link": {"up": up, "down": "unlimited"}}
    with pytest.raises(ScenarioError) as caught:
        read(data(fleet={"clients": 1, "groups": [group]}))
    (problem,) = caught.value.problems

    assert problem.path == f"fleet.groups[0].link.up.{key}"
    assert found in str(problem)
    assert problem.allowed
