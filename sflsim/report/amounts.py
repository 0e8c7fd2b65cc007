"""Seconds, bytes and shares in the units that people read."""

from __future__ import annotations

import math

NONE = "-"
TIME_UNITS = (("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86400.0))
TIME_BOUNDS_S = (1.0, 120.0, 7200.0, 172800.0, math.inf)
JOULE_UNITS = ("J", "kJ", "MJ", "GJ", "TJ")
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def time_unit(longest_s: float) -> tuple[str, float]:
    """Return name and length in seconds of the unit in which times up to `longest_s` read well."""
    if not math.isfinite(longest_s) or longest_s <= 0:
        return TIME_UNITS[1]
    return next(unit for unit, bound_s in zip(TIME_UNITS, TIME_BOUNDS_S, strict=True) if longest_s < bound_s)


def seconds_text(seconds: float) -> str:
    """Return "850 ms", "12.3 s", "4.50 min", or "-" where there is no number."""
    if not math.isfinite(seconds):
        return NONE
    name, length_s = time_unit(abs(seconds))
    return f"{number_text(seconds / length_s)} {name}"


def byte_unit(largest_bytes: float) -> tuple[str, float]:
    """Return name and size in bytes of the unit in which amounts up to `largest_bytes` read well."""
    power = 0
    while (
        math.isfinite(largest_bytes) and largest_bytes >= 1024 ** (power + 1) and power < len(BYTE_UNITS) - 1
    ):
        power += 1
    return BYTE_UNITS[power], 1024.0**power


def joule_unit(largest_j: float) -> tuple[str, float]:
    """Return name and size in joules of the unit in which energies up to `largest_j` read well."""
    power = 0
    while math.isfinite(largest_j) and largest_j >= 1000 ** (power + 1) and power < len(JOULE_UNITS) - 1:
        power += 1
    return JOULE_UNITS[power], 1000.0**power


def target_text(fraction: float) -> str:
    """Return a target accuracy with no more digits than it was written with: "90 %", "92.5 %"."""
    return f"{100 * fraction:.6g} %"


def number_text(number: float) -> str:
    """Return three significant digits, never an exponent below a million: "0.120", "12.3", "1234"."""
    if not math.isfinite(number):
        return NONE
    if number == 0 or abs(number) >= 100:
        return f"{number:.0f}" if abs(number) < 1e6 else f"{number:.3g}"
    return f"{number:#.3g}".removesuffix(".")


def count_text(number: float) -> str:
    """Return a mean of counts with at most one decimal: "93.3", "300"."""
    return f"{number:.1f}".removesuffix(".0") if math.isfinite(number) else NONE
