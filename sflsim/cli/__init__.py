"""The command line: run, sweep, plan, explain, trace and what shows or checks. No logic of its own.

Exit codes: 0 done, 1 sflsim failed or was interrupted, 2 the input cannot be used, 3 done and saved, but
not all could be printed or drawn.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sflsim.cli.computing import calibrate, plan, run, sweep
from sflsim.cli.console import out, run_tolerantly
from sflsim.cli.exploring import explore
from sflsim.cli.results import compare, explain, export, plot, report, summary, trace, verify
from sflsim.cli.scenarios import catalog, memory, new, partition, schema, validate
from sflsim.cli.store import cache_app
from sflsim.provenance import __version__, commit

__all__ = ["app", "main"]

app = typer.Typer(
    help="Simulate split federated learning against simulated wall-clock time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    run, explore, sweep, new, validate, partition, schema, plot, report, summary, compare, verify, explain,
    trace, export, catalog, memory, calibrate, plan,
):  # fmt: skip
    app.command()(command)
app.add_typer(cache_app, name="cache")


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"sflsim {__version__}" + (f" (commit {commit()})" if commit() else ""), soft_wrap=True)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Simulate split federated learning against simulated wall-clock time."""


def main() -> None:
    """Run the command line."""
    sys.exit(run_tolerantly(app))
