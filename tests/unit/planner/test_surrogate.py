"""What a training is guessed to add to the front, on timings made by hand."""

from __future__ import annotations

import math
from statistics import NormalDist
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import Objectives
from sflsim.planner.pareto import hypervolume
from sflsim.planner.space import Point
from sflsim.planner.surrogate import Prediction, Surrogate
from sflsim.retime.timing import Timing
from sflsim.scenario.plan_block import PlanConfig

pytest.importorskip("sklearn")

TARGET, ROUNDS = 0.6, 400
PLAN = PlanConfig.model_validate(
    {"objectives": ["time", "bytes"], "constraints": {"deadline": "210 s"}, "prices": {"server_hour": 1}}
)


def evaluator(rates: dict[int, tuple[float, float]]) -> Evaluator:
    """Return what is known of points whose time and bytes grow with the rounds at these rates.

    The number of a point is its participants; each learns in its own way, evaluated in every round.
    """
    found = Evaluator(Objectives(PLAN, TARGET), [0])
    rounds = np.arange(ROUNDS + 1)
    zeros, groups = np.zeros(ROUNDS + 1), np.zeros((ROUNDS + 1, 1))
    each = rounds.astype(np.float64)
    for number, (seconds, size) in rates.items():
        keys = ("start", *(f"{number}-{row}" for row in rounds[1:]))
        timing = Timing(0, keys, rounds, each * seconds, zeros, groups, groups, groups, 0.0, 0.0, 0.0)
        table = {"time": each * seconds, "bytes": each * size}
        found.timings[number] = [timing]
        found.tables[number] = [table | dict.fromkeys(("cost", "energy", "busiest"), zeros)]
        choices = {"variant": "a", "fleet.participants": number}
        found.points[number] = Point(number, (), choices, {"algorithm": "a"}, cast(Any, SimpleNamespace()))
    return found


def train(found: Evaluator, number: int, needed: float, until: int = ROUNDS) -> None:
    """Let accuracy grow in proportion to the rounds, from 0.1 to the target in the round `needed`."""
    for row, key in enumerate(found.timings[number][0].keys[: until + 1]):
        found.known[key] = (0.1 + (TARGET - 0.1) * min(1.0, row / needed), 1.0)


def test_rounds_that_follow_a_power_law_are_guessed() -> None:
    """Rounds of 200 / participants ^ 0.5: within and beyond what was trained."""
    found = evaluator(dict.fromkeys(range(1, 33), (1.0, 1.0)))
    for number in (1, 2, 3, 5, 8, 12, 16, 20, 24):
        train(found, number, math.ceil(200 / number**0.5))
    predictions = Surrogate(found).predictions()
    for number in range(1, 33):
        prediction = predictions[found.learning(found.points[number])]
        assert math.exp(prediction.mean) == pytest.approx(200 / number**0.5, rel=0.1), number
        assert prediction.deviation < 0.5


def test_less_is_known_far_away() -> None:
    """The prediction is surest where trainings are."""
    found = evaluator(dict.fromkeys((1, 2, 4, 64), (1.0, 1.0)))
    train(found, 1, 100)
    train(found, 2, 70)
    predictions = Surrogate(found).predictions()
    deviations = [predictions[found.learning(found.points[number])].deviation for number in (1, 4, 64)]
    assert deviations == sorted(deviations)
    assert deviations[2] > 2 * deviations[0]


@pytest.mark.parametrize(
    ("until", "needed", "expected"), [(100, 200.0, 200), (100, 1e9, 1000), (100, 50.0, 50)]
)
def test_an_unfinished_training_counts_as_far_as_it_came(until: int, needed: float, expected: int) -> None:
    """On a straight line from the start to the target, tenfold at most."""
    found = evaluator({1: (1.0, 1.0), 2: (1.0, 1.0)})
    train(found, 1, needed, until)
    prediction = Surrogate(found).predictions()[found.learning(found.points[1])]
    assert math.exp(prediction.mean) == pytest.approx(expected, rel=0.02)
    assert prediction.earliest == min(until + 1, needed)


def test_the_gain_is_the_expected_hypervolume_improvement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equally likely cases against a hundred thousand draws of the prediction, deadline included."""
    found = evaluator({1: (2.0, 3.0), 2: (2.0, 1.0)})
    train(found, 1, 100)
    surrogate, point = Surrogate(found), found.points[2]
    prediction = Prediction(math.log(90.0), 0.3, 1)
    names = {number: found.learning(found.points[number]) for number in (1, 2)}
    monkeypatch.setattr(Surrogate, "predictions", lambda self: {names[1]: prediction, names[2]: prediction})
    (gain,) = surrogate.gains([point]).values()

    front = np.array([[200.0, 300.0]])
    reference = 1.1 * front[0]  # what is likely at best dominates it, so that no prediction enlarges it
    best = math.ceil(math.exp(math.log(90.0) + 0.3 * NormalDist().inv_cdf(0.5 / 31)))
    whole = hypervolume(np.array([[2.0 * best, best]]), reference)
    draws = np.ceil(np.exp(np.random.default_rng(1).normal(math.log(90.0), 0.3, 100_000)))
    counts = dict(zip(*np.unique(draws, return_counts=True), strict=True))
    base = hypervolume(front, reference)
    expected = sum(
        count * (hypervolume(np.concatenate([front, [[2 * rounds, rounds]]]), reference) - base)
        for rounds, count in counts.items()
        if 2 * rounds <= 210
    ) / len(draws)
    assert gain == pytest.approx(expected / whole, rel=0.05)


def test_what_cannot_win_gains_nothing() -> None:
    """A training whose points are worse in everything is not listed; nor is any before the first training."""
    found = evaluator({1: (1.0, 1.0), 2: (5.0, 5.0)})
    assert Surrogate(found).predictions() == {}
    train(found, 1, 100)
    assert Surrogate(found).gains([]) == {}
    found.known[found.timings[2][0].keys[150]] = (0.1, 1.0)
    train(found, 2, 1e9, 150)
    assert Surrogate(found).gains([found.points[2]]) == {}
