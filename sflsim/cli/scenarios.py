"""Commands that check or show a scenario and what it can name: nothing is simulated."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from sflsim.cli.console import err, errors, out
from sflsim.cli.options import Overrides, ScenarioFile, Trust


def validate(
    scenarios: Annotated[list[Path], typer.Argument(help="scenarios in YAML", show_default=False)],
    set_: Overrides = None,
    trust: Trust = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="also train one round of each variant, under the first seed")
    ] = False,
) -> None:
    """Check scenarios without running them. Report every mistake in every file."""
    from sflsim.formatting import counted
    from sflsim.scenario.loading import load_scenario
    from sflsim.session import Options, Session, doubts, unlike_rounds
    from sflsim.sweeps.grid import points

    wrong = 0
    for path in scenarios:
        try:
            with errors():
                loaded = load_scenario(path, set_ or [], trust=trust)
                session = Session(loaded, Options())
                session.check()
                session.materials.check_files()
                if deep or loaded.stop.rounds is None:
                    for line in session.try_a_round(learn=deep):
                        err.print(f"{path}: warning: {line}")
                for line in [*doubts(loaded), *filter(None, [unlike_rounds(loaded)])]:
                    err.print(f"{path}: warning: {line}", highlight=False, markup=False, soft_wrap=True)
                if loaded.sweep:
                    found = points(loaded, loaded.sweep, Options())
                    broken = [point for point in found if point.problems]
                    count = (
                        f"{len(broken)} of {counted(len(found), 'point')} of the sweep cannot be simulated"
                    )
                    if broken:
                        err.print(f"{path}: {count}, first point {broken[0].number}: {broken[0].error}")
                out.print(
                    f"{path}: ok, {counted(len(loaded.variants), 'variant')} x "
                    f"{counted(len(loaded.seeds), 'seed')}",
                    soft_wrap=True,
                )
        except typer.Exit as bad:
            wrong = max(wrong, bad.exit_code)
    if wrong:
        raise typer.Exit(wrong)


def new(
    file: Annotated[Path, typer.Argument(help="the file to write, e.g. my.yaml", show_default=False)],
    like: Annotated[
        str, typer.Option(metavar="NAME", help="a shipped scenario: plan, sweep, papers/ho_sfl, ...")
    ] = "quickstart",
) -> None:
    """Write a new scenario, with comments, and the schema by which an editor checks it."""
    with errors():
        from sflsim.errors import RunError
        from sflsim.record.tables import write_text
        from sflsim.scenario.new import SCHEMA_FILE, new_scenario
        from sflsim.scenario.schema import json_schema

        text = new_scenario(file, like)
        if os.path.lexists(file):
            raise RunError(f"{file}: exists already; name a new file, so that nothing is overwritten")
        write_text(text, file)
        write_text(json.dumps(json_schema(), indent=2) + "\n", file.parent / SCHEMA_FILE)
        out.print(f"written: {file}, and {file.parent / SCHEMA_FILE} for editors", soft_wrap=True)
        out.print(f"next: sflsim validate {file}", soft_wrap=True)


def partition(
    scenario: ScenarioFile,
    set_: Overrides = None,
    seed: Annotated[int | None, typer.Option(help="one of the scenario's; its first by default")] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="picture of the labels by client; none by default"),
    ] = None,
    trust: Trust = False,
) -> None:
    """Show how the samples are partitioned. With --out, draw the labels that each client holds."""
    with errors():
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.partition import partition_table

        loaded = load_scenario(scenario, set_ or [], trust=trust)
        out.print(partition_table(loaded, seed, to))
        if to is not None:
            out.print(f"written to {to}", soft_wrap=True)


def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from sflsim.scenario.schema import json_schema

    print(json.dumps(json_schema(), indent=2))


def catalog(
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="FILE", help="a catalog of your own, listed with the built-in one"),
    ] = None,
) -> None:
    """List the devices and links that scenarios can name. Every figure has its source."""
    with errors():
        from sflsim.scenario.own_catalog import load_catalogs
        from sflsim.terminal.catalog import format_catalog

        for table in format_catalog(load_catalogs(file or [])):
            out.print(table)


def memory(
    scenario: ScenarioFile,
    set_: Overrides = None,
    trust: Trust = False,
    precision: Annotated[str, typer.Option(help="of all numbers: fp32, bf16 or fp16")] = "fp32",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="in place of the scenario's")
    ] = None,
    cut: Annotated[
        list[int] | None,
        typer.Option("--cut", help="a cut to show, by the number of the client's blocks; all by default"),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="print the second table as CSV")] = False,
) -> None:
    """Show what every cut and algorithm needs in memory. Mark groups of devices that are too small."""
    with errors():
        from sflsim.diagnostics.memory import memory as memory_of
        from sflsim.formatting import csv_text
        from sflsim.scenario.loading import load_scenario
        from sflsim.terminal.memory import format_memory

        loaded = load_scenario(scenario, set_ or [], trust=trust)
        found = memory_of(loaded, cuts=cut, precision=precision, batch_size=batch_size)
        if csv:
            print(csv_text(found.needs), end="")
        else:
            for table in format_memory(found):
                out.print(table)
