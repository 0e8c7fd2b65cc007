"""The command line: run, sweep, plan, explain, trace and what shows or checks. No logic of its own.

Exit codes: 0 done, 1 sflsim failed or was interrupted, 2 the input cannot be used. Imports the
public API; the heavy part of it only in the commands that need it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from sflsim import registry
from sflsim.errors import ScenarioError, SflsimError

app = typer.Typer(
    help="Simulate split federated learning on a wall clock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cache_app = typer.Typer(
    help="Show or prune what has been computed and is kept for later runs.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(cache_app, name="cache")
out = Console(soft_wrap=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

ScenarioFile = Annotated[Path, typer.Argument(help="a scenario in YAML", show_default=False)]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads this form)
    typer.Option("--set", metavar="PATH=VALUE", help="override a field, e.g. --set stop.rounds=50"),
]
Cache = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--cache", metavar="DIR", help="the store; in the user's cache directory by default"),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        callback=lambda given: registry.trust() if given else None,
        is_eager=True,
        expose_value=True,
        help="run code that the scenario names: installed packages' components, torch-module",
    ),
]
Target = Annotated[Optional[str], typer.Option("--target", help="target accuracy, e.g. 90%")]  # noqa: UP045


@app.command()
def run(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    folder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="run folder; runs/<scenario name> by default, numbered if it exists"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes that compute side by side")] = os.cpu_count()
    or 1,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    timing_only: Annotated[
        bool, typer.Option("--timing-only", help="the clock alone: nothing is learned")
    ] = False,
    cache: Cache = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="compute everything anew, and store nothing")
    ] = False,
    target: Target = None,
    spans: Annotated[
        str, typer.Option(metavar="all|none", help="none: for runs too large to list; other tables stay")
    ] = "all",
) -> None:
    """Simulate a scenario, show a summary and write the run folder."""
    with _errors():
        from sflsim.experiment import simulate
        from sflsim.planning.memory import left_out
        from sflsim.report.summary import format_summary, stalls
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.progress import shown

        share = _share(target)
        if spans not in ("all", "none"):
            raise SflsimError(f"--spans: found {spans!r}; allowed: all, none")
        loaded = load_scenario(scenario, set_ or [])
        place = _new_folder(folder, loaded.name)
        for line in left_out(loaded):
            err.print(line)
        with shown(err) as progress:
            result = simulate(
                loaded,
                workers=workers,
                device=device,
                timing_only=timing_only,
                progress=progress,
                cache=_cache_folder(cache, no_cache),
                keep_spans=spans == "all",
            )
        out.print(format_summary(result.summary(share)))
        for line in stalls(result.runs):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        result.save(place)
        out.print(f"{result.status}; written to {place}", highlight=False, soft_wrap=True)
        if result.status == "interrupted":
            raise typer.Exit(1)


@app.command()
def sweep(
    scenario: ScenarioFile,
    over: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--over", metavar="PATH=V1,V2,...", help="a field and the values that it takes"),
    ] = None,
    set_: Overrides = None,
    trust: Trust = False,
    folder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="folder; runs/<scenario name>-sweep by default, numbered if it exists"),
    ] = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="processes that compute side by side; all CPUs by default"),
    ] = None,
    ray: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="auto|local|ADDRESS", help="compute on a Ray cluster: one running, new, or at"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    timing_only: Annotated[
        bool, typer.Option("--timing-only", help="the clock alone: nothing is learned")
    ] = False,
    cache: Cache = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="share within this sweep alone")] = False,
) -> None:
    """Simulate a scenario at every combination of some fields' values; write one table of all."""
    with _errors():
        from sflsim.planning.sweep import sweep as run_sweep
        from sflsim.scenario.loading import load_scenario
        from sflsim.scenario.over import read_over
        from sflsim.terminal.sweep import format_sweep, sweep_shown

        loaded = load_scenario(scenario, set_ or [])
        values = read_over(over or [])
        place = _new_folder(folder, f"{loaded.name}-sweep")
        count = workers if ray or workers else os.cpu_count()
        with sweep_shown(err) as progress:
            result = run_sweep(
                loaded,
                values,
                workers=count,
                ray=ray,
                cache=_cache_folder(cache, no_cache),
                progress=progress,
                device=device,
                timing_only=timing_only,
            )
        out.print(format_sweep(result))
        result.save(place)
        out.print(f"{result.status}; written to {place}", highlight=False, soft_wrap=True)
        if result.status == "interrupted":
            raise typer.Exit(1)


