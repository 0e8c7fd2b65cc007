"""The memory tables of a scenario for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
from rich.table import Table

from sflsim.diagnostics.memory import Memory
from sflsim.formatting import bytes_text, counted
from sflsim.terminal.tables import add_columns, new_table

SHORT = {
    "client_parameters_bytes": "client weights",
    "client_frozen_bytes": "frozen",
    "saved_bytes": "saved for backward",
    "live_bytes": "alive in forward",
    "activation_bytes": "sent",
    "server_parameters_bytes": "server weights",
}
NEEDED = {
    "client_bytes": "client peak",
    "client_kept_bytes": "grads kept",
    "server_bytes": "server, all",
    "server_least_bytes": "server, least",
}
PADDING = (0, 1, 0, 0)


def format_memory(memory: Memory) -> Iterator[Table]:
    """Yield the table of the cuts and that of the variants; what does not fit is marked with a cross."""
    first = memory.cuts.iloc[0]
    title = f"what a client holds, batch {first.batch_size}, {first.precision}"
    if memory.overridden:
        title += ", costs as given in the scenario"
    cuts = new_table(title, padding=PADDING)
    add_columns(cuts, ["cut"], SHORT.values(), overflow="fold")
    for _, row in memory.cuts.iterrows():
        cuts.add_row(f"{row.cut} {row.last_block}", *(bytes_text(row[name]) for name in SHORT))
    yield cuts
    yield _needs(memory)


def _needs(memory: Memory) -> Table:
    """Return the table of the variants' peaks; the caption says what the server's mean."""
    limited, some_small = memory.server_bytes is not None, bool(memory.needs["too_small"].any())
    optional = [*(["served at once"] if limited else []), *(["too small"] if some_small else [])]
    table = new_table("peaks", _about_server(memory), padding=PADDING)
    add_columns(table, ["variant", "cut"], [*NEEDED.values(), *optional], overflow="fold")
    for name, rows in memory.needs.groupby("variant", sort=False):
        for place, (_, row) in enumerate(rows.iterrows()):
            table.add_row(
                str(name) if place == 0 else "",
                row.last_block if row.cut == 0 else f"{row.cut} {row.last_block}",
                *(bytes_text(row[need]) for need in NEEDED),
                *([_served(row, memory.server_bytes)] if limited else []),
                *([f"✗ {row.too_small}" if row.too_small else ""] if some_small else []),
            )
    return table


def _served(row: pd.Series, server_bytes: float | None) -> str:
    """Return how many participants a server of this memory serves at a time."""
    if server_bytes is not None and server_bytes < row.server_least_bytes:
        return "✗ none"
    return "all" if math.isnan(row.server_replicas) else f"{row.server_replicas:.0f}"


def _about_server(memory: Memory) -> str:
    everybody = counted(memory.participants, "participant")
    everybody = f"all {everybody}" if memory.participants > 1 else everybody
    words = (
        f"server, all: its models while it serves {everybody} of a round at once; "
        "least: below it the scenario is refused, between the two participants wait. Gradients and "
        "optimizer state are not counted. "
    )
    if memory.server_bytes is None:
        return words + "The scenario has no server.memory: any is taken as large enough."
    return words + f"The scenario's server.memory is {bytes_text(memory.server_bytes)}."
