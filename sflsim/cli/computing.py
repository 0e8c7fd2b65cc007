"""Commands that compute: run, sweep, calibrate, plan."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sflsim.cli.console import NOT_SHOWN, err, errors, out
from sflsim.cli.exploring import watched
from sflsim.cli.options import (
    CPUS,
    Cache,
    Device,
    Overrides,
    ScenarioFile,
    Target,
    TimingOnly,
    Trust,
    Workers,
    cache_folder,
    new_folder,
    read_share,
    saved,
)
from sflsim.errors import SflsimError

if TYPE_CHECKING:
    from sflsim.experiment.simulate import Progress


def run(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="run folder; runs/<scenario name> by default, numbered if it exists"),
    ] = None,
    workers: Workers = CPUS,
    device: Device = "cpu",
    timing_only: TimingOnly = False,
    cache: Cache = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="compute everything, and store nothing")
    ] = False,
    target: Target = None,
    spans: Annotated[
        str, typer.Option(metavar="all|none", help="none: for runs too large to list; other tables stay")
    ] = "all",
    no_plots: Annotated[bool, typer.Option("--no-plots", help="draw none; 'sflsim plot' can later")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="a page on this machine shows the curves as they grow")
    ] = False,
) -> None:
    """Simulate a scenario, show a summary and write the run folder."""
    with errors(), ExitStack() as stack:
        from sflsim.diagnostics.memory import left_out
        from sflsim.experiment.simulate import simulate
        from sflsim.metrics.summary import derived_costs, early_ends
        from sflsim.scenario.loading import load_scenario
        from sflsim.session import doubts
        from sflsim.terminal.progress import run_shown
        from sflsim.terminal.summary import format_summary

        wanted = read_share(target)
        if spans not in ("all", "none"):
            raise SflsimError(f"--spans: found {spans!r}; allowed: all, none")
        loaded = load_scenario(scenario, set_ or [], trust=trust)
        claim = stack.enter_context(new_folder(folder, loaded.name))
        for line in left_out(loaded):
            err.print(line)
        for line in doubts(loaded):
            err.print(f"warning: {line}")
        page = stack.enter_context(watched(loaded, wanted)) if watch else None
        with run_shown(err) as progress:

            def told(step: Progress) -> None:
                progress(step)
                if page is not None:
                    page(step)

            result = simulate(
                loaded,
                workers=workers,
                device=device,
                timing_only=timing_only,
                progress=told,
                cache=cache_folder(cache, no_cache),
                keep_spans=spans == "all",
            )
        place = saved(partial(result.save, claim, plots=False), claim)
        failures = [] if no_plots else result.draw(place)
        out.print(format_summary(result.summary(wanted)))
        for line in (*early_ends(result.runs), *result.empty_batteries()):
            out.print(line, soft_wrap=True)
        for line in (*derived_costs(result.manifest), *failures):
            err.print(line)
        out.print(f"{result.outcome}; written to {place}", soft_wrap=True)
        if result.status == "interrupted" or (result.runs["status"] == "diverged").all():
            raise typer.Exit(1)
        if failures:
            raise typer.Exit(NOT_SHOWN)


def sweep(
    scenario: ScenarioFile,
    over: Annotated[
        list[str] | None,
        typer.Option("--over", metavar="PATH=V1,V2,...", help="a field and the values that it takes"),
    ] = None,
    set_: Overrides = None,
    trust: Trust = False,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="folder; runs/<scenario name>-sweep by default, numbered if it exists"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes that compute side by side; all CPUs by default")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="auto|local|ADDRESS", help="compute on a Ray cluster: one running, new, or at"),
    ] = None,
    device: Device = "cpu",
    timing_only: TimingOnly = False,
    cache: Cache = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="share within this sweep alone")] = False,
) -> None:
    """Simulate every combination of some fields' values. Write one table of all."""
    with errors(), ExitStack() as stack:
        from sflsim.scenario.loading import load_scenario
        from sflsim.scenario.sweep_block import read_over
        from sflsim.sweeps.sweep import sweep as run_sweep
        from sflsim.terminal.progress import sweep_shown
        from sflsim.terminal.sweep import format_sweep

        loaded = load_scenario(scenario, set_ or [], trust=trust)
        values = read_over(over or [])
        claim = stack.enter_context(new_folder(folder, f"{loaded.name}-sweep"))
        count = workers if ray or workers else os.cpu_count()
        with sweep_shown(err) as progress:
            result = run_sweep(
                loaded,
                values,
                workers=count,
                ray=ray,
                cache=cache_folder(cache, no_cache),
                progress=progress,
                device=device,
                timing_only=timing_only,
            )
        place = saved(partial(result.save, claim), claim)
        for part in format_sweep(result, out):
            out.print(part)
        out.print(f"{result.status}; written to {place}", soft_wrap=True)
        if result.status == "interrupted" or result.manifest["broken"] == result.manifest["runs"]:
            raise typer.Exit(1)