@app.command()
def validate(
    scenarios: Annotated[list[Path], typer.Argument(help="scenarios in YAML", show_default=False)],
    set_: Overrides = None,
    trust: Trust = False,
) -> None:
    """Check scenarios without running them; report every mistake in every file."""
    from sflsim.planning.points import points
    from sflsim.scenario.loading import load_scenario
    from sflsim.session import Options, Session

    wrong = 0
    for path in scenarios:
        try:
            with _errors():
                loaded = load_scenario(path, set_ or [])
                Session(loaded, Options()).check()
                if loaded.sweep:
                    points(loaded, loaded.sweep, Options())
                out.print(
                    f"{path}: ok, {len(loaded.variants)} variants x {len(loaded.seeds)} seeds",
                    highlight=False,
                )
        except typer.Exit as bad:
            wrong = max(wrong, bad.exit_code)
    if wrong:
        raise typer.Exit(wrong)


@app.command()
def partition(
    scenario: ScenarioFile,
    set_: Overrides = None,
    seed: Annotated[Optional[int], typer.Option(help="one of the scenario's; its first by default")] = None,  # noqa: UP045
    to: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="picture; <scenario name>-partition.png by default"),
    ] = None,
    trust: Trust = False,
) -> None:
    """Show how the samples are dealt to the clients, and draw the labels that each of them holds."""
    with _errors():
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.partition import dealt

        loaded = load_scenario(scenario, set_ or [])
        place = to or Path(f"{loaded.name}-partition.png")
        out.print(dealt(loaded, seed, place))
        out.print(f"written to {place}", highlight=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from sflsim.scenario.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def plot(
    folder: Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)],
    to: Annotated[Optional[Path], typer.Option("--out", help="where to; <folder>/plots by default")] = None,  # noqa: UP045
    target: Target = None,
    trust: Trust = False,
) -> None:
    """Draw the pictures of a run anew, from its tables alone."""
    with _errors():
        from sflsim.run import Run

        for path in Run.load(folder).plot(to or folder / "plots", _share(target)):
            out.print(path, highlight=False, soft_wrap=True)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="folder of a run, a sweep or a plan", show_default=False)],
    to: Annotated[Optional[Path], typer.Option("--out", help="file; <folder>/report.html by default")] = None,  # noqa: UP045
    target: Target = None,
    trust: Trust = False,
) -> None:
    """Write one HTML page to look at and to play with, from the tables alone; it needs no network."""
    with _errors():
        from sflsim.terminal.reports import write_report

        path = write_report(folder, to or folder / "report.html", _share(target))
        out.print(path, highlight=False, soft_wrap=True)


@app.command()
def summary(
    folder: Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)],
    target: Target = None,
    trust: Trust = False,
) -> None:
    """Show the summary of a run again, for another target accuracy if you like."""
    with _errors():
        from sflsim.report.summary import format_summary
        from sflsim.run import Run

        out.print(format_summary(Run.load(folder).summary(_share(target))))


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)],
    variant: Annotated[Optional[str], typer.Option(help="one variant; all by default")] = None,  # noqa: UP045
    what_if: Annotated[
        bool, typer.Option("--what-if/--no-what-if", help="simulate what twice as fast would save")
    ] = True,
    csv: Annotated[bool, typer.Option("--csv", help="print all tables as one CSV")] = False,
    trust: Trust = False,
) -> None:
    """Say where the time of a run's rounds goes, by their critical paths, and what would help."""
    with _errors():
        from sflsim.planning.explain import explain as explain_run
        from sflsim.run import Run
        from sflsim.terminal.explain import as_csv, format_explanation

        found = explain_run(Run.load(folder), variant=variant, what_if=what_if)
        if csv:
            typer.echo(as_csv(found), nl=False)
        else:
            for part in format_explanation(found):
                out.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


