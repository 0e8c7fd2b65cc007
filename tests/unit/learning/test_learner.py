"""Calls behind known values are forgotten: no figure changes, and memory does not grow with the rounds."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from support import data, read

from sflsim.experiment.simulate import Progress, simulate
from sflsim.learning import learner
from sflsim.learning.graph.lineage import Call
from sflsim.learning.graph.store import MemoryStore
from sflsim.scenario.schema import Scenario

VARIANTS: list[dict[str, Any]] = [
    {"algorithm": "splitfed-v1", "client_optimizer": {"lr": 0.1, "momentum": 0.9}, "keep_state": True},
    {"algorithm": "mu-splitfed", "tau": "adaptive"},
    {"algorithm": "ho-sfl"},
    {"algorithm": "gas"},
    {"algorithm": "fedbuff"},
]


def scenario(rounds: int, variant: dict[str, Any], every: int = 2) -> Scenario:
    return read(data(variants=[variant], stop={"rounds": rounds}, evaluate={"every": f"{every} rounds"}))


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(
            variant,
            id=str(variant["algorithm"]),
            marks=() if variant["algorithm"] == "mu-splitfed" else pytest.mark.slow,
        )
        for variant in VARIANTS
    ],
)
def test_forgetting_changes_no_figure(
    variant: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a memory that keeps nothing, and for a run that goes on from a store on disk."""
    usual = simulate(scenario(4, variant)).evaluations
    monkeypatch.setattr(learner, "FORGET_EVERY", 1)
    for store, cache, rounds in (
        (MemoryStore(limit_bytes=1), None, 4),
        (None, tmp_path, 2),
        (None, tmp_path, 4),
        (None, tmp_path, 4),
    ):
        found = simulate(scenario(rounds, variant), store=store, cache=cache).evaluations
        assert found.equals(usual[: len(found)])
        assert found["round"].iloc[-1] == rounds


@pytest.mark.parametrize(
    "cached",
    [
        pytest.param(False, id="computed"),
        pytest.param(True, id="read from a store", marks=pytest.mark.slow),
    ],
)
def test_calls_do_not_pile_up(cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls in memory are no more at later evaluations than at the first; a round makes three or more."""
    if cached:
        simulate(scenario(16, VARIANTS[0], 4), cache=tmp_path)
    alive: list[int] = []

    def count(progress: Progress) -> None:
        gc.collect()
        alive.append(sum(isinstance(one, Call) for one in gc.get_objects()))

    monkeypatch.setattr(learner, "FORGET_EVERY", 5000)
    simulate(scenario(16, VARIANTS[0], 4), cache=tmp_path if cached else None, progress=count)
    first, *later = alive[1:]  # alive[0]: nothing has been trained
    assert len(later) >= 3
    assert max(later) <= first + 3