def calibrate(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    threads: Annotated[str, typer.Option(help="numbers of threads to measure with, e.g. 1,2,4")] = "1",
    batches: Annotated[
        str, typer.Option(help="batch sizes for the profile beside the scenario's own, e.g. 8,128")
    ] = "",
    by_kind: Annotated[
        bool, typer.Option(help="also measure small networks, for rates by kind of operation")
    ] = True,
    repeat: Annotated[int, typer.Option(help="measurements of each; their median counts")] = 15,
    rest: Annotated[float, typer.Option(help="pause before each measurement, in ms")] = 50.0,
    name: Annotated[str, typer.Option(help="of the device in the file")] = "this-machine",
    to: Annotated[
        Path | None,
        typer.Option("--out", help="file for the device entries; the profile goes beside it, as .csv"),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="print the table as CSV")] = False,
) -> None:
    """Measure this machine on a scenario's network. With --out, write it as a catalog of devices.

    Run it on your Pi (or whatever is to train), name the file as your scenario's catalog and the device
    in a group; each figure has its source and spread. Timed are forward passes, backward passes and
    zeroth-order steps of every block, of both parts at every cut, and of the whole: the profile. For other
    networks, rates by kind of operation are fitted to the blocks of small ones.
    """
    with errors():
        from sflsim.diagnostics.calibrate import calibrate as measure
        from sflsim.formatting import csv_text
        from sflsim.record.tables import write_text
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.calibrate import devices, format_calibration, new_files, read_numbers

        files, counts = None if to is None else new_files(to), read_numbers("--threads", threads)
        sizes = read_numbers("--batches", batches)
        if files is None:
            err.print("nothing will be written: name a file with --out to keep the device entries")
        loaded = load_scenario(scenario, set_ or [], trust=trust)
        found = measure(
            loaded,
            threads=counts,
            batch_sizes=sizes,
            repeat=repeat,
            rest_s=rest / 1000,
            name=name,
            by_kind=by_kind,
        )
        if files is not None:
            catalog, profile = files
            write_text(csv_text(found.profile), profile)
            write_text(found.to_yaml(profile.name), catalog)
            told = (
                f"written to {catalog} and {profile}; a scenario with 'catalog: {catalog.name}' can name them"
            )
            err.print(told)
        if found.note:
            err.print(found.note)
        if csv:
            print(csv_text(found.table), end="")
            return
        for table in format_calibration(found):
            out.print(table)
        for line in devices(found):
            out.print(line, soft_wrap=True)


def plan(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="folder; runs/<scenario name>-plan by default, numbered if it exists"),
    ] = None,
    workers: Workers = CPUS,
    device: Device = "cpu",
    cache: Cache = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="share within this plan alone")] = False,
) -> None:
    """Search the decisions of a scenario's 'plan:' block. Recommend one point and say why."""
    with errors(), ExitStack() as stack:
        from sflsim.planner.plan import plan as make_plan
        from sflsim.scenario.loading import load_scenario
        from sflsim.session import doubts
        from sflsim.terminal.plan import format_pareto, pareto_caption
        from sflsim.terminal.progress import words_shown

        loaded = load_scenario(scenario, set_ or [], trust=trust)
        claim = stack.enter_context(new_folder(folder, f"{loaded.name}-plan"))
        for line in doubts(loaded):
            err.print(f"warning: {line}")
        with words_shown(err, "timing the first points") as progress:
            result = make_plan(
                loaded,
                workers=workers,
                device=device,
                cache=cache_folder(cache, no_cache),
                progress=progress,
            )
        place = saved(partial(result.save, claim), claim)
        out.print(result.explanation, soft_wrap=True)
        if (table := format_pareto(result)) is not None:
            out.print("\nThe Pareto front (points that no other point beats):")
            out.print(table)
            out.print(pareto_caption(result))
        out.print(f"written to {place}", soft_wrap=True)
        if 0 < result.manifest["trainings"] == result.manifest["diverged"]:
            raise typer.Exit(1)
