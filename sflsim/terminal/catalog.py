"""The catalog of devices and links as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from rich.table import Table

from sflsim.fleet import catalog
from sflsim.fleet.own_catalog import CatalogConfig
from sflsim.terminal.tables import add_columns, add_rows, new_table


def format_catalog(own: CatalogConfig | None = None) -> Iterator[Table]:
    """Yield one table for the devices and one for the links: a row per figure, with its source.

    Entries of a user's own are marked, and stand where the built-in ones do that they replace.
    """
    headings = ("name", "figure", "value", "status", "source")
    with catalog.adding(own.own() if own else {}):
        for kind in get_args(catalog.Table):
            table = new_table(kind)
            add_columns(table, headings, overflow="fold")
            for entry in catalog.known(kind).values():
                mark = " (own)" if own and entry.name in own.table(kind) else ""
                _add(table, entry, entry.name + mark)
            yield table


def _add(table: Table, entry: catalog.Entry, name: str) -> None:
    for number, figure in enumerate(entry.figures):
        cells = ("" if number else name, figure.key, figure.text, figure.status, figure.source)
        add_rows(table, [cells])
    if entry.fitted:
        add_rows(table, [("", "rests on", ", ".join(entry.fitted.networks), "", entry.fitted.error)])
    table.add_section()
