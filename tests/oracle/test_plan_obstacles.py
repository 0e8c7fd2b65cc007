"""What a plan says where nothing is feasible, against every point simulated and trained by itself."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from planned import MU_SPLITFED, SPLITFED_V1, planned

import sflsim
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import Objectives
from sflsim.planner.plan import plan
from sflsim.planner.search import nearest, search
from sflsim.planner.space import Point, Space
from sflsim.planner.text.infeasible import attainable, explained, obstacles

pytest.importorskip("torch")

TFLOPS_HOUR = 3.0
VARIANTS = [
    SPLITFED_V1,
    MU_SPLITFED,
]
DECISIONS = {"server.compute": ["10 GFLOP/s", "1 TFLOP/s"], "fleet.participants": [2, 4]}


def scenario(
    constraints: dict[str, Any], target: float, variants: list[dict[str, Any]] = VARIANTS, **search: int
) -> sflsim.Scenario:
    """Return a scenario whose plan spans 12 points of two seeds."""
    block = {
        "decisions": DECISIONS,
        "objectives": ["time"],
        "prices": {"tflops_hour": TFLOPS_HOUR},
        "constraints": constraints,
        "search": search,
    }
    return planned(block, variants=variants, seeds=[0, 1], target_accuracy=target)


@pytest.fixture(scope="module")
def simulated() -> dict[int, list[pd.DataFrame]]:
    """Return the evaluations of each point's seeds, simulated to the end without the planner."""
    base, store = scenario({}, 0.5), sflsim.MemoryStore()
    assert base.plan is not None
    found = {}
    for point in Space(base, base.plan).points():
        whole = point.scenario.model_copy(update={"target_accuracy": None})
        evaluations = sflsim.simulate(whole, store=store).evaluations
        found[point.number] = [rows for _, rows in evaluations.groupby("seed")]
    return found


def truth(
    point: Point, seeds: list[pd.DataFrame], deadline_s: float, budget: float, target: float
) -> dict[str, float]:
    """Return by how much a point violates each constraint, from the tables of its runs."""
    ends, best = [], []
    for rows in seeds:
        there = rows[rows["accuracy"] >= target]
        ends.append(float(rows["time_s"].iloc[-1] if there.empty else there["time_s"].iloc[0]))
        best.append(float(rows["accuracy"].max()))
    server = point.scenario.server
    cost = sum(ends) / len(ends) / 3600 * TFLOPS_HOUR * server.slots * server.compute / 1e12
    shares = {"deadline": max(ends) / deadline_s, "budget": cost / budget, "target": target / min(best)}
    return {name: share - 1 for name, share in shares.items() if share > 1}


@pytest.mark.parametrize(
    ("deadline_s", "budget", "target"),
    [
        (3.0, 3e-4, 0.45),
        pytest.param(3.0, 3e-3, 0.7, marks=pytest.mark.slow),
        pytest.param(9.0, 1.0, 0.95, marks=pytest.mark.slow),
    ],
)
def test_what_is_in_the_way_is_what_brute_force_finds(
    simulated: dict[int, list[pd.DataFrame]], deadline_s: float, budget: float, target: float
) -> None:
    """Counts lie within what is claimed, "nothing else" holds, "frees nothing" too; the nearest is it."""
    base = scenario({"deadline": f"{deadline_s} s", "budget": budget}, target)
    assert base.plan is not None
    space, evaluator = Space(base, base.plan), Evaluator(Objectives(base.plan, target), base.seeds)
    search(space, evaluator)
    points = evaluator.timed
    closest = nearest(evaluator)
    brute = {one.number: truth(one, simulated[one.number], deadline_s, budget, target) for one in points}
    assert all(brute.values())  # nothing is feasible
    for point in points:
        estimate = evaluator.estimate(point)
        for name, violation in estimate.violations.items():
            assert violation <= brute[point.number][name] + 1e-9
        if estimate.exact:
            assert estimate.violations == pytest.approx(brute[point.number])
    for one in obstacles(points, evaluator):
        alone = [number for number, violated in brute.items() if set(violated) == {one.name}]
        assert (
            one.violated
            <= sum(one.name in violated for violated in brute.values())
            <= one.violated + one.doubtful
        )
        assert one.frees is None or one.frees.number in alone
        assert not alone or one.frees is not None or one.open
    assert closest is not None
    sums = {number: sum(violated.values()) for number, violated in brute.items()}
    assert sums[closest.number] == pytest.approx(min(sums.values()), rel=1e-9)


def test_a_lower_target_that_is_named_is_feasible() -> None:
    """With the target that the explanation names there is a recommendation."""
    constraints = {"deadline": "60 s"}
    base = scenario(constraints, 0.95)
    found = plan(base)
    assert found.recommended is None
    (line,) = (line for line in found.explanation.splitlines() if "would be feasible, with" in line)
    share = float(line.split("A target of ")[1].split(" %")[0]) / 100
    assert 0.1 < share < 0.95
    lower = plan(scenario(constraints, share))
    assert lower.recommended is not None
    assert not lower.pareto.empty


def test_nothing_trained_is_nothing_claimed() -> None:
    """Without a training it is not said that nothing is feasible, nor that one constraint is all there is."""
    base = scenario({"deadline": "15 s", "budget": 3e-4}, 0.45, trainings=0)
    assert base.plan is not None
    space, evaluator = Space(base, base.plan), Evaluator(Objectives(base.plan, 0.45), base.seeds)
    search(space, evaluator)
    text = "\n".join(explained(evaluator, nearest(evaluator)))
    assert "Nothing is known to be feasible: 0 of 12 points violate a constraint" in text
    assert all(attainable(point, evaluator) == 0.0 for point in evaluator.timed)
    assert "It was not trained to the end, and may violate more." in text


def test_an_algorithm_that_was_given_up_is_told_with_its_figures() -> None:
    """What its best point takes at least is more than what the recommended one takes."""
    variants = [{**VARIANTS[0], "local_iterations": 4}, {**VARIANTS[1], "tau": 60}]
    found = plan(scenario({}, 0.45, variants))
    (line,) = (line for line in found.explanation.splitlines() if "mu-splitfed: no point can win" in line)
    least, takes = line.removesuffix(".").split(" needs at least ")[1].split(", the recommended point takes ")
    assert least.endswith(" s")
    assert found.recommended is not None
    assert float(takes.split(" ")[0]) == pytest.approx(found.recommended["time_s"], rel=0.01)
    assert float(least.split(" ")[0]) > float(takes.split(" ")[0])