@app.command()
def trace(
    folder: Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)],
    variant: Annotated[Optional[str], typer.Option(help="one variant; all by default")] = None,  # noqa: UP045
    seed: Annotated[Optional[int], typer.Option(help="one seed; all by default")] = None,  # noqa: UP045
    rounds: Annotated[Optional[str], typer.Option(help="e.g. 3, or 1-10; all by default")] = None,  # noqa: UP045
    to: Annotated[Optional[Path], typer.Option("--out", help="file; <folder>/trace.json by default")] = None,  # noqa: UP045
    trust: Trust = False,
) -> None:
    """Write the spans of a run as a trace that Perfetto and about://tracing open."""
    with _errors():
        from sflsim.run import Run
        from sflsim.terminal.explain import read_rounds

        chosen = read_rounds(rounds)
        path = Run.load(folder).trace(to or folder / "trace.json", variant=variant, seed=seed, rounds=chosen)
        out.print(path, highlight=False, soft_wrap=True)


@app.command()
def catalog(
    file: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--file", metavar="FILE", help="a catalog of your own, listed with the built-in one"),
    ] = None,
) -> None:
    """List the devices and links that a scenario can name, with the source of every figure."""
    with _errors():
        from sflsim.scenario.own_catalog import load_catalogs
        from sflsim.terminal.catalog import format_catalog

        for table in format_catalog(load_catalogs(file or [])):
            out.print(table)


@app.command()
def memory(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    precision: Annotated[str, typer.Option(help="of all numbers: fp32, bf16 or fp16")] = "fp32",
    batch_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--batch-size", min=1, help="in place of the scenario's"),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="print the second table as CSV")] = False,
) -> None:
    """Show what every cut and algorithm needs in memory, and which groups of devices are too small."""
    with _errors():
        from sflsim.planning.memory import memory as memory_of
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.memory import format_memory

        loaded = load_scenario(scenario, set_ or [])
        found = memory_of(loaded, precision=precision, batch_size=batch_size)
        if csv:
            typer.echo(found.needs.to_csv(index=False), nl=False)
        else:
            for table in format_memory(found):
                out.print(table)


@app.command()
def calibrate(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    threads: Annotated[str, typer.Option(help="numbers of threads to measure with, e.g. 1,2,4")] = "1",
    repeat: Annotated[int, typer.Option(help="measurements of each; their median counts")] = 15,
    rest: Annotated[float, typer.Option(help="pause before each measurement, in ms")] = 50.0,
    name: Annotated[str, typer.Option(help="of the device in the file")] = "this-machine",
    to: Annotated[Path, typer.Option("--out", help="file of the device entries")] = Path("device.yaml"),
    csv: Annotated[bool, typer.Option("--csv", help="print the table as CSV")] = False,
) -> None:
    """Measure this machine on a scenario's network and write it as a catalog of devices.

    Run it on your Pi (or whatever is to train), name the file as your scenario's catalog and the device
    in a group; each figure has its source and spread. Timed are forward passes, backward passes and
    zeroth-order steps of every block, of both parts at every cut, and of the whole.
    """
    with _errors():
        from sflsim.planning.calibrate import calibrate as measure
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.calibrate import devices, format_calibration, new_file, read_threads

        path, counts = new_file(to), read_threads(threads)
        loaded = load_scenario(scenario, set_ or [])
        found = measure(loaded, threads=counts, repeat=repeat, rest_s=rest / 1000, name=name)
        path.write_text(found.to_yaml(), encoding="utf-8")
        if found.note:
            err.print(found.note)
        if csv:
            typer.echo(found.table.to_csv(index=False), nl=False)
            return
        for table in format_calibration(found):
            out.print(table)
        for line in devices(found):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        told = f"written to {path}; a scenario with 'catalog: {path.name}' can name them"
        out.print(told, highlight=False, markup=False, soft_wrap=True)


