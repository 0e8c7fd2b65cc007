"""How people spell units: the usual ones and what they are in base units; proposals for misspelt ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

PREFIXES = {
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "c": 1e-2,
    "m": 1e-3,
    "u": 1e-6,
    "n": 1e-9,
}
PREFIXES |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
SPELLINGS: dict[str, tuple[dict[str, float | None], tuple[str, ...]]] = {
    "byte": ({"bit": 0.125, "B": 1.0, "byte": 1.0}, ("", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti")),
    "FLOP": ({"FLOP": 1.0}, ("", "k", "M", "G", "T", "P")),
    "s": ({"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}, ("", "m", "u", "n")),
    "W": ({"W": 1.0, "dBm": None, "dBW": None}, ("", "m", "k", "M")),
    "J": ({"J": 1.0, "Wh": 3600.0}, ("", "m", "k", "M")),
    "Hz": ({"Hz": 1.0}, ("", "k", "M", "G")),
    "W/Hz": ({"W/Hz": 1.0, "dBm/Hz": None, "dBW/Hz": None}, ("", "m")),
    "km": ({"m": 1e-3}, ("k", "", "c", "m")),
    "dB": ({"dB": None}, ("",)),
}
"""The usual units by base unit: names with what one is in it, None for a level, and prefixes; rates add "/s".

They are read without pint, whose definitions take a fifth of a second to load, and proposed for others.
"""


@cache
def usual(unit: str) -> dict[str, float]:
    """Return what one of each usual unit is in a base unit."""
    base, rate = (unit[:-2], "/s") if unit.endswith("/s") else (unit, "")
    names, prefixes = SPELLINGS.get(base, ({}, ()))
    pairs = product(prefixes, names.items())
    return {
        f"{prefix}{name}{rate}": PREFIXES[prefix] * one for prefix, (name, one) in pairs if one is not None
    }


def spelled_right(name: str, units: Sequence[str]) -> str:
    """Return the proposal of the spellings that `name` is one of, but for its case, or for "/s"."""
    near = [way for unit in units for key, way in _spellings(unit) if key == name.lower()]
    ways = list(dict.fromkeys(way for way in near if way != name))[:3]
    return f"did you mean {' or '.join(map(repr, ways))}?" if ways else ""


@cache
def _spellings(unit: str) -> list[tuple[str, str]]:
    """Return (a spelling in small letters, the right one) of units of this dimension."""
    return list(_ways(unit))


def _ways(unit: str) -> Iterator[tuple[str, str]]:
    base, rate = (unit[:-2], "/s") if unit.endswith("/s") else (unit, "")
    names, prefixes = SPELLINGS.get(base, ({base: 1.0}, ("",)))
    for prefix, one in product(prefixes, names):
        right = f"{prefix}{one}{rate}"
        short = f"{prefix}{one[0] if one == 'bit' else one}"
        whole = f"{prefix}{one}"
        for key in (
            right,
            whole,
            f"{whole}s",
            f"{whole}/s",
            short,
            f"{short}{rate}",
            f"{short}ps" if rate else right,
        ):
            yield key.lower(), right
        if prefix and one == next(iter(names)) and base != "s":
            yield prefix.lower(), right
    if unit == "s":
        yield from (("m", "min"), ("m", "ms"))
