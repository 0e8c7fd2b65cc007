"""Writes a run, a sweep or a plan in the form of another tool: `sflsim.export(run, "latex", "paper")`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sflsim.errors import RunError, SflsimError, did_you_mean
from sflsim.experiment.run import Run
from sflsim.exporter import latex
from sflsim.exporter.mlflow import to_mlflow
from sflsim.exporter.tensorboard import to_tensorboard
from sflsim.exporter.trackio import to_trackio
from sflsim.exporter.trials import trials_of
from sflsim.formatting import csv_text
from sflsim.planner.columns import decisions, front, pareto_columns
from sflsim.planner.plan import Plan
from sflsim.record.tables import not_written, write_text
from sflsim.report.summary_text import summary_columns, summary_notes
from sflsim.sweeps.columns import sweep_columns
from sflsim.sweeps.sweep import Sweep

TRACKERS = {"tensorboard": to_tensorboard, "mlflow": to_mlflow, "trackio": to_trackio}
TARGETS = ("csv", "latex", *TRACKERS)
OPENED_WITH = {
    "tensorboard": "tensorboard --logdir {folder}",
    "mlflow": "mlflow ui --backend-store-uri {store}",
    "trackio": "TRACKIO_DIR={folder} trackio show",
}


@dataclass
class Exported:
    """What was written; with what it is opened, and what is left out; and what failed."""

    paths: list[Path]
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def export(
    result: Run | Sweep | Plan,
    to: str,
    folder: str | Path,
    *,
    target: float | str | None = None,
    template: str | None = None,
    name: str | None = None,
) -> list[Path]:
    """Write a result in the form of another tool to `folder`, and return what was written.

    `to` is csv, latex, tensorboard, mlflow or trackio. The table and the figures of LaTeX are those of a
    `target` accuracy (by default the scenario's) and have the widths of a `template`: ieee (the default),
    acm, elsevier, icml, lncs or neurips. In a tracker the result is the experiment `name` (by default the
    scenario's).

    Raises:
        SflsimError: another form, a library that is not installed, or a folder that cannot be written.
    """
    done = exported(result, to, Path(folder), target=target, template=template, name=name)
    if done.failures:
        raise RunError("\n".join(done.failures))
    return done.paths


def exported(
    result: Run | Sweep | Plan,
    to: str,
    folder: Path,
    *,
    target: float | str | None = None,
    template: str | None = None,
    name: str | None = None,
) -> Exported:
    """Write a result as `export` does, and say what is left out."""
    check_options(to, target, template)
    if target is not None and not isinstance(result, Run):
        raise SflsimError("--target: only the table of a run takes one; a sweep and a plan have their own")
    if to == "latex":
        return _to_latex(result, folder, target, template or "ieee")
    if to == "csv":
        return _to_csv(result, folder, target)
    try:
        path = TRACKERS[to](trials_of(result), name or result.name or "sflsim", folder)
    except ImportError as error:
        remedy = f"pip install 'sflsim[{to}]'"
        raise SflsimError(f"--to {to}: {error.name} is not installed; install it with: {remedy}") from error
    except OSError as error:
        raise not_written(folder, error) from error
    store = f"sqlite:///{path.absolute()}"
    command = OPENED_WITH[to].format(folder=shlex.quote(str(folder)), store=shlex.quote(store))
    return Exported([path], [f"open it with: {command}"])


def check_options(to: str, target: float | str | None, template: str | None) -> None:
    """Refuse another tool, and options that it does not take (raises SflsimError)."""
    if to not in TARGETS:
        remedy = did_you_mean(to, TARGETS)
        raise SflsimError(
            f"--to: found {to!r}; allowed: {', '.join(TARGETS)}{f'; {remedy}' if remedy else ''}"
        )
    if template is not None and to != "latex":
        raise SflsimError(f"--template: found {template!r}; only --to latex has figures; leave it out")
    if target is not None and to in TRACKERS:
        raise SflsimError(f"--target: {to} gets the whole run and no summary; leave it out")
    if template is not None:
        latex.page_of(template)


def _to_csv(result: Run | Sweep | Plan, folder: Path, target: float | str | None) -> Exported:
    tables = _tables(result, target)
    return Exported([write_text(csv_text(frame), folder / f"{name}.csv") for name, frame in tables.items()])


def _tables(result: Run | Sweep | Plan, target: float | str | None) -> Mapping[str, pd.DataFrame]:
    """Return the tables of a result by name; what is summed up comes first."""
    if isinstance(result, Run):
        names = ("runs", "evaluations", "clients", "spans", "link_throughput")
        return {"summary": result.summary(target), **{name: getattr(result, name) for name in names}}
    if isinstance(result, Sweep):
        return {"summary": result.summary(), "sweep": result.table}
    return {"points": result.points, "sensitivity": result.sensitivity}


def _to_latex(
    result: Run | Sweep | Plan, folder: Path, target: float | str | None, template: str
) -> Exported:
    page = latex.page_of(template)
    name, columns, words, notes = _shown(result, target)
    done = Exported([write_text(latex.latex_table(columns, words, notes), folder / f"{name}.tex")])
    if isinstance(result, Run):
        pictures = result.pictures(page, target)
        done.notes += result.not_drawn()
    else:
        pictures = result.pictures(page)
    paths, left_out = latex.draw(pictures, folder, done.failures)
    done.paths += paths
    done.notes += left_out
    return done


def _shown(
    result: Run | Sweep | Plan, target: float | str | None
) -> tuple[str, Mapping[str, Sequence[str]], int, Sequence[str]]:
    """Return the table of a result as on the terminal: name, columns, how many are words, what they mean."""
    if isinstance(result, Run):
        summary = result.summary(target)
        return "summary", summary_columns(summary), 1, summary_notes(summary)
    if isinstance(result, Sweep):
        return "summary", sweep_columns(result, result.summary()), len(result.over) + 2, ()
    rows = front(result)
    if rows.empty:
        raise RunError(
            "--to latex: nothing is feasible in this plan, so there is no Pareto front to be shown"
        )
    return "pareto", pareto_columns(result, rows), len(decisions(result)), ()