@app.command()
def plan(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    folder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="folder; runs/<scenario name>-plan by default, numbered if it exists"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    cache: Cache = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="share within this plan alone")] = False,
) -> None:
    """Search the decisions of a scenario's 'plan:' block, recommend one point and say why."""
    with _errors():
        from sflsim.planning.plan import plan as make_plan
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.plan import format_pareto, plan_shown

        loaded = load_scenario(scenario, set_ or [])
        place = _new_folder(folder, f"{loaded.name}-plan")
        with plan_shown(err) as progress:
            result = make_plan(loaded, device=device, cache=_cache_folder(cache, no_cache), progress=progress)
        out.print(result.explanation, highlight=False, markup=False, soft_wrap=True)
        if (table := format_pareto(result)) is not None:
            out.print("\nThe points that nothing beats:")
            out.print(table)
        result.save(place)
        out.print(f"written to {place}", highlight=False, soft_wrap=True)


@cache_app.callback()
def cache_(context: typer.Context, cache: Cache = None) -> None:
    """Show or prune what has been computed and is kept for later runs."""
    context.obj = cache
    if context.invoked_subcommand is None:
        show(context)


@cache_app.command()
def show(context: typer.Context, cache: Cache = None) -> None:
    """Show where the store lies, its size, its entries and how often they were of use."""
    with _errors():
        from sflsim.terminal.cache import format_cache

        for line in format_cache(cache or context.obj):
            out.print(line, highlight=False, soft_wrap=True)


@cache_app.command()
def prune(
    context: typer.Context,
    size: Annotated[Optional[str], typer.Option(help="what may stay, e.g. '1 GiB'; oldest go first")] = None,  # noqa: UP045
    age: Annotated[Optional[str], typer.Option(help="how long unused may stay, e.g. '30 days'")] = None,  # noqa: UP045
    cache: Cache = None,
) -> None:
    """Remove stored values, those not used for longest first."""
    with _errors():
        from sflsim.terminal.cache import prune_cache

        out.print(prune_cache(cache or context.obj, size, age), highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _errors() -> Iterator[None]:
    """Turn sflsim's errors into a message and an exit code."""
    try:
        yield
    except ScenarioError as error:
        count = len(error.problems)
        err.print(str(error))
        err.print(f"{count} mistake{'s' if count > 1 else ''}; nothing was run.")
        raise typer.Exit(2) from None
    except SflsimError as error:
        err.print(f"error: {error}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        err.print("interrupted")
        raise typer.Exit(1) from None


def _share(target: str | None) -> float | None:
    from pydantic_core import PydanticCustomError

    from sflsim.units import Percent

    try:
        return None if target is None else Percent().read(target)
    except PydanticCustomError as error:
        raise SflsimError(
            f"--target: found {target!r}; allowed: {(error.context or {})['allowed']}"
        ) from None


def _cache_folder(cache: Path | None, no_cache: bool) -> Path | None:
    if no_cache and cache is not None:
        raise SflsimError("--cache and --no-cache: give one of them")
    if no_cache or cache is not None:
        return cache
    from sflsim.learning.disk_store import default_folder

    return default_folder()


def _new_folder(folder: Path | None, name: str) -> Path:
    """Return a folder that does not exist yet; it is made when there is something to write."""
    if folder is not None:
        if folder.exists() and not _unfinished(folder):
            raise SflsimError(
                f"--out {folder}: exists already; name a new folder, so that no run is overwritten"
            )
        return folder
    tries = [Path("runs") / name, *(Path("runs") / f"{name}-{number}" for number in range(2, 10_000))]
    return next(place for place in tries if not place.exists() or _unfinished(place))


def _unfinished(folder: Path) -> bool:
    """Tell whether a folder is empty, or what a run that was killed while it was written has left."""
    from sflsim.record.tables import is_unfinished

    return folder.is_dir() and is_unfinished(folder)
