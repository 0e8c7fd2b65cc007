"""The command line: run, validate, schema, plot, summary, catalog. No logic of its own.

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

from sflsim.errors import ScenarioError, SflsimError

app = typer.Typer(
    help="Simulate split federated learning on a wall clock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(soft_wrap=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

ScenarioFile = Annotated[Path, typer.Argument(help="a scenario in YAML", show_default=False)]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads this form)
    typer.Option("--set", metavar="PATH=VALUE", help="override a field, e.g. --set stop.rounds=50"),
]
Target = Annotated[Optional[str], typer.Option("--target", help="target accuracy, e.g. 90%")]  # noqa: UP045


@app.command()
def run(
    scenario: ScenarioFile,
    set_: Overrides = None,
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
    target: Target = None,
) -> None:
    """Simulate a scenario, show a summary and write the run folder."""
    with _errors():
        from sflsim.experiment import simulate
        from sflsim.report.summary import format_summary
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.progress import shown

        share = _share(target)
        loaded = load_scenario(scenario, set_ or [])
        place = _new_folder(folder, loaded.name)
        with shown(err) as progress:
            result = simulate(
                loaded, workers=workers, device=device, timing_only=timing_only, progress=progress
            )
        out.print(format_summary(result.summary(share)))
        result.save(place)
        out.print(f"{result.status}; written to {place}", highlight=False, soft_wrap=True)
        if result.status == "interrupted":
            raise typer.Exit(1)


@app.command()
def validate(
    scenarios: Annotated[list[Path], typer.Argument(help="scenarios in YAML", show_default=False)],
    set_: Overrides = None,
) -> None:
    """Check scenarios without running them; report every mistake in every file."""
    from sflsim.scenario.loading import load_scenario
    from sflsim.session import Options, Session

    wrong = 0
    for path in scenarios:
        try:
            with _errors():
                loaded = load_scenario(path, set_ or [])
                Session(loaded, Options()).check()
                out.print(
                    f"{path}: ok, {len(loaded.variants)} variants x {len(loaded.seeds)} seeds",
                    highlight=False,
                )
        except typer.Exit as bad:
            wrong = max(wrong, bad.exit_code)
    if wrong:
        raise typer.Exit(wrong)


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
) -> None:
    """Draw the pictures of a run anew, from its tables alone."""
    with _errors():
        from sflsim.run import Run

        for path in Run.load(folder).plot(to or folder / "plots", _share(target)):
            out.print(path, highlight=False, soft_wrap=True)


@app.command()
def summary(
    folder: Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)],
    target: Target = None,
) -> None:
    """Show the summary of a run again, for another target accuracy if you like."""
    with _errors():
        from sflsim.report.summary import format_summary
        from sflsim.run import Run

        out.print(format_summary(Run.load(folder).summary(_share(target))))


@app.command()
def catalog() -> None:
    """List the devices and links that a scenario can name, with the source of every figure."""
    from sflsim.terminal.catalog import format_catalog

    for table in format_catalog():
        out.print(table)


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


def _new_folder(folder: Path | None, name: str) -> Path:
    """Return a folder that does not exist yet; it is made when there is something to write."""
    if folder is not None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SflsimError(
                f"--out {folder}: exists already; name a new folder, so that no run is overwritten"
            )
        return folder
    tries = [Path("runs") / name, *(Path("runs") / f"{name}-{number}" for number in range(2, 10_000))]
    return next(place for place in tries if not place.exists())
