"""A sweep on a real local Ray cluster equals the one at home, also when a worker is killed meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import data, read

import sflsim
from sflsim.sweeps.sweep import SweepProgress

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

OVER = {
    "server.compute": ["2 FLOP/s", "4 FLOP/s", "8 FLOP/s", "16 FLOP/s", "32 FLOP/s", "64 FLOP/s"],
    "variants[mu].tau": [1, 2, 4, 8],
}
KILLED_AFTER = (5, 20)  # runs


def test_24_points_with_killed_workers(tmp_path: Path) -> None:
    """Two actors, two of them killed on the way: the same files, byte for byte, and nothing trained twice.

    A training that a death cuts short is gone on with from its last evaluation.
    """
    variants = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed"}]
    scenario = read(data(variants=variants, stop={"rounds": 20}, target_accuracy="15%"))
    killed = []

    def kill_one(step: SweepProgress) -> None:
        if step.runs_done in KILLED_AFTER:
            victim = next(pid for pid in actors() if pid not in killed)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    far = sflsim.sweep(scenario, OVER, workers=2, ray="local", progress=kill_one)
    near = sflsim.sweep(scenario, OVER)
    assert (len(killed), far.manifest["workers_lost"]) == (2, 2)
    assert far.manifest["points"] == 24
    assert near.manifest["trainings"] == 5
    assert far.manifest["trainings"] <= 5
    assert (near.table["status"] == "completed").all()
    near.save(tmp_path / "near")
    far.save(tmp_path / "far")
    for name in ("sweep.parquet", "sweep.csv", "scenario.yaml"):
        assert (tmp_path / "near" / name).read_bytes() == (tmp_path / "far" / name).read_bytes()


def actors() -> Iterator[int]:
    """Yield the processes of this process's actors."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::RayWorker") and os.getpid() in ancestors(int(folder.name)):
            yield int(folder.name)


def ancestors(pid: int) -> Iterator[int]:
    """Yield the parents of a process, up to the first of all."""
    while pid > 1:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        pid = int(stat.rpartition(")")[2].split()[1])
        yield pid
