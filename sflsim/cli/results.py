"""Commands that show, compare or verify what a run has left in its folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from sflsim.cli.console import NOT_SHOWN, err, errors, out
from sflsim.cli.options import CPUS, RunFolder, Target, Trust, Variant, Workers, read_share


def plot(
    folder: Annotated[Path, typer.Argument(help="folder of a run, a sweep or a plan", show_default=False)],
    to: Annotated[Path | None, typer.Option("--out", help="where to; <folder>/plots by default")] = None,
    target: Target = None,
    trust: Trust = False,
) -> None:
    """Draw the pictures of a run again, or those of a sweep or a plan, from its tables alone."""
    with errors():
        from sflsim.record.tables import subfolder_of
        from sflsim.terminal.reports import draw

        paths, missing = draw(folder, to or subfolder_of(folder, "plots"), read_share(target), trust=trust)
        for path in paths:
            out.print(path, soft_wrap=True)
        for line in missing:
            err.print(line)


def report(
    folder: Annotated[Path, typer.Argument(help="folder of a run, a sweep or a plan", show_default=False)],
    to: Annotated[Path | None, typer.Option("--out", help="file; <folder>/report.html by default")] = None,
    target: Target = None,
    trust: Trust = False,
) -> None:
    """Write one interactive HTML page of a run, a sweep or a plan. It needs no network to be viewed."""
    with errors():
        from sflsim.terminal.reports import write_report

        path = write_report(folder, to or folder / "report.html", read_share(target), trust=trust)
        out.print(path, soft_wrap=True)


def summary(
    folder: RunFolder,
    target: Target = None,
    trust: Trust = False,
) -> None:
    """Show the summary of a run again, also for another target."""
    with errors():
        from sflsim.experiment.run import Run
        from sflsim.metrics.summary import early_ends
        from sflsim.provenance import described
        from sflsim.terminal.summary import format_summary

        run = Run.load(folder, trust=trust)
        out.print(format_summary(run.summary(read_share(target))))
        for line in (*early_ends(run.runs), *run.empty_batteries(), *described(run.manifest)):
            out.print(line, soft_wrap=True)


def compare(
    folder: RunFolder,
    baseline: Annotated[
        str | None, typer.Option(metavar="VARIANT", help="compared with; the first variant by default")
    ] = None,
    target: Target = None,
    csv: Annotated[bool, typer.Option("--csv", help="print the effects as CSV")] = False,
    trust: Trust = False,
) -> None:
    """Compare the variants of a run seed by seed, and say what the seeds cannot decide."""
    with errors():
        from sflsim.experiment.run import Run
        from sflsim.formatting import csv_text
        from sflsim.terminal.comparison import format_comparison

        found = Run.load(folder, trust=trust).compare(baseline, read_share(target))
        if csv:
            print(csv_text(found.effects), end="")
            return
        for part in format_comparison(found):
            out.print(part, soft_wrap=isinstance(part, str))


def explain(
    folder: RunFolder,
    variant: Variant = None,
    what_if: Annotated[
        bool, typer.Option("--what-if/--no-what-if", help="simulate what twice as fast would save")
    ] = True,
    all_: Annotated[
        bool,
        typer.Option("--all", help="all reasons and tables, not the main finding alone"),
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="print all tables as one CSV")] = False,
    trust: Trust = False,
    workers: Workers = CPUS,
) -> None:
    """Say where the time of a run's rounds goes, and what would help."""
    with errors():
        from sflsim.experiment.run import Run
        from sflsim.explainer.explain import explain as explain_run
        from sflsim.terminal.explain import as_csv, format_explanation, format_finding
        from sflsim.terminal.progress import words_shown

        with words_shown(err, f"reading {folder}") as progress:
            run = Run.load(folder, trust=trust)
            found = explain_run(run, variant=variant, what_if=what_if, progress=progress, workers=workers)
        if csv:
            print(as_csv(found), end="")
        else:
            for part in format_explanation(found) if all_ else format_finding(found):
                out.print(part, soft_wrap=isinstance(part, str))


def trace(
    folder: RunFolder,
    variant: Variant = None,
    seed: Annotated[int | None, typer.Option(help="one seed; all by default")] = None,
    rounds: Annotated[str | None, typer.Option(help="e.g. 3, or 1-10; all by default")] = None,
    since: Annotated[str | None, typer.Option(help="simulated time, e.g. '2 min'")] = None,
    until: Annotated[str | None, typer.Option(help="simulated time, e.g. '5 min'")] = None,
    to: Annotated[Path | None, typer.Option("--out", help="file; <folder>/trace.json by default")] = None,
    trust: Trust = False,
) -> None:
    """Write a trace of a run, for Perfetto and about://tracing."""
    with errors():
        from sflsim.experiment.run import Run
        from sflsim.fields import SECONDS, read_argument
        from sflsim.formatting import bytes_text
        from sflsim.terminal.explain import read_rounds

        chosen, place = read_rounds(rounds), to or folder / "trace.json"
        since_s, until_s = read_argument("--since", since, SECONDS), read_argument("--until", until, SECONDS)
        window_s = (since_s or 0.0, math.inf if until_s is None else until_s)
        path = Run.load(folder, trust=trust).trace(
            place,
            variant=variant,
            seed=seed,
            rounds=chosen,
            window_s=None if since is None and until is None else window_s,
            tell_bytes=lambda size: err.print(f"writing about {bytes_text(size, 2)} to {place}"),
        )
        out.print(path, soft_wrap=True)


def export(
    folder: Annotated[Path, typer.Argument(help="folder of a run, a sweep or a plan", show_default=False)],
    form: Annotated[
        str, typer.Option("--to", metavar="csv|latex|tensorboard|mlflow|trackio", help="the form of a tool")
    ],
    to: Annotated[Path | None, typer.Option("--out", help="folder; <folder>/<tool> by default")] = None,
    target: Target = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="ieee|acm|elsevier|icml|lncs|neurips", help="widths of LaTeX's figures; ieee by default"
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Write a run, a sweep or a plan for another tool: tables, figures for a paper, or a tracker's files."""
    with errors():
        from sflsim.exporter.export import check_options, exported
        from sflsim.record.tables import subfolder_of
        from sflsim.terminal.reports import loaded

        share = read_share(target)
        check_options(form, share, template)
        result = loaded(folder, trust=trust)
        place, name = to or subfolder_of(folder, form), folder.resolve().name
        done = exported(result, form, place, target=share, template=template, name=name)
        for path in done.paths:
            out.print(path, soft_wrap=True)
        for line in (*done.notes, *done.failures):
            err.print(line)
        if done.failures:
            raise typer.Exit(NOT_SHOWN)


def verify(
    folder: RunFolder,
    again: Annotated[
        Path | None,
        typer.Argument(help="another run of its scenario; by default it is run now", show_default=False),
    ] = None,
    trust: Trust = False,
    workers: Workers = CPUS,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="a store to use; by default all is computed anew"),
    ] = None,
) -> None:
    """Run the scenario of a run folder again, and say whether it gives the same tables."""
    with errors():
        from sflsim.experiment.verify import verify as verify_run
        from sflsim.terminal.progress import run_shown
        from sflsim.terminal.verify import format_verification

        with run_shown(err) as progress:
            found = verify_run(folder, again, trust=trust, workers=workers, cache=cache, progress=progress)
        for line in format_verification(found):
            out.print(line, soft_wrap=True)
        if not found.same:
            raise typer.Exit(1)
