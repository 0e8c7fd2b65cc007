"""What a point's accuracy is where some of its seeds were never trained."""

from __future__ import annotations

import math

import pytest
from handmade import scenario, timing
from hypothesis import given
from hypothesis import strategies as st

from sflsim.planner.objectives import Estimate, Objectives
from sflsim.planner.progress import time_to_target
from sflsim.retime.timing import Known, Timing
from sflsim.scenario.plan_block import PlanConfig

BLOCK = PlanConfig.model_validate({"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]})


SCENARIO = scenario()


def run(seed: int) -> Timing:
    """Return a run of three evaluations, called s0, s1 and s2 under seed s."""
    return timing(seed, [f"{seed}{row}" for row in range(3)])


def estimated(known: Known, timings: list[Timing], block: PlanConfig, target: float | None) -> Estimate:
    objectives = Objectives(block, target)
    tables = [objectives.table(SCENARIO, one) for one in timings]
    return objectives.estimate(tables, timings, [time_to_target(one, known, target) for one in timings])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, math.nan),
        ({"00": (0.1, 2.0), "01": (0.5, 1.0)}, 0.5),
        ({"00": (0.1, 2.0), "01": (0.5, 1.0), "10": (0.3, 2.0)}, 0.4),
        ({"00": (0.1, 2.0), "01": (0.9, 1.0), "10": (0.0, math.inf)}, 0.45),
    ],
    ids=["nothing", "one seed", "both", "one diverged at once"],
)
def test_accuracy_is_that_of_the_seeds_that_were_trained(known: Known, expected: float) -> None:
    """A seed of which nothing is known does not count as one at zero; one that diverged does."""
    facts = estimated(known, [run(0), run(1)], BLOCK, 0.8).facts
    assert facts["accuracy"] == pytest.approx(expected, nan_ok=True)


def test_without_a_target_no_accuracy_is_claimed() -> None:
    """Nothing was trained then."""
    assert math.isnan(estimated({}, [run(0)], BLOCK, None).facts["accuracy"])


def limited(known: Known, timings: list[Timing], **constraints: object) -> Estimate:
    block = PlanConfig.model_validate({"objectives": ["time"], "constraints": constraints})
    return estimated(known, timings, block, 0.8)


def test_a_missed_target_does_not_hide_the_deadline() -> None:
    """A run that takes 2 s without coming to its target is not nearer to a deadline of 500 ms for that."""
    known = {"00": (0.1, 2.0), "01": (0.5, 1.0), "02": (0.78, 1.0)}
    violations = limited(known, [run(0)], deadline="500 ms").violations
    assert violations == pytest.approx({"deadline": 3.0, "target": 0.8 / 0.78 - 1})


@given(
    accuracies=st.lists(st.floats(0.0, 1.0), min_size=9, max_size=9),
    order=st.permutations(range(9)),
    probability=st.sampled_from([0.3, 0.6, 1.0]),
)
def test_no_violation_shrinks_as_more_becomes_known(
    accuracies: list[float], order: list[int], probability: float
) -> None:
    """So the search for the nearest point, by least violation, may stop at the first that is exact."""
    timings, known = [run(seed) for seed in range(3)], dict[str, tuple[float, float]]()
    deadline, before = {"within": "500 ms", "probability": probability}, dict[str, float]()
    for place in order:
        known[f"{place // 3}{place % 3}"] = (accuracies[place], 1.0)
        after = limited(known, timings, deadline=deadline).violations
        assert all(after[name] >= violation for name, violation in before.items())
        before = after
