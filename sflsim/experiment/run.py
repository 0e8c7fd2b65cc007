"""A finished run: its tables, its summary, its pictures, its folder.

Everything shown is made from the tables alone, so an old folder can be drawn again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from sflsim.errors import RunError, SflsimWarning, did_you_mean
from sflsim.experiment import folders
from sflsim.experiment.assembly import batteries_of
from sflsim.fields import Percent, read_argument
from sflsim.formatting import counted
from sflsim.metrics.batteries import empty_batteries
from sflsim.metrics.comparison import Comparison, compare
from sflsim.metrics.summary import status_of, summarize
from sflsim.metrics.tables import measured, why_no_spans
from sflsim.record import tables
from sflsim.record.folders import Claim, claimed
from sflsim.record.trace import DEFAULT_TRACE_SPANS, SPAN_BYTES, selected_spans, write_trace
from sflsim.scenario.saved import Saved, checked
from sflsim.scenario.schema import Scenario

if TYPE_CHECKING:
    from sflsim.report.plots import Pictures
    from sflsim.report.style import Page

SAVED = ("spans", "link_throughput", "evaluations", "clients")
"""The tables with a file of their own; `runs` stands in the manifest."""


class Battery(BaseModel):
    """Of a group: the capacity of a battery, and the number of devices."""

    capacity_j: float | None
    devices: int


class Manifest(BaseModel):
    """What is used of run.json; what may be missing was written by later versions alone."""

    runs: list[dict[str, Any]]
    status: str
    spans: str = ""
    batteries: dict[str, Battery] = {}
    groups: dict[str, int] = {}
    without_rounds: list[str] = []
    derived_costs: list[str] = []
    files: dict[str, str] | None = None
    versions: dict[str, str] = {}
    provenance: dict[str, str] = {}
    device: str = "cpu"
    timing_only: bool = False


class Run:
    """The tables of one simulated scenario.

    `spans`, `link_throughput`, `evaluations`, `clients` and `runs` are pandas tables (columns:
    `sflsim.record.tables`); `manifest` says which versions and settings made them and how long it took.
    """

    def __init__(
        self,
        scenario: Scenario | Saved,
        *,
        spans: pd.DataFrame,
        evaluations: pd.DataFrame,
        clients: pd.DataFrame,
        runs: pd.DataFrame,
        manifest: dict[str, Any],
        link_throughput: pd.DataFrame | None = None,
    ) -> None:
        self._scenario = scenario
        self.spans = spans
        self.link_throughput = (
            tables.table("link_throughput", []) if link_throughput is None else link_throughput
        )
        self.evaluations = evaluations
        self.clients = clients
        self.runs = runs
        self.manifest = manifest

    def __repr__(self) -> str:
        variants, seeds = (counted(self.runs[name].nunique(), name) for name in ("variant", "seed"))
        rows = ", ".join(f"{len(getattr(self, name))} {name}" for name in ("spans", "evaluations", "clients"))
        return f"<Run {self._scenario.name!r}: {variants} x {seeds}, {self.outcome}; {rows}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the summary, and accuracy against time."""
        from sflsim.report.notebook import card
        from sflsim.report.style import PAGE
        from sflsim.report.summary_text import summary_columns, summary_notes

        variants, seeds = (counted(self.runs[name].nunique(), name) for name in ("variant", "seed"))
        summary, first = self.summary(), next(iter(self.pictures(PAGE)), None)
        return card(
            self.name,
            f"{variants} x {seeds}, {self.outcome}",
            summary_columns(summary),
            1,
            notes=summary_notes(summary),
            figure=first[1]() if first is not None and first[0] == "accuracy_time" else None,
        )

    @property
    def name(self) -> str:
        """Return the name of the scenario."""
        return self._scenario.name

    @property
    def scenario(self) -> Scenario:
        """Return the scenario.

        Raises:
            ScenarioError: the run is from a folder, and something that its scenario names is not here.
        """
        return checked(self._scenario)

    @property
    def status(self) -> str:
        """Return "completed" or "interrupted"; a single variant may still have diverged (`runs`)."""
        return str(self.manifest["status"])

    @property
    def outcome(self) -> str:
        """Return `status`, or how completed runs ended if not as planned: "stalled", "diverged 1 of 3"."""
        return (status_of(self.runs["status"]) if self.status == "completed" else "") or self.status

    def summary(self, target: float | str | None = None) -> pd.DataFrame:
        """Return one row per variant: final accuracy and what it took to reach `target` (0.9 or "90%").

        Raises:
            SflsimError: the target is no share above 0 and up to 1.
        """
        return summarize(self.evaluations, self.runs, self._target(target), self.clients)

    def compare(self, baseline: str | None = None, target: float | str | None = None) -> Comparison:
        """Return how each variant differs from `baseline` (by default the first), seed by seed.

        Raises:
            RunError: there is no such variant, no other one, or nothing was learned.
            SflsimError: the target is no share above 0 and up to 1.
        """
        names = list(map(str, self.runs["variant"].unique()))
        if len(names) < 2:
            found = f"found {counted(len(names), 'variant')}; allowed: two or more"
            raise RunError(f"compare: {found}; add one to the scenario's variants and run it again")
        if baseline is not None and baseline not in names:
            remedy = did_you_mean(baseline, names)
            allowed = f"allowed: {', '.join(names)}{f'; {remedy}' if remedy else ''}"
            raise RunError(f"--baseline: found {baseline!r}; {allowed}")
        if measured(self.evaluations).empty:
            raise RunError("compare: nothing was learned (timing only), so there is no accuracy to compare")
        return compare(self.evaluations, self.runs, baseline or names[0], self._target(target))

    def plot(self, folder: str | Path, target: float | str | None = None) -> list[Path]:
        """Write all pictures to `folder` and return their paths.

        Raises:
            RunError: one or more cannot be drawn; the others are there.
        """
        failures: list[str] = []
        paths = self._plot(Path(folder), target, failures)
        if failures:
            raise RunError("\n".join(failures))
        return paths

    def _plot(self, folder: Path, target: float | str | None, failures: list[str]) -> list[Path]:
        from sflsim.report.plots import plot_all  # brings matplotlib, which workers never need

        return plot_all(self._drawn(), folder, self._target(target), failures)

    def _drawn(self) -> dict[str, pd.DataFrame]:
        names = ("spans", "evaluations", "runs", "clients")
        return {name: getattr(self, name) for name in names}

    def pictures(self, page: Page, target: float | str | None = None) -> Pictures:
        """Yield the name of each picture, and what draws it for a page of these widths."""
        from sflsim.report.plots import figures

        return figures(self._drawn(), self._target(target), page)

    def report(self, file: str | Path, target: float | str | None = None) -> Path:
        """Write the run as one self-contained HTML page and return its path.

        Raises:
            SflsimError: plotly is not installed (extra "report"), or the file cannot be written.
        """
        from sflsim.report.html_run import run_report

        frames = {name: getattr(self, name) for name in ("spans", "evaluations", "clients", "runs")}
        text = run_report(
            frames,
            name=self._scenario.name,
            description=self._scenario.description,
            scenario=self._scenario.to_yaml(),
            manifest=self.manifest,
            target=self._target(target),
        )
        return tables.write_text(text, file)

    def trace(
        self,
        file: str | Path,
        *,
        variant: str | None = None,
        seed: int | None = None,
        rounds: tuple[int, int] | None = None,
        window_s: tuple[float, float] | None = None,
        tell_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Write the spans (of one variant, one seed, rounds from - to) for Perfetto; return the path.

        With a window of simulated time, those that lie in it in part. `tell_bytes` is called with the size of
        the file, about, before it is written.

        Raises:
            RunError: nothing of the kind was recorded, or the file cannot be written.
        """
        self.need_spans("a trace")
        chosen = selected_spans(self.spans, variant, seed, rounds, window_s)
        if tell_bytes is not None:
            tell_bytes(SPAN_BYTES * len(chosen))
        self._write_trace(chosen, Path(file))
        return Path(file)

    def _write_trace(self, spans: pd.DataFrame, path: Path) -> None:
        saved = self._scenario
        slots = saved.slots if isinstance(saved, Saved) else saved.server.slots
        write_trace(spans, self.link_throughput, slots, path)

    def need_spans(self, what: str) -> None:
        """Refuse what is made from spans if the run kept none (raises RunError)."""
        if self.manifest.get("spans") == "none":
            raise RunError(f"{what} is made from spans; {why_no_spans(self.manifest)}")

    def not_drawn(self) -> list[str]:
        """Return which pictures are missing, and why."""
        lines = []
        if measured(self.evaluations).empty:
            lines.append("no picture of the accuracy: nothing was learned")
        if self.spans.empty:
            why = why_no_spans(self.manifest)
            lines.append(f"no Gantt charts and no picture of where the time goes: {why}")
        return lines

    def empty_batteries(self) -> list[str]:
        """Return a line for each variant and group with empty batteries at the end: how many."""
        groups = self.manifest.get("batteries")
        if groups is None:  # an old folder
            groups = batteries_of(self.scenario)
        return empty_batteries(
            self.clients, {name: (group["capacity_j"], group["devices"]) for name, group in groups.items()}
        )

    def _target(self, target: float | str | None) -> float | None:
        given: float | None = read_argument("target", target, Percent())
        return self._scenario.target_accuracy if given is None else given

    def save(self, folder: str | Path | Claim, plots: bool = True) -> Path:
        """Write the run folder: scenario, manifest and tables, then (with `plots`) pictures.

        The folder appears only when it is complete. A picture that cannot be drawn gives a warning.

        Raises:
            RunError: the folder cannot be written, or another process is making it.
        """
        with claimed(folder) as claim:
            folders.write(
                claim,
                "run",
                scenario=self._scenario.to_yaml(),
                frames={name: getattr(self, name) for name in SAVED},
                manifest={**self.manifest, "runs": _records(self.runs)},
                copied=Path(self._scenario.file).parent if isinstance(self._scenario, Saved) else None,
            )
            for line in self.draw(claim.folder) if plots else []:
                warnings.warn(line, SflsimWarning, stacklevel=2)
            return claim.folder

    def draw(self, folder: str | Path) -> list[str]:
        """Draw the pictures into a run folder and return a line on each that failed.

        With them comes a trace for Perfetto, where the run is not too large for one.

        Raises:
            RunError: plots/ in it is a link.
        """
        failures: list[str] = []
        folder, plots = Path(folder), tables.subfolder_of(Path(folder), "plots")
        try:
            self._plot(plots, None, failures)
        except Exception as error:  # in what all pictures share
            failures.append(f"{plots}: cannot be drawn ({type(error).__name__}: {error})")
        if 0 < len(self.spans) <= DEFAULT_TRACE_SPANS:
            try:
                self._write_trace(self.spans, folder / "trace.json")
            except RunError as error:
                failures.append(str(error))
        return failures

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Run:
        """Return the run that `save` wrote to `folder`; with `trust` code that its scenario names may run.

        Raises:
            RunError: it is no run folder, or a file in it is missing or damaged.
        """
        folder = Path(folder)
        saved = folders.read(folder, "run", (), Manifest, trust=trust)
        rows = pd.DataFrame(saved.manifest.pop("runs"), columns=None, dtype=object)
        runs = tables.as_saved("runs", rows, f"{folder / 'run.json'}, runs")
        frames = {name: tables.read_table(name, folder) for name in SAVED}
        return cls(saved.scenario, runs=runs, manifest=saved.manifest, **frames)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table for JSON: every float to its last bit, null for NaN and infinity."""
    return [
        {
            str(name): None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        for row in frame.to_dict("records")
    ]
