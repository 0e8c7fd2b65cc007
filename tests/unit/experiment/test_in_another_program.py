"""In somebody else's program a call computes the same, whatever is set there, and leaves all as it was."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import data, read

import sflsim
from sflsim.errors import SflsimError

Around = Callable[[], AbstractContextManager[Any]]
TWO = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": 2}]


def scenario() -> sflsim.Scenario:
    """A scenario whose costs are derived from its model."""
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8}
    fleet = {"clients": 2, "groups": [{"device": "jetson-nano"}]}
    return read(data(workload=workload, fleet=fleet, variants=TWO, stop={"rounds": 2}))


@pytest.fixture(scope="module")
def wanted() -> sflsim.Run:
    return sflsim.simulate(scenario())


def equal(run: sflsim.Run, other: sflsim.Run) -> bool:
    return run.evaluations.equals(other.evaluations) and run.spans.equals(other.spans)


@contextmanager
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("around", [
    torch.no_grad,
    torch.inference_mode,
    doubles,
    lambda: torch.device("meta"),
    lambda: torch.autocast("cpu", torch.bfloat16),
    lambda: torch.autograd.set_detect_anomaly(True),
], ids=["no_grad", "inference", "doubles", "device", "autocast", "anomaly"])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Anomaly")
def test_settings_of_the_caller(around: Around, wanted: sflsim.Run) -> None:
    with around():
        assert equal(sflsim.simulate(scenario()), wanted)


def test_all_is_put_back() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        torch.manual_seed(5)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1], gc.get_threshold()  # noqa: NPY002
        sflsim.simulate(scenario())
        sflsim.simulate(scenario(), timing_only=True)
        sflsim.memory(scenario())
        after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1], gc.get_threshold()  # noqa: NPY002
        assert torch.equal(before[0], after[0])
        assert (before[1], before[3]) == (after[1], after[3])
        assert np.array_equal(before[2], after[2])
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("timing_only", [False, True])
def test_threads(timing_only: bool) -> None:
    """As many simulations at a time as there are threads, each with the result of one alone."""
    alone, threshold = sflsim.simulate(scenario(), timing_only=timing_only), gc.get_threshold()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(sflsim.simulate, scenario(), timing_only=timing_only) for _ in range(4)]
    assert all(equal(call.result(), alone) for call in calls)
    assert gc.get_threshold() == threshold


@pytest.mark.parametrize("target", [50, 0, -1, float("nan"), True, "much", "0%"])
def test_a_target_that_is_no_share(target: Any, wanted: sflsim.Run, tmp_path: Path) -> None:
    """What the command refuses as --target is refused in Python; nothing is said to be not reached."""
    for call in (wanted.summary, lambda one: wanted.plot(tmp_path, one)):
        with pytest.raises(SflsimError, match="target: found"):
            call(target)
    with pytest.raises(SflsimError, match="did you mean '50%'"):
        wanted.summary(50)


def test_a_target_as_text(wanted: sflsim.Run) -> None:
    assert wanted.summary("5%").equals(wanted.summary(0.05))


@pytest.mark.parametrize("workers", [0, -3, 1.5, True])
def test_a_number_of_workers_that_is_none(workers: Any) -> None:
    for call in (sflsim.simulate, sflsim.sweep, sflsim.plan):
        with pytest.raises(SflsimError, match=f"workers: found {workers}"):
            call(scenario(), workers=workers)


UNGUARDED = """
import sflsim
text = open("scenario.yaml").read()
sflsim.simulate(sflsim.parse_scenario(text), workers=2, timing_only=True)
"""


@pytest.mark.slow
def test_a_script_without_a_guard(tmp_path: Path) -> None:
    """The message names what is missing, and no process tells of its own end."""
    (tmp_path / "scenario.yaml").write_text(read(data(seeds=[0, 1])).to_yaml())
    (tmp_path / "study.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "study.py"], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "if __name__ == '__main__'" in done.stderr.splitlines()[-1]
    assert "memory" not in done.stderr.splitlines()[-1]
    assert done.stderr.count("Traceback") == 1
