"""The memory tables of a scenario for the terminal. Imports planning's memory and rich."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from sflsim.planning.memory import Memory
from sflsim.terminal.cache import size_text

SHORT = {
    "client_parameters_bytes": "client parameters",
    "client_frozen_bytes": "frozen",
    "saved_bytes": "saved for backward",
    "live_bytes": "alive in forward",
    "activation_bytes": "activation sent",
    "server_parameters_bytes": "server parameters",
}


def format_memory(memory: Memory) -> Iterator[Table]:
    """Yield the table of the cuts and that of the variants; what does not fit is marked with a cross."""
    first = memory.cuts.iloc[0]
    title = f"what a client holds, batch {first.batch_size}, {first.precision}"
    cuts = Table("cut", *SHORT.values(), title=title, title_justify="left")
    for _, row in memory.cuts.iterrows():
        cuts.add_row(f"{row.cut} {row.last_block}", *(size_text(row[name]) for name in SHORT))
    yield cuts
    needs = Table("variant", "cut", "client peak", "gradients kept", "server models", "too small")
    needs.title, needs.title_justify = "peaks", "left"
    for name, rows in memory.needs.groupby("variant", sort=False):
        for place, (_, row) in enumerate(rows.iterrows()):
            cut = row.last_block if row.cut == 0 else f"{row.cut} {row.last_block}"
            small = f"✗ {row.too_small}" if row.too_small else ""
            needs.add_row(
                str(name) if place == 0 else "",
                cut,
                size_text(row.client_bytes),
                size_text(row.client_kept_bytes),
                size_text(row.server_bytes),
                small,
            )
        needs.add_section()
    yield needs
