"""What a training is guessed to add to the front, on timings made by hand."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from handmade import scenario, timing

from sflsim.planner.evaluator import Evaluator
from sflsim.planner.improvement import Candidate, gains
from sflsim.planner.objectives import Objectives
from sflsim.planner.pareto import hypervolume
from sflsim.planner.space import Point
from sflsim.planner.surrogate import Prediction, Surrogate
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
    found, here = Evaluator(Objectives(PLAN, TARGET), [0]), scenario()
    for number, (seconds, size) in rates.items():
        keys = ("start", *(f"{number}-{row}" for row in range(1, ROUNDS + 1)))
        choices = {"variant": "a", "fleet.participants": number}
        point = Point(number, (), choices, {"algorithm": "a"}, here)
        found.add(point, [timing(0, keys, seconds, size)])
    return found


def predictions_of(found: Evaluator) -> dict[int, Prediction]:
    """Return the predictions by the numbers of the points."""
    predictions = Surrogate().predictions(found.shared_trainings())
    points = found.timed if predictions else []
    return {point.number: predictions[found.training(point)] for point in points}


def gains_of(
    found: Evaluator, numbers: list[int], predictions: dict[int, Prediction] | None = None
) -> dict[str, float]:
    points = [found.points[number] for number in numbers]
    candidates = [
        Candidate(found.training(point), found.estimate(point), found.expectation(point)) for point in points
    ]
    each = predictions_of(found) if predictions is None else predictions
    named = {found.training(found.points[number]): prediction for number, prediction in each.items()}
    return gains(candidates, named, found.front)


def train(found: Evaluator, number: int, needed: float, until: int = ROUNDS) -> None:
    """Let accuracy grow in proportion to the rounds, from 0.1 to the target in the round `needed`."""
    for row, key in enumerate(found.timings[number][0].keys[: until + 1]):
        found.known[key] = (0.1 + (TARGET - 0.1) * min(1.0, row / needed), 1.0)


def test_rounds_that_follow_a_power_law_are_predicted() -> None:
    """Rounds of 200 / participants ^ 0.5: within and beyond what was trained."""
    found = evaluator(dict.fromkeys(range(1, 33), (1.0, 1.0)))
    for number in (1, 2, 3, 5, 8, 12, 16, 20, 24):
        train(found, number, math.ceil(200 / number**0.5))
    predictions = predictions_of(found)
    for number in range(1, 33):
        prediction = predictions[number]
        assert math.exp(prediction.mean) == pytest.approx(200 / number**0.5, rel=0.1), number
        assert prediction.deviation < 0.5


def test_less_is_known_far_away() -> None:
    """The prediction is surest where trainings are."""
    found = evaluator(dict.fromkeys((1, 2, 4, 64), (1.0, 1.0)))
    train(found, 1, 100)
    train(found, 2, 70)
    predictions = predictions_of(found)
    deviations = [predictions[number].deviation for number in (1, 4, 64)]
    assert deviations == sorted(deviations)
    assert deviations[2] > 2 * deviations[0]


@pytest.mark.parametrize(
    ("until", "needed", "expected"), [(100, 200.0, 200), (100, 1e9, 1000), (100, 50.0, 50)]
)
def test_an_unfinished_training_counts_as_far_as_it_came(until: int, needed: float, expected: int) -> None:
    """On a straight line from the start to the target, tenfold at most."""
    found = evaluator({1: (1.0, 1.0), 2: (1.0, 1.0)})
    train(found, 1, needed, until)
    prediction = predictions_of(found)[1]
    assert math.exp(prediction.mean) == pytest.approx(expected, rel=0.02)
    assert prediction.earliest == min(until + 1, needed)


def test_the_gain_is_the_expected_hypervolume_improvement() -> None:
    """Equally likely cases against a hundred thousand draws of the prediction, deadline included."""
    found = evaluator({1: (2.0, 3.0), 2: (2.0, 1.0)})
    train(found, 1, 100)
    prediction = Prediction(math.log(90.0), 0.3, 1)
    (gain,) = gains_of(found, [2], {1: prediction, 2: prediction}).values()

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
    assert predictions_of(found) == {}
    train(found, 1, 100)
    assert gains_of(found, []) == {}
    found.known[found.timings[2][0].keys[150]] = (0.1, 1.0)
    train(found, 2, 1e9, 150)
    assert gains_of(found, [2]) == {}
