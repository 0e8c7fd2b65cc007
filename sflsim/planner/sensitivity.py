"""Does the answer change when an assumption does? Prices, limits, the target, the seeds, the fleet.

What is known is judged anew; nothing is trained, but for a higher target, to which the points of the
front are trained on. Assumptions about the fleet are re-timed for the points of the front. Where an
untrained point might take the lead, or an event order changes what is learned, the row says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from sflsim.errors import ScenarioError
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import Estimate, Objectives, TimeToTarget, reach
from sflsim.planner.selection import Selection, select
from sflsim.planner.space import Point
from sflsim.retime.scaling import Data, assumptions, scaled, varied
from sflsim.retime.timing import Timing
from sflsim.scenario.plan_block import PlanConfig
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
    "time_ratio": "time of today's point, times",
    "cost_ratio": "cost of today's point, times",
    "certain": "certain without more training",
}
"""What a reader is shown for a column; the others are left out."""


@dataclass(frozen=True)
class Perturbation:
    """One changed assumption, and the answer under it."""

    kind: str
    assumption: str
    change: str
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
        for perturbation in _perturbations(evaluator, selection, recommended):
            rows.append(_row(perturbation, recommended, before))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _row(perturbation: Perturbation, recommended: Point, before: Estimate) -> tuple[Any, ...]:
    after = perturbation.selection.recommended
    number = -1 if after is None else after.number
    note, certain = perturbation.note, perturbation.certain
    if perturbation.selection.open:
        certain = False
        note = note or f"{len(perturbation.selection.open)} untrained points might do better then"
    ratio = [
        perturbation.estimate.facts[name] / before.facts[name] if before.facts[name] else 1.0
        for name in ("time", "cost")
    ]
    label = "nothing is feasible" if after is None else after.label
    changes = number != recommended.number
    return (
        perturbation.kind,
        perturbation.assumption,
        perturbation.change,
        changes,
        number,
        label,
        *ratio,
        certain,
        note,
    )


def _perturbations(evaluator: Evaluator, selection: Selection, recommended: Point) -> Iterator[Perturbation]:
    objectives = evaluator.objectives
    for name, plan, change, kind in _plans(objectives.plan):
        yield _reevaluated(evaluator, recommended, Objectives(plan, objectives.target), kind, name, change)
    if objectives.target is not None:
        yield from _targets(evaluator, selection, recommended, objectives.target)
    if len(evaluator.seeds) > 1:
        for place, seed in enumerate(evaluator.seeds):
            kept = [other for other in range(len(evaluator.seeds)) if other != place]
            yield _reevaluated(evaluator, recommended, objectives, "seeds", f"seed {seed}", "left out", kept)
    yield from _fleets(evaluator, selection, recommended)


def _plans(plan: PlanConfig) -> Iterator[tuple[str, PlanConfig, str, str]]:
    """Yield the plan with each price and each limit a little lower and higher."""
    data = plan.model_dump(mode="json", by_alias=True)
    for path, price in plan.price_list().items():
        for factor in PRICE if price else ():
            yield path, _with(data, f"prices.{path}", factor), percent(factor), "price"
    for name in plan.constraints.limits():
        path = f"constraints.{name}{'.within' if name == 'deadline' else ''}"
        for factor in () if name == "device_memory" else LIMIT:
            yield name, _with(data, path, factor), percent(factor), "constraint"


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


def _reevaluated(
    evaluator: Evaluator,
    recommended: Point,
    objectives: Objectives,
    kind: str,
    name: str,
    change: str,
    kept: Sequence[int] | None = None,
) -> Perturbation:
    """Return the answer under other objectives, from some of the seeds, to what is known."""
    chosen = range(len(evaluator.seeds)) if kept is None else kept
    estimates = {}
    for point in evaluator.timed:
        timings = [evaluator.timings[point.number][place] for place in chosen]
        tables = [objectives.table(point.scenario, timing) for timing in timings]
        reaches = [reach(timing, evaluator.known, objectives.target) for timing in timings]
        estimates[point.number] = objectives.estimate(tables, timings, reaches)
    selection = select(evaluator.timed, estimates, objectives)
    return Perturbation(kind, name, change, selection, estimates[recommended.number])


def _targets(
    evaluator: Evaluator, selection: Selection, recommended: Point, target: float
) -> Iterator[Perturbation]:
    for step in TARGET:
        other = round(target + step, 6)
        if not 0 < other <= 1:
            continue
        change, objectives = f"{100 * step:+.0f} points", Objectives(evaluator.objectives.plan, other)
        if step < 0:
            yield _reevaluated(evaluator, recommended, objectives, "target", "target_accuracy", change)
            continue
        points = selection.pareto[:RETIMED]
        extended = evaluator.extend(points, other)
        timings = {point.number: own for point, own in zip(points, extended, strict=True)}
        note = "among the best points of the front"
        yield _retimed(
            evaluator, objectives, points, timings, recommended, "target", "target_accuracy", change, note
        )


def _retimed(
    evaluator: Evaluator,
    objectives: Objectives,
    points: Sequence[Point],
    timings: dict[int, list[Timing]],
    recommended: Point,
    kind: str,
    name: str,
    change: str,
    note: str,
) -> Perturbation:
    """Return the answer among `points` with other timings; where it is new what is learned, as before."""
    estimates, certain = {}, True
    for point in points:
        own = timings[point.number]
        reaches = [reach(timing, evaluator.known, objectives.target) for timing in own]
        if not all(one.exact for one in reaches):
            certain = False
            before = evaluator.reaches(evaluator.timings[point.number])
            reaches = [
                TimeToTarget(min(old.row, len(timing.keys) - 1), True, old.reached, old.best)
                for old, timing in zip(before, own, strict=True)
            ]
        tables = [objectives.table(point.scenario, timing) for timing in own]
        estimates[point.number] = objectives.estimate(tables, own, reaches)
    selection = select(points, estimates, objectives)
    note = note if certain else "taken to need the rounds that it needed before"
    return Perturbation(kind, name, change, selection, estimates[recommended.number], note, certain)


def _fleets(evaluator: Evaluator, selection: Selection, recommended: Point) -> Iterator[Perturbation]:
    points = selection.pareto[:RETIMED]
    changes: list[tuple[str, float, list[Scenario]]] = []
    for name, change in assumptions(recommended.scenario):
        for factor in FLEET:
            with suppress(ScenarioError):
                changes.append((name, factor, [varied(point.scenario, change, factor) for point in points]))
    every = [one for _, _, scenarios in changes for one in scenarios]
    found = evaluator.timings_of_all(every, what="timed under other assumptions")
    for name, factor, _ in changes:
        timings: dict[int, list[Timing]] = {}
        for point, own in zip(points, islice(found, len(points)), strict=True):
            if not isinstance(own, ScenarioError):
                timings[point.number] = own
        if len(timings) == len(points):
            note = "among the best points of the front"
            yield _retimed(
                evaluator,
                evaluator.objectives,
                points,
                timings,
                recommended,
                "fleet",
                name,
                percent(factor),
                note,
            )


def percent(factor: float) -> str:
    """Return 1.25 as "+25 %"."""
    return f"{100 * (factor - 1):+.0f} %"
