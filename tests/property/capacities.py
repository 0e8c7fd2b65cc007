"""What capacities let through, and whether spans keep within them; traces are read from their file anew."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from property.random_scenarios import PERIOD_S, RATES_CSV

Floats = npt.NDArray[np.float64]
Passed = Callable[[Any], Any]
"""How much a capacity lets through from time 0 up to each of some times."""


def integrals() -> dict[str, Passed]:
    """Return for each column of the rates' file how much it lets through."""
    with RATES_CSV.open() as file:
        rows = list(csv.DictReader(file))
    times_s = [*(float(row["time_s"]) for row in rows), PERIOD_S]
    found: dict[str, Passed] = {}
    for column in (name for name in rows[0] if name != "time_s"):
        steps = zip(rows, np.diff(times_s), strict=True)
        passed = list(accumulate((float(row[column]) * step_s for row, step_s in steps), initial=0.0))

        def upto(t_s: Any, passed: list[float] = passed) -> Any:
            periods = np.floor_divide(t_s, PERIOD_S)
            return periods * passed[-1] + np.interp(t_s - periods * PERIOD_S, times_s, passed)

        found[column] = upto
    return found


INTEGRALS = integrals()


def capacity(written: Any) -> Passed | None:
    """Return what a capacity of this file's scenarios lets through; None where it limits nothing."""
    if isinstance(written, Mapping):
        return INTEGRALS[written["column"]]
    if written == "unlimited":
        return None
    number, unit = written.split()
    return steady(float(number) * (1000 if unit == "kB/s" else 1))


def steady(per_s: float) -> Passed:
    """Return what a rate that never changes lets through."""
    return lambda t_s: per_s * t_s


def sum_of(one: Passed, other: Passed) -> Passed:
    """Return what two capacities let through together."""
    return lambda t_s: one(t_s) + other(t_s)


def passed_by(written: Any, drawn: Any) -> Passed | None:
    """Return what a device's rate lets through; None where nothing limits it, or each message has its own."""
    if isinstance(written, Mapping) and written["kind"] == "trace":
        return capacity(written)
    return steady(drawn) if isinstance(drawn, float) and drawn < math.inf else None


def timed(own: Spans, written: Any) -> Spans:
    """Return what is to be held against a rate; what is cut under a trace counts in proportion to time."""
    traced = isinstance(written, Mapping) and written["kind"] == "trace"
    return own.where(own.outcome != "lost") if traced else own


@dataclass(frozen=True)
class Spans:
    """Columns of the table of spans."""

    actor: Any
    activity: Any
    start_s: Floats
    end_s: Floats
    round: Any
    client: Any
    bytes: Floats
    flop: Floats
    active_energy_j: Floats
    outcome: Any

    @classmethod
    def of(cls, table: pd.DataFrame) -> Spans:
        """Return the columns of a table."""
        return cls(**{field.name: table[field.name].to_numpy() for field in fields(cls)})

    def where(self, chosen: Any) -> Spans:
        """Return some spans: a mask, or their places."""
        return Spans(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def by(self, *columns: str) -> Iterator[tuple[tuple[Any, ...], Spans]]:
        """Return the spans of each combination of values, in the table's order."""
        places: dict[tuple[Any, ...], list[int]] = {}
        for place, key in enumerate(zip(*(getattr(self, column) for column in columns), strict=True)):
            places.setdefault(key, []).append(place)
        for key, own in places.items():
            yield key, self.where(own)

    def __len__(self) -> int:
        return len(self.start_s)


def slack_s(times_s: Any) -> Any:
    """Return what rounding may move a time by."""
    return 1e-9 * np.maximum(1.0, times_s)


def assert_apart(spans: Spans) -> None:
    """Assert that no two spans of one actor overlap."""
    spans = spans.where(np.lexsort((spans.end_s, spans.start_s, spans.actor)))
    same = spans.actor[1:] == spans.actor[:-1]
    assert (spans.start_s[1:] >= spans.end_s[:-1] - slack_s(spans.end_s[:-1]))[same].all()


def assert_carried(starts_s: Floats, ends_s: Floats, amounts: Floats, passed: Passed) -> None:
    """Assert that what lies within any window between two events is at most what the capacity lets through.

    For each beginning of a window what lies in it is counted up in the order of the ends.
    """
    order = np.argsort(ends_s, kind="stable")
    starts_s, ends_s, amounts = starts_s[order], ends_s[order], amounts[order]
    begins_s = np.unique(starts_s)
    used = np.array(passed(np.maximum(begins_s - slack_s(begins_s), 0.0)), dtype=float)
    upto = np.searchsorted(begins_s, starts_s, side="right")
    limits = passed(ends_s + slack_s(ends_s)) * (1 + 1e-12) + 1e-6
    for last, amount, limit in zip(upto, amounts, limits, strict=True):
        used[:last] += amount
        assert used[:last].max() <= limit


def assert_shared(sent: Spans, passed: Passed | None) -> None:
    """Assert that transfers keep within a capacity; those cut count, what had passed of them does."""
    if len(sent) and passed is not None:
        assert_carried(sent.start_s, sent.start_s + sent.active_energy_j, sent.bytes, passed)
