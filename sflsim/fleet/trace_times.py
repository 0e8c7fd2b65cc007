"""The times of a trace's rows: read from any column and unit, or from dates, and held to increase.

A column `time_s` counts seconds from the start of the run, so its first row is 0. Any other column
counts from the first row of the trace.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

from sflsim.fleet.files import Cell
from sflsim.mistakes import mistake_at
from sflsim.units import NoQuantity, measure

TIME = "time_s"
Point = tuple[float, Cell]
"""Time in s and the value's cell."""
Reader = Callable[[Cell], float]
"""Makes seconds of a cell."""
A_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}", re.ASCII)


def reader_of(time_column: str | None, times_in: str | None) -> Reader:
    """Return what makes seconds of the cells of a time column.

    Raises:
        ValidationError: `times_in` is no unit of time and no form of a date.
    """
    if times_in is not None and time_column is None:
        found, allowed = f"{times_in!r}", f"beside 'time_column'; {TIME!r} is in seconds"
        raise mistake_at("times_in", "is of no column", found, allowed)
    if times_in is not None and "%" in times_in:
        return _dates(times_in)
    try:
        unit_s = measure(f"1 {'s' if times_in is None else times_in}", ("s",))[0]
    except NoQuantity as error:
        allowed = "a unit such as s or ms, or the form of a date such as '%Y-%m-%d %H:%M:%S'"
        raise mistake_at("times_in", "is no unit of time", repr(times_in), allowed, error.remedy) from error

    def seconds(cell: Cell) -> float:
        time = cell.number * unit_s
        if not (0 <= time < math.inf):
            allowed = f"{'seconds' if time_column is None else 'times'}, zero or more, as bare numbers"
            raise mistake_at("file", "has a time that is none", str(cell), allowed, _remedy(cell.text))
        return time

    return seconds


def _dates(form: str) -> Reader:
    """Return a reader of dates in the form of `strptime`, as seconds since some day; no time zones."""
    epoch = datetime(1970, 1, 1)
    example = "'%Y-%m-%d %H:%M:%S'"
    if re.search(r"%[zZ]", form):
        raise mistake_at("times_in", "has a time zone", repr(form), f"a date without one, e.g. {example}")
    try:
        datetime.strptime(epoch.strftime(form), form)
    except (ValueError, re.error) as error:
        raise mistake_at("times_in", "is no form of a date", repr(form), f"e.g. {example}") from error

    def seconds(cell: Cell) -> float:
        try:
            return (datetime.strptime(cell.text, form) - epoch).total_seconds()
        except ValueError as error:
            allowed = f"dates in the form of times_in, {form!r}"
            raise mistake_at("file", "has a time that is none", str(cell), allowed) from error

    return seconds


def _remedy(text: str) -> str:
    if A_DATE.match(text):
        return "give the form of a date: times_in: '%Y-%m-%d %H:%M:%S'"
    return "write 12.5, not 12,5; 1250000, not 1,250,000" if "," in text else ""


def check_times(points: list[Point], may_repeat: bool = False, remedy: str = "") -> None:
    """Refuse a trace that does not start at 0 or whose times do not increase.

    With `may_repeat` several rows may have one time; if not, `remedy` says what can be done about it.
    """
    first_s, cell = points[0]
    if first_s != 0:
        allowed = f"a first row of {TIME} 0: what holds from the start"
        remedy = f"to count from the first row, name the column: 'time_column: {TIME}'"
        raise mistake_at("file", "begins with a gap", f"{TIME} {first_s:g} {cell.place}", allowed, remedy)
    allowed = "times that increase from row to row"
    for (before_s, _), (time_s, cell) in pairwise(points):
        found = f"{TIME} {time_s:g} after {before_s:g} {cell.place}"
        if time_s < before_s:
            order = "sort the rows, or give each trace a label of its own in a column 'device'"
            raise mistake_at("file", "has time running backwards", found, allowed, order)
        if time_s == before_s and not may_repeat:
            raise mistake_at("file", "has a time twice", found, allowed, remedy)
