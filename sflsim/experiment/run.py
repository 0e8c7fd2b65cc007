"""A finished run: its tables, its summary, its pictures, its folder.

Everything shown is made from the tables alone, so an old folder can be drawn anew.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sflsim.errors import RunError, SflsimWarning
from sflsim.metrics.batteries import empty_batteries
from sflsim.metrics.summary import status_of, summarize
from sflsim.metrics.tables import measured, why_no_spans
from sflsim.provenance import fingerprint, provenance, versions
from sflsim.record import tables
from sflsim.record.folders import Claim, claimed, written
from sflsim.record.trace import DEFAULT_TRACE_SPANS, selected_spans, write_trace
from sflsim.rows import ClientWork, RunRow
from sflsim.scenario.files import contents
from sflsim.scenario.saved import Saved, checked, read_saved
from sflsim.scenario.schema import Scenario
from sflsim.session import Outcome


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
        """Return `status`, or where all came to an end, the ends: "stalled", "diverged 1 of 3"."""
        return (status_of(self.runs["status"]) if self.status == "completed" else "") or self.status

    def summary(self, target: float | None = None) -> pd.DataFrame:
        """Return one row per variant: final accuracy and what it took to reach `target` (0 to 1)."""
        return summarize(self.evaluations, self.runs, self._target(target))

    def plot(self, folder: str | Path, target: float | None = None) -> list[Path]:
        """Write all pictures to `folder` and return their paths.

        Raises:
            RunError: one or more cannot be drawn; the others are there.
        """
        failures: list[str] = []
        paths = self._plot(Path(folder), target, failures)
        if failures:
            raise RunError("\n".join(failures))
        return paths

    def _plot(self, folder: Path, target: float | None, failures: list[str]) -> list[Path]:
        from sflsim.report.plots import plot_all  # brings matplotlib, which workers never need

        frames = {"spans": self.spans, "evaluations": self.evaluations, "runs": self.runs}
        return plot_all(frames, folder, self._target(target), failures)

    def report(self, file: str | Path, target: float | None = None) -> Path:
        """Write the run as one HTML page that needs nothing beside it, and return its path.

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
    ) -> Path:
        """Write the spans (of one variant, one seed, rounds from - to) for Perfetto; return the path.

        Raises:
            RunError: nothing of the kind was recorded, or the file cannot be written.
        """
        self.need_spans("a trace")
        self._write_trace(selected_spans(self.spans, variant, seed, rounds), Path(file))
        return Path(file)

    def _write_trace(self, spans: pd.DataFrame, path: Path) -> None:
        saved = self._scenario
        slots = saved.slots if isinstance(saved, Saved) else saved.server.slots
        write_trace(spans, self.link_throughput, slots, path)

    def need_spans(self, what: str) -> None:
        """Refuse what is made from spans where the run kept none (raises RunError)."""
        if self.manifest.get("spans") == "none":
            raise RunError(f"{what} is made from spans; {why_no_spans(self.manifest)}")

    def not_drawn(self) -> list[str]:
        """Return what there is no picture of, and why."""
        lines = []
        if measured(self.evaluations).empty:
            lines.append("no picture of the accuracy: nothing was learned")
        if self.spans.empty:
            why = why_no_spans(self.manifest)
            lines.append(f"no Gantt charts and no picture of where the time goes: {why}")
        return lines

    def empty_batteries(self) -> list[str]:
        """Return a line for each variant and group with empty batteries at the end: how many."""
        found = self.manifest.get("batteries")
        groups = _batteries(self.scenario) if found is None else found
        return empty_batteries(
            self.clients, {name: (one["capacity_j"], one["devices"]) for name, one in groups.items()}
        )

    def _target(self, target: float | None) -> float | None:
        return self._scenario.target_accuracy if target is None else target

    def save(self, folder: str | Path | Claim, plots: bool = True) -> Path:
        """Write the run folder: scenario, manifest, tables and then, unless told otherwise, pictures.

        It is written beside its place and put there when it is whole. A picture that cannot be drawn is
        warned of.

        Raises:
            RunError: the folder cannot be written, or another process is making it.
        """
        with claimed(folder) as claim:
            with written(claim) as part:
                tables.write_text(self._scenario.to_yaml(), part / "scenario.yaml")
                for name in ("spans", "link_throughput", "evaluations", "clients"):
                    tables.write_table(getattr(self, name), part / f"{name}.parquet")
                tables.write_json({**self.manifest, "runs": _records(self.runs)}, part / "run.json")
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
        try:
            manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            runs = tables.table(
                "runs", [[row[name] for name in tables.COLUMNS["runs"]] for row in manifest.pop("runs")]
            )
            scenario = read_saved(folder, trust=trust)
        except FileNotFoundError as error:
            raise RunError(
                f"{folder}: no {Path(error.filename).name}; is this the folder of a run?"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{folder}: its manifest cannot be read ({error})") from error
        names = ("spans", "link_throughput", "evaluations", "clients")
        frames = {name: tables.read_table(name, folder) for name in names}
        return cls(scenario, runs=runs, manifest=manifest, **frames)


def assemble(scenario: Scenario, outcomes: Sequence[Outcome], expected: int, manifest: dict[str, Any]) -> Run:
    """Return the run that the outcomes of its variants and seeds make, in the order given."""
    spans = [
        tables.of_rows("spans", one.variant, one.seed, one.spans, round=one.rounds_of_spans())
        for one in outcomes
    ]
    throughput = [
        tables.of_rows("link_throughput", one.variant, one.seed, one.link_throughput) for one in outcomes
    ]
    evaluations = [tables.of_rows("evaluations", one.variant, one.seed, one.evaluations) for one in outcomes]
    algorithm = {variant.name: variant.algorithm for variant in scenario.variants}
    clients = [_clients(one) for one in outcomes]
    runs = [
        tables.of_rows("runs", one.variant, one.seed, [_run(one, algorithm[one.variant], own)])
        for one, own in zip(outcomes, clients, strict=True)
    ]
    files = contents(scenario)
    whole = len(outcomes) == expected and all(one.status != "interrupted" for one in outcomes)
    return Run(
        scenario,
        spans=tables.joined("spans", spans),
        link_throughput=tables.joined("link_throughput", throughput),
        evaluations=tables.joined("evaluations", evaluations),
        clients=tables.joined("clients", clients),
        runs=tables.joined("runs", runs),
        manifest={
            "status": "completed" if whole else "interrupted",
            "scenario": fingerprint(scenario.to_yaml(), files),
            "files": files,
            "versions": versions(),
            "provenance": provenance(),
            "batteries": _batteries(scenario),
            "computed_calls": _total([one.computed for one in outcomes]),
            "values_from_cache": sum(one.read for one in outcomes),
            "real_s_by_run": {f"{one.variant} seed {one.seed}": round(one.real_s, 3) for one in outcomes},
            **manifest,
        },
    )


def _clients(outcome: Outcome) -> pd.DataFrame:
    """Return the clients of one outcome: who they are and what they did."""
    work, nothing = outcome.work(), ClientWork()
    did = [work.get(client.client, nothing) for client in outcome.clients]
    columns = {name: [getattr(one, name) for one in did] for name in ClientWork._fields}
    columns["energy_j"] = [
        one.active_energy_j + client.idle_j for one, client in zip(did, outcome.clients, strict=True)
    ]
    return tables.of_rows("clients", outcome.variant, outcome.seed, outcome.clients, **columns)


def _run(outcome: Outcome, algorithm: str, clients: pd.DataFrame) -> RunRow:
    """Return the row of one outcome, whose clients are given."""
    return RunRow(
        algorithm=algorithm,
        status=outcome.status,
        reason=outcome.reason,
        rounds=outcome.rounds,
        time_s=outcome.time_s,
        server_busy_s=outcome.server_busy_s,
        client_memory_bytes=outcome.client_memory_bytes,
        server_memory_bytes=outcome.server_memory_bytes,
        dropped=int(clients["dropped"].sum()),
        wasted_s=clients["wasted_s"].sum(),
        wasted_bytes=clients["wasted_bytes"].sum(),
        left_out=outcome.left_out,
    )


def _total(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    names = sorted({name for count in counts for name in count})
    return {name: sum(count.get(name, 0) for count in counts) for name in names}


def _batteries(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """Return the capacity and the number of devices of each group that has batteries."""
    fleet = scenario.fleet
    named = zip(fleet.group_names(), fleet.groups, fleet.group_counts(), strict=True)
    return {
        name: {"capacity_j": group.device.battery, "devices": count}
        for name, group, count in named
        if group.device.battery is not None
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table for JSON: every float to its last bit, null for what is no number."""
    return [
        {
            str(name): None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        for row in frame.to_dict("records")
    ]
