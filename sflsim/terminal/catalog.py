"""The catalog of devices and links as tables for the terminal. Imports fleet's catalog and rich."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from rich.table import Table

from sflsim.fleet import catalog


def format_catalog() -> Iterator[Table]:
    """Yield one table for the devices and one for the links: a row per figure, with its source."""
    for kind in get_args(catalog.Table):
        table = Table("name", "figure", "value", "status", "source", title=kind, title_justify="left")
        for entry in catalog.entries(kind).values():
            for number, figure in enumerate(entry.figures):
                name = entry.name if number == 0 else ""
                table.add_row(name, figure.key, str(figure.value), figure.status, figure.source)
            table.add_section()
        yield table
