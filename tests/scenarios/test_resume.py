"""A run that was killed goes on and ends as if it had not been; timings share one training.

The oracle is the same simulation with no store, undisturbed, compared byte for byte.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import read

import sflsim
from sflsim.learning.graph.disk_store import DiskStore
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Session

TABLES = ("spans", "evaluations", "clients", "runs")
GROUPS = [
    {"name": "quick", "count": 3, "device": {"compute": "1 GFLOP/s"}, "link": "wifi"},
    {"name": "late", "count": 3, "device": {"compute": "0.2 GFLOP/s"}, "link": "wifi"},
]
VARIANTS: list[dict[str, Any]] = [
    {"algorithm": "splitfed-v1"},
    {"algorithm": "mu-splitfed", "tau": "adaptive", "tau_max": 3},
    {"algorithm": "fedasync"},
    {"algorithm": "fedbuff", "b": 3},
    {"algorithm": "heron-sfl"},
]
MORE = [{"algorithm": "gas", "q_c": 3}, {"algorithm": "sl"}, {"algorithm": "ho-sfl"}]


def fleet(late: str) -> dict[str, Any]:
    straggler = {"kind": "exponential", "mean": late}
    return {"clients": 6, "participants": 4, "groups": GROUPS, "straggler": straggler}


def scenario(variants: list[dict[str, Any]] = VARIANTS, rounds: int = 8, **fields: Any) -> Scenario:
    return read(
        {
            "name": "resumed",
            "workload": {"model": {"kind": "mlp", "hidden": [16]}, "cut": 1, "batch_size": 16},
            "fleet": fleet("10 ms"),
            "variants": variants,
            "stop": {"rounds": rounds},
            "evaluate": {"every": "2 rounds"},
            **fields,
        }
    )


@cache
def undisturbed() -> sflsim.Run:
    return sflsim.simulate(scenario())


def same(one: sflsim.Run, other: sflsim.Run) -> bool:
    """Tell whether all tables agree in every bit."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in TABLES]
    return all(a.to_csv() == b.to_csv() and a.equals(b) for a, b in pairs)


def test_a_store_changes_nothing(tmp_path: Path) -> None:
    """Cold and warm, a run with a store is the run without; warm, nothing is computed."""
    cold = sflsim.simulate(scenario(), cache=tmp_path)
    warm = sflsim.simulate(scenario(), cache=tmp_path)

    assert same(cold, undisturbed())
    assert same(warm, undisturbed())
    assert cold.manifest["computed_calls"] == undisturbed().manifest["computed_calls"]
    assert warm.manifest["computed_calls"] == {}
    assert warm.manifest["values_from_cache"] > 0


class Killed(Exception):
    """Stands for a death right after an evaluation."""


@pytest.mark.parametrize("variant", [*VARIANTS, *MORE], ids=lambda variant: variant["algorithm"])
def test_no_work_before_an_evaluation_is_lost(tmp_path: Path, variant: dict[str, Any]) -> None:
    """What two processes compute before and after a death at an evaluation is, together, one run's work."""

    def work(cache: Path | None, deaths: list[int]) -> Counter[str]:
        done: list[Any] = []
        seen = 0

        def on_evaluation(row: Any) -> None:
            nonlocal seen
            seen += 1
            if seen in deaths:
                raise Killed

        def watched(variant: Any, cut: int, seed: int) -> Any:
            done.append(session.learning(variant, cut, seed))
            return done[-1]

        session = Session(scenario([variant], 6), Options(cache=cache), learning=watched)
        with suppress(Killed):
            session.run(0, 0, on_evaluation)
        return Counter(done[0].computed)

    whole = work(None, [])
    parts = [work(tmp_path, [2]), work(tmp_path, [3]), work(tmp_path, [])]

    assert sum(parts, Counter()) == whole
    assert all(sum(part.values()) > 0 for part in parts)
    assert work(tmp_path, []) == Counter()


def test_a_diverged_run_is_known_as_such(tmp_path: Path) -> None:
    """In which round it diverged is stored like any number: the second time nothing is computed."""
    wild = {"algorithm": "splitfed-v1", "client_optimizer": {"lr": 1e6}, "server_optimizer": {"lr": 1e6}}
    first = sflsim.simulate(scenario([wild]), cache=tmp_path)
    second = sflsim.simulate(scenario([wild]), cache=tmp_path)

    assert first.runs["status"].to_list() == ["diverged"]
    assert same(first, second)
    assert same(first, sflsim.simulate(scenario([wild])))
    assert second.manifest["computed_calls"] == {}


# Timings that share a training.


