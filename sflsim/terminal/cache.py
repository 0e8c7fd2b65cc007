"""What the command line shows and does about the store on disk."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticCustomError

from sflsim.errors import SflsimError
from sflsim.learning.graph.disk_store import DiskStore, default_folder
from sflsim.units import Quantity

SIZE = Quantity("byte", "1 GiB", positive=False)
AGE = Quantity("s", "30 days", positive=False)


def format_cache(folder: Path | None) -> list[str]:
    """Return lines that say where the store lies, what it holds and how often that was of use."""
    place = folder or default_folder()
    if not place.is_dir():
        return [f"{place}: nothing is stored yet"]
    store = DiskStore(place)
    found = store.contents()
    store.close()
    return [
        f"{found.folder}",
        f"  size     {size_text(found.bytes)} of {size_text(store.limit_bytes)}",
        f"  entries  {found.numbers + found.weights:,}: {found.numbers:,} numbers, {found.weights:,} weights",
        f"  hits     {found.hits:,} of {found.hits + found.misses:,} questions",
    ]


def prune_cache(folder: Path | None, size: str | None, age: str | None) -> str:
    """Remove what `size` and `age` say, and return a line about it.

    Raises:
        SflsimError: neither is given, one of them cannot be read, or the store cannot be written.
    """
    if size is None and age is None:
        raise SflsimError("cache prune: say how far, with --size (e.g. '1 GiB') or --age (e.g. '30 days')")
    place = folder or default_folder()
    size_bytes, age_s = _read("--size", size, SIZE), _read("--age", age, AGE)
    if not place.is_dir():
        return f"{place}: nothing is stored yet"
    store = DiskStore(place)
    entries, gone_bytes = store.prune(size_bytes, age_s)
    store.close()
    return f"{place}: removed {entries:,} entries, {size_text(gone_bytes)}"


def size_text(size_bytes: float) -> str:
    """Return a size in the unit that suits it."""
    for unit in ("byte", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.4g} GiB"


def _read(option: str, text: str | None, quantity: Quantity) -> float | None:
    try:
        return None if text is None else quantity.read(text)
    except PydanticCustomError as error:
        allowed = (error.context or {})["allowed"]
        raise SflsimError(f"{option}: found {text!r}; allowed: {allowed}") from None
