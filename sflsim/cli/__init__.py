"""The command line: run, sweep, plan, explain, trace and what shows or checks. No logic of its own.

Exit codes: 0 done, 1 sflsim failed or was interrupted, 2 the input cannot be used. Imports the
public API; the heavy part of it only in the commands that need it.
"""

from __future__ import annotations

import typer

from sflsim.cli.computing import calibrate, plan, run, sweep
from sflsim.cli.results import explain, plot, report, summary, trace
from sflsim.cli.scenarios import catalog, memory, partition, schema, validate
from sflsim.cli.store import cache_app

__all__ = ["app", "main"]

app = typer.Typer(
    help="Simulate split federated learning on a wall clock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    run, sweep, validate, partition, schema, plot, report, summary, explain, trace, catalog, memory,
    calibrate, plan,
):  # fmt: skip
    app.command()(command)
app.add_typer(cache_app, name="cache")


def main() -> None:
    """Run the command line."""
    app()
