"""The commands of `sflsim cache`: the store of what has been computed."""

from __future__ import annotations

from typing import Annotated

import typer

from sflsim.cli.console import errors, out
from sflsim.cli.options import Cache

cache_app = typer.Typer(
    help="Show or prune the store of computed results.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@cache_app.callback()
def cache_(context: typer.Context, cache: Cache = None) -> None:
    """Show or prune the store of computed results."""
    context.obj = cache
    if context.invoked_subcommand is None:
        show(context)


@cache_app.command()
def show(context: typer.Context, cache: Cache = None) -> None:
    """Show where the store lies, its size, its entries and how often they were of use."""
    with errors():
        from sflsim.terminal.cache import format_cache

        for line in format_cache(cache or context.obj):
            out.print(line, soft_wrap=True)


@cache_app.command()
def prune(
    context: typer.Context,
    size: Annotated[str | None, typer.Option(help="what may stay, e.g. '1 GiB'; oldest go first")] = None,
    age: Annotated[str | None, typer.Option(help="how long unused may stay, e.g. '30 days'")] = None,
    cache: Cache = None,
) -> None:
    """Remove stored values, those not used for longest first."""
    with errors():
        from sflsim.fields import Quantity, read_argument
        from sflsim.terminal.cache import prune_cache

        size_bytes = read_argument("--size", size, Quantity("byte", "1 GiB", positive=False))
        age_s = read_argument("--age", age, Quantity("s", "30 days", positive=False))
        out.print(prune_cache(cache or context.obj, size_bytes, age_s), soft_wrap=True)
