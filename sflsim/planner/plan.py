"""A plan: which point of a fleet's decisions to take, and why. `sflsim.plan(scenario) -> Plan`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from sflsim.errors import RunError
from sflsim.experiment import folders
from sflsim.formatting import counted
from sflsim.learning.accelerators import device_named
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import Objectives
from sflsim.planner.progress import PlanCallback
from sflsim.planner.saved import FORMAT, update
from sflsim.planner.search import is_exact, nearest, search
from sflsim.planner.sensitivity import COLUMNS as SENSITIVITY
from sflsim.planner.sensitivity import READABLE, sensitivity
from sflsim.planner.space import Point, Space
from sflsim.planner.table import FIGURES, FLAGS, LABELS, decided, points_table
from sflsim.planner.text.recommendation import explain
from sflsim.planner.validation import checked_space
from sflsim.provenance import __version__, fingerprint, provenance, versions
from sflsim.record import tables
from sflsim.record.folders import Claim
from sflsim.report.html_points import plan_report
from sflsim.scenario.files import contents, reread
from sflsim.scenario.plan_criteria import OBJECTIVES
from sflsim.scenario.saved import Saved, checked
from sflsim.scenario.schema import Scenario
from sflsim.workers.calls import Workers
from sflsim.workers.pool import check_workers

if TYPE_CHECKING:
    from sflsim.report.plots import Pictures
    from sflsim.report.style import Page


class Manifest(BaseModel):
    """What is used of plan.json; format 1 had no list of decisions."""

    explanation: str
    objectives: list[str]
    currency: str
    nearest: int
    format: Any = 1
    decided: list[str] = []


class Plan:
    """The points of a plan, which of them nothing beats, and which one to take.

    `points`: a row for each point that was timed: its number, its variant, what was decided, and what
    it takes to the target, as means over the seeds (`memory_share`, `busiest_client_bytes`: the worst;
    `accuracy`: the best that was seen, of those seeds that were trained at all, NaN where none was).
    Where `exact` is false the point was not trained to the end, because it cannot win; its figures
    are then what it takes at least. `violated` names the constraints that it violates for certain; one that
    is not exact may violate others too. `diverged` says in which round the training of which seed diverged.
    `time_sd_s` is the standard deviation of the time over the seeds, a column `..._margin` the share of a
    limit that is left, `chance_better` how probable it is that the point is better than the recommended one,
    by the seeds' spread.
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

    def __repr__(self) -> str:
        best = self.recommended
        answer = "nothing is feasible" if best is None else f"point {best['point']} is recommended"
        found = f"{counted(len(self.points), 'point')}, {len(self.pareto)} of them on the front"
        return f"<Plan {self._scenario.name!r}: {found}; {answer}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the answer in words, and the Pareto front."""
        from sflsim.planner.columns import decisions, front, pareto_columns
        from sflsim.report.notebook import card

        rows = front(self)
        columns = {} if rows.empty else pareto_columns(self, rows)
        lead = [line for line in self.explanation.splitlines() if line.strip()]
        notes = [] if rows.empty else ["The Pareto front: points that no other point beats."]
        facts = f"{counted(len(self.points), 'point')}, {len(rows)} of them on the front"
        return card(self.name, facts, columns, len(decisions(self)), lead=lead, notes=notes)

    @property
    def name(self) -> str:
        """The name of the scenario."""
        return self._scenario.name

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
        """Where nothing is feasible, the point that violates the constraints least."""
        rows = self.points[self.points["point"] == self.manifest["nearest"]]
        return None if rows.empty else rows.iloc[0]

    def plot(self, folder: str | Path) -> list[Path]:
        """Write the picture of the Pareto front to `folder` and return its path; a single objective has none.

        Raises:
            RunError: it cannot be drawn.
        """
        from sflsim.report.plots import save_all
        from sflsim.report.style import PAGE

        failures = list[str]()
        paths = save_all(self.pictures(PAGE), Path(folder), failures)
        if failures:
            raise RunError("\n".join(failures))
        return paths

    def pictures(self, page: Page) -> Pictures:
        """Yield the front over the first two objectives: its name, and what draws it for these widths."""
        from sflsim.report.front import front_figure

        objectives = [OBJECTIVES[name] for name in self.manifest["objectives"][:2]]
        if len(objectives) == 2:
            units = [
                str(self.manifest["currency"]) if one.unit == "money" else one.unit for one in objectives
            ]
            axes = [(one.column, one.words, unit) for one, unit in zip(objectives, units, strict=True)]
            yield "front", partial(front_figure, self.points, axes[0], axes[1], page)

    def report(self, file: str | Path) -> Path:
        """Write the plan as one HTML page that needs nothing beside it, and return its path."""
        decided: list[str] = self.manifest["decided"]
        text = plan_report(
            self.points,
            decisions=[name for name in decided if name != "algorithm"],
            objectives=[OBJECTIVES[name].column for name in self.manifest["objectives"]],
            labels=LABELS,
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
        saved = folders.read(folder, "plan", ("points", "sensitivity"), Manifest, trust=trust)
        update(folder, saved)
        points = {"point": "int64", **dict.fromkeys(saved.manifest["decided"], "any")}
        points |= {OBJECTIVES[name].column: "float64" for name in saved.manifest["objectives"]}
        points |= dict.fromkeys(FIGURES, "float64") | dict.fromkeys(FLAGS, "bool")
        folders.check(folder, saved, {"points": points, "sensitivity": SENSITIVITY})
        explanation = saved.manifest.pop("explanation")
        return cls(saved.scenario, explanation=explanation, manifest=saved.manifest, **saved.tables)


def plan(
    scenario: Scenario,
    *,
    device: str = "cpu",
    cache: str | Path | bool | None = None,
    progress: PlanCallback | None = None,
    workers: int = 1,
) -> Plan:
    """Search the scenario's `plan:` for the points that nothing beats, and recommend one.

    With a target accuracy (the scenario's) a point is judged by what it takes to get there; what learns
    alike is trained once, whatever the number of points. Without one nothing is trained and a point is
    judged by what its rounds take. `cache` is a folder of results as for `simulate`. So many `workers`,
    processes of their own where there are several (a script must then guard its main part with
    `if __name__ == "__main__"`), time and train side by side; the plan does not depend on their number.
    `progress` is told what is done, and of how much.

    Raises:
        ScenarioError: there is no plan, or it is of no use with this scenario.
        SflsimError: a large space, and Optuna is not installed; or a worker died.
    """
    check_workers(workers)
    device = device_named(device)
    scenario = reread(scenario)
    space = checked_space(scenario)
    objectives = Objectives(space.plan, scenario.target_accuracy)
    pool = Workers(workers)
    with folders.learned(cache, needed=workers > 1 and objectives.target is not None) as folder:
        try:
            evaluator = Evaluator(objectives, scenario.seeds, device, folder, progress, pool)
            selection = search(space, evaluator)
            closest = nearest(evaluator) if selection.recommended is None else None
            changes = sensitivity(evaluator, selection)
            return Plan(
                scenario,
                points=points_table(space, evaluator, selection),
                sensitivity=changes,
                explanation=explain(space, evaluator, selection, changes, closest),
                manifest=_manifest(scenario, space, evaluator, closest),
            )
        finally:
            pool.close()


def _manifest(
    scenario: Scenario, space: Space, evaluator: Evaluator, closest: Point | None
) -> dict[str, Any]:
    counts, block = evaluator.counts, evaluator.plan
    files = {file: text for point in evaluator.timed for file, text in contents(point.scenario).items()}
    return {
        "format": FORMAT,
        "method": "exact" if is_exact(space, block.search) else "sampled",
        "combinations": space.combinations,
        "impossible": len(evaluator.impossible) + len(space.refused),
        "timed": counts.timed,
        "trainings": counts.trainings,
        "diverged": counts.diverged,
        "rounds_trained": counts.rounds,
        "seeds": len(scenario.seeds),
        "decided": decided(space),
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
