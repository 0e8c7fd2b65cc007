"""Does the answer change when an assumption does? Prices, limits, the target, the seeds, the fleet.

What is known is evaluated again; nothing is trained, except for a higher target, to which the points of the
front are trained on. Assumptions about the fleet are re-timed for the points of the front. Where an
untrained point might take the lead, or an event order changes what is learned, the row says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any

import pandas as pd

from sflsim.errors import ScenarioError
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import Estimate, Objectives
from sflsim.planner.progress import TimeToTarget, time_to_target
from sflsim.planner.selection import Selection, select
from sflsim.planner.space import Point
from sflsim.retime.scaling import Data, assumptions, scaled, varied
from sflsim.retime.timing import Timing
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.plan_criteria import OBJECTIVES, constraint
from sflsim.scenario.plan_values import Deadline
from sflsim.scenario.schema import Scenario

PRICE, LIMIT, FLEET = (0.8, 1.25), (0.9, 1.1), (0.8, 1.25)
TARGET = (-0.02, 0.02)
RETIMED = 5
"""Points of the front that are re-timed for every assumption about the fleet, best first."""
COLUMNS = {
    "kind": "str",
    "assumption": "str",
    "change": "str",
    "changes": "bool",
    "recommended": "int64",
    "label": "str",
    "time_ratio": "float64",
    "cost_ratio": "float64",
    "certain": "bool",
    "note": "str",
}
"""`changes`: another point is recommended; `recommended`: its number, -1 where nothing is feasible.
The ratios are what becomes of the point that was recommended."""
READABLE = {
    "assumption": "assumption",
    "kind": "about",
    "change": "changed by",
    "label": "recommended then",
    "note": "note",
    "time_ratio": "time ratio of the recommended point",
    "cost_ratio": "cost ratio of the recommended point",
    "certain": "certain without more training",
}
"""What a reader is shown for a column; the others are left out."""


@dataclass(frozen=True)
class Perturbation:
    """One changed assumption: of what kind it is, its name, and by how much it is changed."""

    kind: str
    assumption: str
    change: str


@dataclass(frozen=True)
class Answer:
    """What is selected under a changed assumption, and what becomes of the recommended point."""

    selection: Selection
    estimate: Estimate
    note: str = ""
    certain: bool = True


def sensitivity(evaluator: Evaluator, selection: Selection) -> pd.DataFrame:
    """Return one row for each small change of an assumption."""
    recommended = selection.recommended
    rows = []
    if recommended is not None:
        before = evaluator.estimate(recommended)
        answers = _answers(evaluator, selection, recommended)
        rows = [_row(perturbation, answer, recommended, before) for perturbation, answer in answers]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _row(perturbation: Perturbation, answer: Answer, recommended: Point, before: Estimate) -> tuple[Any, ...]:
    after, open_ = answer.selection.recommended, answer.selection.open
    number = -1 if after is None else after.number
    note = answer.note or (f"{len(open_)} untrained points might do better then" if open_ else "")
    ratios = [
        answer.estimate.facts[column] / before.facts[column] if before.facts[column] else 1.0
        for column in (OBJECTIVES[name].column for name in ("time", "cost"))
    ]
    label = "nothing is feasible" if after is None else after.label
    changes, certain = number != recommended.number, answer.certain and not open_
    return (*astuple(perturbation), changes, number, label, *ratios, certain, note)


def _answers(
    evaluator: Evaluator, selection: Selection, recommended: Point
) -> Iterator[tuple[Perturbation, Answer]]:
    seeds, target = evaluator.seeds, evaluator.target
    every = range(len(seeds))
    for perturbation, plan in _plans(evaluator.plan):
        yield perturbation, _of_known(evaluator, recommended, Objectives(plan, target), every)
    if target is not None:
        yield from _targets(evaluator, selection, recommended, target)
    if len(seeds) > 1:
        for left_out, seed in enumerate(seeds):
            kept = [number for number in every if number != left_out]
            answer = _of_known(evaluator, recommended, evaluator.objectives, kept)
            yield Perturbation("seeds", f"seed {seed}", "left out"), answer
    yield from _fleets(evaluator, selection, recommended)


def _plans(plan: PlanConfig) -> Iterator[tuple[Perturbation, PlanConfig]]:
    """Yield the plan with each price and each limit a little lower and higher."""
    data = plan.model_dump(mode="json", by_alias=True)
    for path, price in plan.price_list().items():
        for factor in PRICE if price else ():
            yield Perturbation("price", path, percent(factor)), _with(data, f"prices.{path}", factor)
    for path in plan.constraints.limits():
        form = constraint(path)[0].limit
        written = f"constraints.{path}{'.within' if form is Deadline else ''}"
        for factor in () if form is bool else LIMIT:
            yield Perturbation("constraint", path, percent(factor)), _with(data, written, factor)


def _with(data: Data, path: str, factor: float) -> PlanConfig:
    """Return the plan with one price or limit scaled."""
    changed = deepcopy(data)
    here, steps = changed, path.split(".")
    for number, step in enumerate(steps[:-1]):
        if step == "groups":  # a group's name may hold a dot
            here = here[step][".".join(steps[number + 1 : -1])]
            break
        here = here[step]
    here[steps[-1]] = scaled(here[steps[-1]], factor)
    return PlanConfig.model_validate(changed)


def _of_known(
    evaluator: Evaluator, recommended: Point, objectives: Objectives, runs: Sequence[int]
) -> Answer:
    """Return the answer under other objectives, or from some of the runs of each point, to what is known."""
    estimates = {}
    for point in evaluator.timed:
        timings = [evaluator.timings[point.number][run] for run in runs]
        estimates[point.number] = _estimate(
            point, objectives, timings, _reaches(timings, evaluator, objectives)
        )
    selection = select(evaluator.timed, estimates, objectives.weights)
    return Answer(selection, estimates[recommended.number])


def _of_other_timings(
    evaluator: Evaluator,
    recommended: Point,
    objectives: Objectives,
    points: Sequence[Point],
    timings: Sequence[list[Timing]],
) -> Answer:
    """Return the answer among `points` with other timings; where it is new what is learned, as before."""
    estimates, certain = {}, True
    for point, runs in zip(points, timings, strict=True):
        reaches = _reaches(runs, evaluator, objectives)
        if not all(reach.exact for reach in reaches):
            certain = False
            before = evaluator.reaches(evaluator.timings[point.number])
            reaches = [
                TimeToTarget(min(reach.row, len(timing.keys) - 1), True, reach.reached, reach.best)
                for reach, timing in zip(before, runs, strict=True)
            ]
        estimates[point.number] = _estimate(point, objectives, runs, reaches)
    selection = select(points, estimates, objectives.weights)
    note = (
        "among the best points of the front" if certain else "taken to need the rounds that it needed before"
    )
    return Answer(selection, estimates[recommended.number], note, certain)


def _reaches(timings: Sequence[Timing], evaluator: Evaluator, objectives: Objectives) -> list[TimeToTarget]:
    return [time_to_target(timing, evaluator.known, objectives.target) for timing in timings]


def _estimate(
    point: Point, objectives: Objectives, timings: Sequence[Timing], reaches: Sequence[TimeToTarget]
) -> Estimate:
    tables = [objectives.table(point.scenario, timing) for timing in timings]
    return objectives.estimate(tables, timings, reaches)


def _targets(
    evaluator: Evaluator, selection: Selection, recommended: Point, target: float
) -> Iterator[tuple[Perturbation, Answer]]:
    for step in TARGET:
        other = round(target + step, 6)
        if not 0 < other <= 1:
            continue
        perturbation = Perturbation("target", "target_accuracy", f"{100 * step:+.0f} points")
        objectives = Objectives(evaluator.plan, other)
        if step < 0:
            yield perturbation, _of_known(evaluator, recommended, objectives, range(len(evaluator.seeds)))
            continue
        points = selection.pareto[:RETIMED]
        timings = evaluator.extend(points, other)
        yield perturbation, _of_other_timings(evaluator, recommended, objectives, points, timings)


def _fleets(
    evaluator: Evaluator, selection: Selection, recommended: Point
) -> Iterator[tuple[Perturbation, Answer]]:
    points = selection.pareto[:RETIMED]
    changes: list[tuple[Perturbation, list[Scenario]]] = []
    for name, change in assumptions(recommended.scenario):
        for factor in FLEET:
            with suppress(ScenarioError):
                scenarios = [varied(point.scenario, change, factor) for point in points]
                changes.append((Perturbation("fleet", name, percent(factor)), scenarios))
    every = [scenario for _, scenarios in changes for scenario in scenarios]
    results = evaluator.timer.timings(every, evaluator.target, "timed under other assumptions")
    for perturbation, _ in changes:
        runs = [timings for timings in islice(results, len(points)) if not isinstance(timings, ScenarioError)]
        if len(runs) == len(points):
            answer = _of_other_timings(evaluator, recommended, evaluator.objectives, points, runs)
            yield perturbation, answer


def percent(factor: float) -> str:
    """Return 1.25 as "+25 %"."""
    return f"{100 * (factor - 1):+.0f} %"
