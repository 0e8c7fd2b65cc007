"""Numbers, seconds, bytes and counts as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

NONE = "-"
TIME_UNITS = (("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86400.0))
TIME_BOUNDS_S = (1.0, 120.0, 7200.0, 172800.0, math.inf)
JOULE_UNITS = ("J", "kJ", "MJ", "GJ", "TJ")
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
Unit = tuple[str, float]
"""A unit's name and its size in the base unit."""


def time_unit(longest_s: float) -> Unit:
    """Return the unit in which times up to `longest_s` read well."""
    if not math.isfinite(longest_s) or longest_s <= 0:
        return TIME_UNITS[1]
    return next(unit for unit, bound_s in zip(TIME_UNITS, TIME_BOUNDS_S, strict=True) if longest_s < bound_s)


def byte_unit(largest_bytes: float) -> Unit:
    """Return the unit in which amounts up to `largest_bytes` read well."""
    return _power_of(1024.0, BYTE_UNITS, largest_bytes)


def joule_unit(largest_j: float) -> Unit:
    """Return the unit in which energies up to `largest_j` read well."""
    return _power_of(1000.0, JOULE_UNITS, largest_j)


def _power_of(base: float, names: Sequence[str], largest: float) -> Unit:
    powers = range(1, len(names) if math.isfinite(largest) else 0)
    power = sum(largest >= base**power for power in powers)
    return names[power], base**power


UNIT_OF = {"s": time_unit, "byte": byte_unit, "J": joule_unit}
"""What picks the unit for an amount, by its base unit."""


def in_unit(number: float, unit_of: Callable[[float], Unit], digits: int = 3) -> str:
    """Return a number in the unit that `unit_of` picks for it, or "-" where there is none."""
    if not math.isfinite(number):
        return NONE
    name, size = unit_of(abs(number))
    return f"{number_text(number / size, digits)} {name}"


def in_one_unit(
    header: str, numbers: Iterable[float], unit_of: Callable[[float], Unit]
) -> tuple[str, list[str]]:
    """Return a column of a table, all in the unit that suits the largest number: "time (s)" and texts."""
    numbers = [float(number) for number in numbers]
    known = [number for number in numbers if not math.isnan(number)]
    name, size = unit_of(max(known, default=math.nan))
    return f"{header} ({name})" if known else header, [number_text(number / size) for number in numbers]


def seconds_text(seconds: float) -> str:
    """Return "850 ms", "12.3 s", "4.50 min", or "-" where there is no number."""
    return in_unit(seconds, time_unit)


def bytes_text(size_bytes: float, digits: int = 3) -> str:
    """Return 1536 as "1.50 KiB"."""
    return in_unit(size_bytes, byte_unit, digits)


def target_text(fraction: float) -> str:
    """Return a target accuracy with no more digits than it was written with: "90 %", "92.5 %"."""
    return f"{100 * fraction:.6g} %"


def number_text(number: float, digits: int = 3) -> str:
    """Return three significant digits, never an exponent below a million: "0.120", "12.3", "1234"."""
    if not math.isfinite(number):
        return NONE
    if number == 0 or abs(number) >= 10 ** (digits - 1):
        return f"{number:.0f}" if abs(number) < 1e6 else f"{number:.{digits}g}"
    return f"{number:#.{digits}g}".removesuffix(".")


def mean_text(number: float) -> str:
    """Return a mean of counts with at most one decimal: "93.3", "300"."""
    return f"{number:.1f}".removesuffix(".0") if math.isfinite(number) else NONE


def accuracy_text(mean: float, deviation: float) -> str:
    """Return an accuracy in percent, with its spread over seeds if there is any: "95.2 ±0.4"."""
    spread = f" ±{100 * deviation:.1f}" if math.isfinite(deviation) else ""
    return f"{100 * mean:.1f}{spread}" if math.isfinite(mean) else NONE


def counted(number: int, what: str) -> str:
    """Return "1 seed", "3 seeds" or "1 200 seeds"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}".replace(",", " ")


def shorten(text: str, width: int = 60) -> str:
    """Return `text`, cut in the middle where it is longer than `width`."""
    return text if len(text) <= width else f"{text[: width // 2]}...{text[-width // 4 :]}"


CONTROLS = {number: f"\\x{number:02x}" for number in (*range(10), *range(11, 32), *range(127, 160))}
"""What tells a terminal to do something: nothing that a stranger's file may say."""
CONTROLS |= {number: f"\\u{number:04x}" for number in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
FORMULA = re.compile(r"[=+\-@\t\r]")
PLAIN_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def printable(text: str) -> str:
    """Return a text whose control characters are written out, those that change its direction, too."""
    return text.translate(CONTROLS)


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV for a terminal or a spreadsheet: no text in it is a command or a formula."""
    safe = frame.rename(columns=_cell)
    texts = safe.select_dtypes(exclude=["number", "bool", "boolean"]).columns
    safe = safe.assign(**{name: safe[name].map(_cell, na_action="ignore") for name in texts})
    return safe.to_csv(index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    """Return a value of a cell; what a spreadsheet would compute begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    is_formula = FORMULA.match(value) and not PLAIN_NUMBER.fullmatch(value)
    return printable(f"'{value}" if is_formula else value)
