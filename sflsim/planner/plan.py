"""A plan: which point of a fleet's decisions to take, and why. `sflsim.plan(scenario) -> Plan`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from sflsim.errors import Problem, RunError, ScenarioError
from sflsim.experiment import folders
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import Objectives
from sflsim.planner.search import exact, nearest, sampled
from sflsim.planner.selection import Selection, select, weights_of
from sflsim.planner.sensitivity import COLUMNS as SENSITIVITY
from sflsim.planner.sensitivity import READABLE, sensitivity
from sflsim.planner.space import VARIANT, Point, Space, text_of
from sflsim.planner.spread import chance_better, deviation
from sflsim.planner.text.recommendation import explain
from sflsim.planner.validation import check
from sflsim.planner.workers import Workers
from sflsim.provenance import __version__, fingerprint, provenance, versions
from sflsim.record import tables
from sflsim.record.folders import Claim
from sflsim.report.html_points import plan_report
from sflsim.scenario.files import contents, reread
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.saved import Saved, checked
from sflsim.scenario.schema import Scenario

FACTS = {
    "time": "time_s",
    "cost": "cost",
    "energy": "energy_j",
    "bytes": "bytes_per_client",
    "rounds": "rounds",
    "accuracy": "accuracy",
    "seeds_reached": "seeds_reached",
    "busiest_client_bytes": "busiest_client_bytes",
    "memory_share": "memory_share",
    "server_memory_bytes": "server_memory_bytes",
}
FLAGS = ("exact", "feasible", "pareto", "recommended")
PARTS = {"explanation": str, "objectives": list, "currency": str, "nearest": int}
"""What the manifest of a saved plan has at least, beside what is told of the search."""

FORMAT = 2
"""Of a saved plan. Earlier ones are read, and written in this one when they are saved again."""
RENAMED = {"settled": "exact", "broken": "violated"}
"""Columns of `points` as format 1 called them."""


class Plan:
    """The points of a plan, which of them nothing beats, and which one to take.

    `points`: a row for each point that was timed: its number, its variant, what was decided, and what
    it takes to the target, as means over the seeds (`memory_share`, `busiest_client_bytes`: the worst;
    `accuracy`: the best that was seen, of those seeds that were trained at all, NaN where none was).
    Where `exact` is false the point was not trained to the end, because it cannot win; its figures
    are then what it takes at least. `violated` names the constraints that it breaks for certain; one that
    is not exact may break others too. `time_sd_s` is the standard deviation of the time over the seeds, a
    column `..._margin` the share of a limit that is left, `chance_better` how probable it is that the point
    is better than the recommended one, by the seeds' spread.
    `sensitivity`: a row for each small change of an assumption (`sflsim.planner.sensitivity.COLUMNS`).
    `explanation`: the answer in words. `manifest`: what the search did (`trainings`, `timed`, ...).
    """

    def __init__(
        self,
        scenario: Scenario | Saved,
        *,
        points: pd.DataFrame,
        sensitivity: pd.DataFrame,
        explanation: str,
        manifest: dict[str, Any],
    ) -> None:
        self._scenario = scenario
        self.points = points
        self.sensitivity = sensitivity
        self.explanation = explanation
        self.manifest = manifest

    @property
    def scenario(self) -> Scenario:
        """The scenario that was planned (raises ScenarioError where what it names is not here)."""
        return checked(self._scenario)

    @property
    def pareto(self) -> pd.DataFrame:
        """The points that are feasible and that no feasible point beats."""
        return self.points[self.points["pareto"]].reset_index(drop=True)

    @property
    def recommended(self) -> pd.Series | None:
        """The point to take; None where nothing is feasible (`nearest` then says what comes closest)."""
        rows = self.points[self.points["recommended"]]
        return None if rows.empty else rows.iloc[0]

    @property
    def nearest(self) -> pd.Series | None:
        """Where nothing is feasible, the point that breaks the constraints least."""
        rows = self.points[self.points["point"] == self.manifest["nearest"]]
        return None if rows.empty else rows.iloc[0]

    def report(self, file: str | Path) -> Path:
        """Write the plan as one HTML page that needs nothing beside it, and return its path."""
        columns = [str(name) for name in self.points.columns]
        decided = columns[1 : min(columns.index(name) for name in FACTS.values() if name in columns)]
        text = plan_report(
            self.points,
            decisions=[name for name in decided if name != "algorithm"],
            objectives=[FACTS[name] for name in self.manifest["objectives"]],
            units={"cost": str(self.manifest["currency"])},
            name=self._scenario.name,
            description=self._scenario.description,
            reasons=[line for line in self.explanation.splitlines() if line.strip()],
            tables={"Sensitivity": self._readable_sensitivity()},
            scenario=self._scenario.to_yaml(),
            manifest=self.manifest,
        )
        return tables.write_text(text, file)

    def _readable_sensitivity(self) -> pd.DataFrame:
        """Return the sensitivities for people: first what changes the answer."""
        rows = self.sensitivity.sort_values("changes", ascending=False, kind="stable")
        rows = rows.assign(label=rows["label"].where(rows["changes"], "as now"))
        return rows[list(READABLE)].rename(columns=READABLE)

    def save(self, folder: str | Path | Claim) -> Path:
        """Write the plan's folder: scenario.yaml, points.parquet, sensitivity.parquet, plan.json (last).

        Raises:
            RunError: the folder cannot be written.
        """
        return folders.write(
            folder,
            "plan",
            scenario=self._scenario.to_yaml(),
            frames={"points": self.points, "sensitivity": self.sensitivity},
            manifest={**self.manifest, "explanation": self.explanation},
        )

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Plan:
        """Return the plan that `save` wrote to `folder`; with `trust` code that its scenario names may run.

        Raises:
            RunError: it is no plan's folder, or a file in it is missing or damaged.
        """
        found = folders.read(folder, "plan", ("points", "sensitivity"), PARTS, trust=trust)
        _updated(folder, found)
        wanted = [name for name in found.manifest["objectives"] if name not in FACTS]
        if wanted:
            raise RunError(f"{folder}: its manifest cannot be read (unknown objectives {wanted})")
        points = ("point", VARIANT, *FLAGS, *FACTS.values())
        folders.need(folder, found, {"points": points, "sensitivity": SENSITIVITY})
        explanation = found.manifest.pop("explanation")
        return cls(found.scenario, explanation=explanation, manifest=found.manifest, **found.tables)


def plan(
    scenario: Scenario,
    *,
    device: str = "cpu",
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
    workers: int = 1,
) -> Plan:
    """Search the scenario's `plan:` for the points that nothing beats, and recommend one.

    With a target accuracy (the scenario's) a point is judged by what it takes to get there; what learns
    alike is trained once, whatever the number of points. Without one nothing is trained and a point is
    judged by what its rounds take. `cache` is a folder of results as of `simulate`. So many `workers`,
    processes of their own where there are several (a script must then guard its main part with
    `if __name__ == "__main__"`), time and train side by side; the plan does not depend on their number.
    `progress` is told in words what is done, and of how much.

    Raises:
        ScenarioError: there is no plan, or it is of no use with this scenario.
        SflsimError: a large space, and Optuna is not installed; or a worker died.
    """
    scenario = reread(scenario)
    block = _checked(scenario)
    space = Space(_unrefused(scenario), block)
    check(space)
    objectives, pool = Objectives(block, scenario.target_accuracy), Workers(workers)
    with folders.learned(cache, needed=workers > 1 and objectives.target is not None) as folder:
        try:
            evaluator = Evaluator(objectives, scenario.seeds, device, folder, progress, pool)
            return _searched(scenario, space, evaluator)
        finally:
            pool.close()


def _searched(scenario: Scenario, space: Space, evaluator: Evaluator) -> Plan:
    objectives, search = evaluator.objectives, evaluator.objectives.plan.search
    method = "exact" if space.combinations <= search.exact_up_to else "sampled"
    if method == "exact":
        exact(space, evaluator, search.trainings)
    else:
        sampled(space, evaluator, search)
    if not evaluator.timings:
        errors = [*space.refused.values(), *evaluator.impossible.values()]
        raise scenario.located(errors[0])
    estimates = {point.number: evaluator.estimate(point) for point in evaluator.timed}
    selection = select(evaluator.timed, estimates, objectives)
    closest = None
    if selection.recommended is None:
        closest = nearest(evaluator.timed, evaluator, search.trainings)
    changes = sensitivity(evaluator, selection)
    explanation = explain(space, evaluator, selection, changes, closest)
    return Plan(
        scenario,
        points=_table(space, evaluator, selection),
        sensitivity=changes,
        explanation=explanation,
        manifest=_manifest(scenario, space, evaluator, method, closest),
    )


def _updated(folder: str | Path, found: folders.Contents) -> None:
    """Bring what an earlier version saved into today's form (raises RunError where a later one saved it)."""
    written = found.manifest.get("format", 1)
    if written not in range(1, FORMAT + 1):
        read = f"format {written}; this version reads 1 to {FORMAT}: install a newer sflsim"
        raise RunError(f"{folder}: its manifest cannot be read ({read})")
    found.tables["points"] = found.tables["points"].rename(columns=RENAMED if written == 1 else {})
    found.manifest["format"] = FORMAT


def _unrefused(scenario: Scenario) -> Scenario:
    """Return the scenario so that devices that are too small break a constraint instead of the run."""
    if scenario.fleet.on_oom != "refuse":
        return scenario
    fleet = scenario.fleet.model_copy(update={"on_oom": "ignore"})
    return scenario.model_copy(update={"fleet": fleet})


def _checked(scenario: Scenario) -> PlanConfig:
    problems = []
    if scenario.plan is None:
        remedy = "e.g. plan: {decisions: {server.slots: [1, 2, 4]}, objectives: [time]}"
        problems.append(Problem("plan", "nothing", "a mapping: decisions, objectives, constraints", remedy))
    if scenario.evaluate.every_rounds is None and scenario.target_accuracy is not None:
        remedy = "evaluations by time would differ from point to point, and nothing could be shared"
        problems.append(
            Problem("evaluate.every", repr(scenario.evaluate.every), "rounds, e.g. '10 rounds'", remedy)
        )
    if scenario.target_accuracy is None and scenario.stop.rounds is None:
        remedy = "without a target accuracy points are compared by what their rounds take"
        problems.append(Problem("stop.rounds", "nothing, and no target_accuracy", "one of the two", remedy))
    if problems:
        raise scenario.located(ScenarioError(problems))
    assert scenario.plan is not None
    return scenario.plan


def _chance(point: Point, evaluator: Evaluator, selection: Selection) -> float:
    """Return the probability that a point beats the recommended one, as far as it is known."""
    chosen, estimate = selection.recommended, evaluator.estimate(point)
    if chosen is None or point.number == chosen.number or not (estimate.exact and estimate.feasible):
        return math.nan
    return chance_better(evaluator.estimate(chosen), estimate, weights_of(evaluator.objectives))


def _table(space: Space, evaluator: Evaluator, selection: Selection) -> pd.DataFrame:
    pareto = {point.number for point in selection.pareto}
    rows = []
    for point in evaluator.timed:
        estimate = evaluator.estimate(point)
        recommended = selection.recommended is not None and point.number == selection.recommended.number
        rows.append(
            {
                "point": point.number,
                **point.fields,
                **point.choices,
                **{column: estimate.facts[name] for name, column in FACTS.items()},
                "time_sd_s": deviation(estimate.times_s) if estimate.exact else math.nan,
                **{f"{name}_margin": margin for name, margin in estimate.margins.items()},
                "chance_better": _chance(point, evaluator, selection),
                "violated": ", ".join(estimate.violations),
                "exact": estimate.exact,
                "feasible": estimate.exact and estimate.feasible,
                "pareto": point.number in pareto,
                "recommended": recommended,
            }
        )
    frame = pd.DataFrame(rows)
    decided = [VARIANT, "algorithm", *space.differing, *(axis.name for axis in space.axes[1:])]
    for name in dict.fromkeys(decided):
        if not all(type(value) is int for value in frame[name]) and not pd.api.types.is_float_dtype(
            frame[name]
        ):
            frame[name] = [text_of(value) for value in frame[name]]
    first = ["point", *dict.fromkeys(decided)]
    return frame[[*first, *(name for name in frame if name not in first)]]


def _manifest(
    scenario: Scenario, space: Space, evaluator: Evaluator, method: str, closest: Point | None
) -> dict[str, Any]:
    counts, block = evaluator.counts, evaluator.objectives.plan
    files = {file: one for point in evaluator.timed for file, one in contents(point.scenario).items()}
    return {
        "format": FORMAT,
        "method": method,
        "combinations": space.combinations,
        "impossible": len(evaluator.impossible) + len(space.refused),
        "timed": counts.timed,
        "trainings": counts.trainings,
        "rounds_trained": counts.rounds,
        "seeds": len(scenario.seeds),
        "objectives": list(block.objectives),
        "currency": block.prices.currency,
        "target_accuracy": scenario.target_accuracy,
        "nearest": -1 if closest is None else closest.number,
        "scenario": fingerprint(scenario.to_yaml(), files),
        "files": files,
        "version": __version__,
        "versions": versions(),
        "provenance": provenance(),
    }
