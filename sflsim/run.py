"""A finished run: its tables, its summary, its pictures, its folder.

Everything shown is made from the tables alone, so an old folder can be drawn anew. Imports
record, report and scenario.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from sflsim.errors import RunError
from sflsim.record import tables
from sflsim.record.trace import MODERATE, chosen, write_trace
from sflsim.report.batteries import empty_batteries
from sflsim.report.summary import status_of, summarize
from sflsim.report.tables import measured, why_no_spans
from sflsim.scenario.loading import parse_saved
from sflsim.scenario.schema import Scenario
from sflsim.session import Outcome

WASTE = ("dropped", "wasted_s", "wasted_bytes")


class Run:
    """The tables of one simulated scenario.

    `spans`, `use`, `evaluations`, `clients` and `runs` are pandas tables (columns: `sflsim.record.tables`);
    `manifest` says which versions and settings made them and how long it took.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        spans: pd.DataFrame,
        evaluations: pd.DataFrame,
        clients: pd.DataFrame,
        runs: pd.DataFrame,
        manifest: dict[str, Any],
        use: pd.DataFrame | None = None,
    ) -> None:
        self.scenario = scenario
        self.spans = spans
        self.use = tables.table("use", []) if use is None else use
        self.evaluations = evaluations
        self.clients = clients
        self.runs = runs
        self.manifest = manifest

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
        """Write all pictures to `folder` and return their paths."""
        from sflsim.report.plots import plot_all  # brings matplotlib, which workers never need

        frames = {"spans": self.spans, "evaluations": self.evaluations, "runs": self.runs}
        return plot_all(frames, folder, self._target(target))

    def report(self, file: str | Path, target: float | None = None) -> Path:
        """Write the run as one HTML page that needs nothing beside it, and return its path.

        Raises:
            SflsimError: plotly is not installed (extra "report"), or the file cannot be written.
        """
        from sflsim.report.html_run import run_report

        frames = {name: getattr(self, name) for name in ("spans", "evaluations", "clients", "runs")}
        text = run_report(
            frames,
            name=self.scenario.name,
            description=self.scenario.description,
            scenario=self.scenario.to_yaml(),
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
        self._write_trace(chosen(self.spans, variant, seed, rounds), Path(file))
        return Path(file)

    def _write_trace(self, spans: pd.DataFrame, path: Path) -> None:
        write_trace(spans, self.use, self.scenario.server.slots, path)

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
        """Return a line for each variant and group of which batteries are empty at the end, with how many."""
        fleet = self.scenario.fleet
        sizes_j = [group.device.battery for group in fleet.groups]
        of_group = zip(fleet.group_names(), sizes_j, fleet.group_counts(), strict=True)
        return empty_batteries(self.clients, {name: (size_j, count) for name, size_j, count in of_group})

    def _target(self, target: float | None) -> float | None:
        return self.scenario.target_accuracy if target is None else target

    def save(self, folder: str | Path, plots: bool = True) -> Path:
        """Write the run folder: scenario, manifest, tables and, unless told otherwise, pictures.

        With the pictures comes a trace for Perfetto, where the run is not too large for one. The
        manifest comes last, so a folder that has one is whole.

        Raises:
            RunError: the folder cannot be written.
        """
        folder = Path(folder)
        tables.begin_folder(folder)
        text = self.scenario.to_yaml()
        tables.write_whole(
            folder / "scenario.yaml", lambda part: Path(part).write_text(text, encoding="utf-8")
        )
        for name in ("spans", "use", "evaluations", "clients"):
            tables.write_table(getattr(self, name), folder / f"{name}.parquet")
        if plots:
            try:
                self.plot(tables.own_folder(folder, "plots"))
            except OSError as error:
                raise RunError(f"{folder / 'plots'}: cannot be written ({error})") from error
            if 0 < len(self.spans) <= MODERATE:
                self._write_trace(self.spans, folder / "trace.json")
        content = {
            **self.manifest,
            "runs": json.loads(self.runs.to_json(orient="records", double_precision=15)),
        }
        tables.write_json(content, folder / "run.json")
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Run:
        """Return the run that `save` wrote to `folder`; with `trust` code that its scenario names may run.

        Raises:
            RunError: it is no run folder, or a file in it is missing or damaged.
        """
        folder = Path(folder)
        try:
            manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            runs = tables.table("runs", [[row[name] for name in tables.RUNS] for row in manifest.pop("runs")])
            text = (folder / "scenario.yaml").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise RunError(
                f"{folder}: no {Path(error.filename).name}; is this the folder of a run?"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{folder}: its manifest cannot be read ({error})") from error
        names = ["spans", "evaluations", "clients", *(["use"] if (folder / "use.parquet").exists() else [])]
        frames = {name: tables.read_table(name, folder) for name in names}
        scenario = parse_saved(text, str(folder / "scenario.yaml"), trust=trust)
        return cls(scenario, runs=runs, manifest=manifest, **frames)


def assemble(scenario: Scenario, outcomes: Sequence[Outcome], expected: int, manifest: dict[str, Any]) -> Run:
    """Return the run that the outcomes of its variants and seeds make, in the order given."""
    spans = [
        tables.table("spans", [(one.variant, one.seed, *span) for span in one.spans]) for one in outcomes
    ]
    use = [(one.variant, one.seed, *row) for one in outcomes for row in one.use]
    evaluations = [(one.variant, one.seed, *row) for one in outcomes for row in one.evaluations]
    algorithm = {variant.name: variant.algorithm for variant in scenario.variants}
    clients = [_clients(one) for one in outcomes]
    runs = [
        (
            one.variant, one.seed, algorithm[one.variant], one.status, one.reason, one.rounds, one.time_s,
            one.server_busy_s, one.client_memory_bytes, one.server_memory_bytes,
            *(own[name].sum() for name in WASTE),
            one.left_out,
        )
        for one, own in zip(outcomes, clients, strict=True)
    ]  # fmt: skip
    whole = len(outcomes) == expected and all(one.status != "interrupted" for one in outcomes)
    return Run(
        scenario,
        spans=tables.joined("spans", spans),
        use=tables.table("use", use),
        evaluations=tables.table("evaluations", evaluations),
        clients=tables.joined("clients", clients),
        runs=tables.table("runs", runs),
        manifest={
            "status": "completed" if whole else "interrupted",
            "scenario": hashlib.blake2b(scenario.to_yaml().encode(), digest_size=16).hexdigest(),
            "versions": versions(),
            "computed_calls": _total([one.computed for one in outcomes]),
            "values_from_cache": sum(one.read for one in outcomes),
            "real_s_by_run": {f"{one.variant} seed {one.seed}": round(one.real_s, 3) for one in outcomes},
            **manifest,
        },
    )


def _clients(outcome: Outcome) -> pd.DataFrame:
    """Return the clients of one outcome: who they are and what they did."""
    names = [
        "client", "group", "flop_per_s", "up_bytes_per_s", "down_bytes_per_s", "memory_bytes", "samples",
        "cut", "peak_memory_bytes",
    ]  # fmt: skip
    work, nothing = outcome.work(), (0.0,) * len(tables.WORK)
    did = [work.get(client[0], nothing) for client in outcome.clients]
    columns: dict[str, list[Any]] = {
        **{name: [client[place] for client in outcome.clients] for place, name in enumerate(names)},
        **{name: [sums[place] for sums in did] for place, name in enumerate(tables.WORK)},
        "variant": [outcome.variant] * len(did),
        "seed": [outcome.seed] * len(did),
        "idle_j": outcome.idle_j,
    }
    columns["energy_j"] = [sum(both) for both in zip(columns["energy_j"], outcome.idle_j, strict=True)]
    return tables.typed("clients", columns)


def _total(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    names = sorted({name for count in counts for name in count})
    return {name: sum(count.get(name, 0) for count in counts) for name in names}


def versions() -> dict[str, str]:
    """Return the versions of all that may change a result."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Return what `versions` does: looked up once, as they stay the same while a process runs."""
    found = {"python": platform.python_version()}
    for package in ("sflsim", "torch", "numpy", "simpy", "pandas"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return tuple(found.items())
