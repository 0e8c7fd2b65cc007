"""Swept amounts as numbers: "5 ms" is 0.005 in a column of its own, whose name ends in the unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sflsim.units import NoQuantity, measure, split

SUFFIXES = {
    "s": "s",
    "byte": "bytes",
    "byte/s": "bytes_per_s",
    "FLOP": "flop",
    "FLOP/s": "flop_per_s",
    "W": "w",
    "J": "j",
    "Hz": "hz",
    "W/Hz": "w_per_hz",
    "m": "m",
    "dB": "db",
    "%": "share",
}
"""The end of a column's name by the unit of its numbers; "70%" is a share of 0.7."""
UNITS = tuple(unit for unit in SUFFIXES if unit != "%")


def amounts_of(path: str, values: Sequence[Any]) -> tuple[str, list[float]] | None:
    """Return the name of the column of a path's numbers, and these; None unless all values are amounts.

    All must be of one kind; "unlimited" is infinite.
    """
    try:
        read = [_amount(value) for value in values]
    except NoQuantity:
        return None
    units = {unit for _, unit in read if unit}
    if len(units) != 1:
        return None
    return f"{path}_{SUFFIXES[units.pop()]}", [number for number, _ in read]


def _amount(value: Any) -> tuple[float, str]:
    if value == "unlimited":
        return math.inf, ""
    if not isinstance(value, str):
        raise NoQuantity("is no text")
    number, unit = split(value)
    return (number / 100, unit) if unit == "%" else measure(value, UNITS)


def swept_columns(over: Mapping[str, Sequence[Any]], columns: Iterable[str]) -> list[str]:
    """Return the swept columns of a table that has `columns`: each path, and its numbers beside it."""
    known, found = set(columns), []
    for path, values in over.items():
        amounts = amounts_of(path, values)
        found += [path, *([amounts[0]] if amounts and amounts[0] in known else [])]
    return found
