"""What the command line shows and does about the store on disk."""

from __future__ import annotations

from pathlib import Path

from sflsim.errors import SflsimError
from sflsim.formatting import bytes_text, counted
from sflsim.learning.graph.disk_store import DiskStore, default_folder


def format_cache(folder: Path | None) -> list[str]:
    """Return lines that say where the store lies, what it holds and how often that was of use."""
    place = folder or default_folder()
    if not place.is_dir():
        return [f"{place}: nothing is stored yet"]
    store = DiskStore(place)
    found = store.contents()
    store.close()
    return [
        str(place),
        f"  size     {bytes_text(found.bytes)} of {bytes_text(store.limit_bytes)}",
        f"  entries  {found.numbers + found.weights:,}: {counted(found.numbers, 'number')}, "
        f"{found.weights:,} weights",
        f"  hits     {found.hits:,} of {found.hits + found.misses:,} questions",
    ]


def prune_cache(folder: Path | None, size_bytes: float | None, age_s: float | None) -> str:
    """Remove what exceeds a size and what was not used for so long; return a line about it.

    Raises:
        SflsimError: neither is given, or the store cannot be written.
    """
    if size_bytes is None and age_s is None:
        raise SflsimError("cache prune: say how far, with --size (e.g. '1 GiB') or --age (e.g. '30 days')")
    place = folder or default_folder()
    if not place.is_dir():
        return f"{place}: nothing is stored yet"
    store = DiskStore(place)
    entries, gone_bytes = store.prune(size_bytes, age_s)
    store.close()
    return f"{place}: removed {entries:,} {'entry' if entries == 1 else 'entries'}, {bytes_text(gone_bytes)}"