def test_timings_share_one_training(tmp_path: Path) -> None:
    """Other bandwidths and stragglers, the same learning: equal to separate cold runs, trained once."""
    variants = [VARIANTS[0], {"algorithm": "fedavg"}, {"algorithm": "mu-splitfed", "tau": 2}]
    timings = [
        scenario(variants, 12, seeds=[0, 1], server={"compute": f"{speed} GFLOP/s"}, fleet=fleet(late))
        for speed, late in ((1, "1 s"), (5, "1 s"), (5, "2 s"))
    ]
    shared = [sflsim.simulate(one, cache=tmp_path) for one in timings]
    alone = [sflsim.simulate(one) for one in timings]

    assert all(same(one, other) for one, other in zip(shared, alone, strict=True))
    assert [bool(one.manifest["computed_calls"]) for one in shared] == [True, False, False]
    assert len({one.runs["time_s"].sum() for one in shared}) == 3


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    """Twenty rounds after twelve cost eight."""
    counts = [
        sflsim.simulate(scenario(VARIANTS[:1], rounds), cache=tmp_path).manifest["computed_calls"]["train"]
        for rounds in (12, 20)
    ]

    assert counts == [12, 8]


def test_any_damage_to_the_store_changes_no_table(tmp_path: Path) -> None:
    """Bytes are flipped all over the store, between runs: every table stays as it was."""
    rng = random.Random(1)
    sflsim.simulate(scenario(), cache=tmp_path)
    for _ in range(2):
        for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
            if (rng.random() < 0.7 or path.suffix == ".sqlite") and path.stat().st_size:
                content = bytearray(path.read_bytes())
                for _ in range(3 + len(content) // 200):
                    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
                path.write_bytes(content)
        with pytest.warns(sflsim.StoreWarning):
            assert same(sflsim.simulate(scenario(), cache=tmp_path), undisturbed())


def test_a_full_disk_under_the_store_loses_no_run(tmp_path: Path) -> None:
    """The run warns, goes on without storing and ends as ever."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.warns(sflsim.StoreWarning, match="stored"):
            run = sflsim.simulate(scenario(), cache=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert same(run, undisturbed())


# Killed processes.


class Launcher:
    """Starts simulations in processes of their own."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("launcher.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, scenario: Scenario, cache: Path, folder: Path) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"scenario": scenario.to_yaml(), "cache": str(cache), "folder": str(folder)}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


def wait_for(process: int, timeout_s: float) -> bool:
    """Wait until a process has ended; tell whether it has."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.002)
    return False


def killed(process: int) -> bool:
    """Kill a process; tell whether it was still there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    one = Launcher()
    yield one
    one.process.communicate()


def files(folder: Path) -> dict[str, Any]:
    """Return what a run folder holds, without real times and counts of work."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    found["run.json"] = json.loads(found["run.json"])["runs"]
    return found


IN_A_ROW = 10
"""Kills after which a run may go on to its end, however slow the machine has become since it was timed."""


@pytest.mark.parametrize(
    ("kills", "variants"), [(1, VARIANTS[1:3]), pytest.param(50, VARIANTS, marks=pytest.mark.slow)]
)
def test_killed_at_random_moments(
    tmp_path: Path, launcher: Launcher, kills: int, variants: list[dict[str, Any]]
) -> None:
    """SIGKILL at one random moment after another: what ends now and then is the undisturbed run."""
    rng, one = random.Random(kills), scenario(variants)
    expected = files(sflsim.simulate(one).save(tmp_path / "expected", plots=False))
    store, folder, ended, died, in_a_row = tmp_path / "store", tmp_path / "run", 0, 0, 0
    started = time.monotonic()
    assert wait_for(launcher.start(one, tmp_path / "other", tmp_path / "timed"), 120)
    whole_s = time.monotonic() - started
    assert files(tmp_path / "timed") == expected
    while died < kills:
        process = launcher.start(one, store, folder)
        moment_s = rng.uniform(0, whole_s)
        if not wait_for(process, moment_s if in_a_row < IN_A_ROW else 120) and killed(process):
            died, in_a_row = died + 1, in_a_row + 1
            assert wait_for(process, 10)
        if (folder / "run.json").exists():  # a folder that looks whole is whole; begin anew
            assert files(folder) == expected
            ended, in_a_row = ended + 1, 0
            shutil.rmtree(folder)
            shutil.rmtree(store)
    assert wait_for(launcher.start(one, store, folder), 120)
    assert files(folder) == expected
    assert ended >= (kills - 1) // IN_A_ROW
    print(f"{died} kills, {ended} runs ended between them")


def test_two_processes_on_one_store(tmp_path: Path, launcher: Launcher) -> None:
    """Side by side they end as ever, and share the work: nothing is trained twice.

    Beside results the store keeps the key of the task and the derived costs.
    """
    one = scenario(VARIANTS[:3])
    expected = files(sflsim.simulate(one).save(tmp_path / "expected", plots=False))
    processes = [launcher.start(one, tmp_path / "store", tmp_path / str(number)) for number in range(3)]
    assert all(wait_for(process, 120) for process in processes)
    manifests = [json.loads((tmp_path / str(number) / "run.json").read_text()) for number in range(3)]
    work = sum((Counter(manifest["computed_calls"]) for manifest in manifests), Counter())

    assert all(files(tmp_path / str(number)) == expected for number in range(3))
    assert work == Counter(json.loads((tmp_path / "expected" / "run.json").read_text())["computed_calls"])
    assert DiskStore(tmp_path / "store").contents().numbers == work["evaluate"] + 2
