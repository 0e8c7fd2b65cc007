"""Rates over time from a file (`kind: trace`): a bandwidth or a computing rate as it was measured.

The file has a column `time_s` and one or more of values; a column `device` divides its rows into
several traces. It is read when the scenario is read, so that a gap, or time that runs backwards, is
a mistake with a place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from sflsim.errors import did_you_mean
from sflsim.fields import FACTOR, PERIOD, Period
from sflsim.fleet import files
from sflsim.fleet.distributions.amounts import EXAMPLES
from sflsim.fleet.distributions.base import Drawable
from sflsim.fleet.distributions.empirical import measured
from sflsim.fleet.files import Cell, Table
from sflsim.fleet.profiles import Profile
from sflsim.mistakes import mistake_at
from sflsim.streams import generator

TIME, DEVICE = "time_s", "device"
SHORTEST_STEP_S = 1e-3
"""Of a trace that repeats, on average."""
Point = tuple[float, Cell]
"""Time in s and the value's cell."""


class TraceConfig(BaseModel):
    """A rate over time from the `file` (CSV, TSV or JSON lines), constant between its rows.

    With a column `device` the file holds several traces: a device takes the one under its own name,
    else one that is drawn. A rate of zero is an interruption.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    unit: ClassVar[str] = "byte/s"

    kind: Literal["trace"] = "trace"
    file: str
    column: str | None = Field(default=None, description="of the values; needed if there are several")
    values_in: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="unit of bare numbers, e.g. 'Mbit/s'"
    )
    repeat: bool | Period = Field(
        default=False,
        description="repeat at the end (one more step after the last row), or every e.g. '24 h'",
    )
    scale: Annotated[float, FACTOR] = Field(default=1.0, description="factor on all values")
    _traces: dict[str, Profile] = PrivateAttr()

    @field_validator("file", mode="after")
    @classmethod
    def _found(cls, file: str, info: ValidationInfo) -> str:
        return files.absolute_path(file, info)

    @field_serializer("repeat")
    def _as_read(self, repeat: bool | float) -> bool | str | float:
        return repeat if isinstance(repeat, bool) else PERIOD.write(repeat)

    @field_validator("repeat", mode="plain", json_schema_input_type=bool | Period)
    @classmethod
    def _one_of_both(cls, value: Any) -> bool | float:
        """Read true, false or a period; pydantic would report both attempts."""
        return value if isinstance(value, bool) else PERIOD.read(value)

    def model_post_init(self, context: Any, /) -> None:
        """Read the file.

        Raises:
            ValidationError: the file is no trace, or in another unit.
        """
        traces = _points(files.table(self.file), self.column)
        self._traces = {label: self._trace(points) for label, points in traces.items()}

    def profile(self, seed: int, owner_name: str) -> Profile:
        """Return the trace of one device: the one under its name, or one drawn under the scenario seed."""
        names = list(self._traces)
        if owner_name in self._traces or len(names) == 1:
            return self._traces.get(owner_name, self._traces[names[0]])
        drawn = generator(seed, "trace", self._stem, owner_name).integers(len(names))
        return self._traces[names[int(drawn)]]

    def content(self) -> bytes:
        """Return bytes that differ for files of different content."""
        parts = [(trace.times_s.tobytes(), trace.values.tobytes()) for trace in self._traces.values()]
        return repr((list(self._traces), parts)).encode()

    @property
    def _stem(self) -> str:
        """The file's name without its folder, so that draws do not depend on the folder."""
        return self.file.replace("\\", "/").rpartition("/")[2]

    def _trace(self, points: list[Point]) -> Profile:
        """Check one trace of the file and return it."""
        read = measured([cell for _, cell in points], self.values_in)
        if read.unit != self.unit:
            allowed = f"values such as '{EXAMPLES[self.unit]}', or 'values_in' with their unit"
            raise mistake_at("file", "is in another unit of measure", str(points[0][1]), allowed)
        check_times(points)
        values = read.values * self.scale
        if not (values > 0).any() or (values[-1] == 0 and self.repeat is False):
            found = f"0 {points[-1][1].place}, for ever"
            allowed = "a last value above zero, or 'repeat'"
            raise mistake_at("file", "ends with zero", found, allowed)
        times_s = np.array([time_s for time_s, _ in points])
        return Profile(times_s, values, self._period_s(points))

    def _period_s(self, points: list[Point]) -> float | None:
        last_s = points[-1][0]
        if self.repeat is False:
            return None
        if self.repeat is True:
            if len(points) < 2:
                found, allowed = "true, with one row", "a period such as '24 h', or a trace of several rows"
                raise mistake_at("repeat", "has no period", found, allowed)
            return self._of_steps(last_s + (last_s - points[-2][0]), points)
        if self.repeat <= last_s:
            allowed = f"a period longer than the last time_s, {last_s:g} s"
            raise mistake_at("repeat", "is too short", repr(PERIOD.write(self.repeat)), allowed)
        return self._of_steps(self.repeat, points)

    def _of_steps(self, period_s: float, points: list[Point]) -> float:
        """Refuse a period whose steps are so short that no run gets through its changes."""
        step_s = period_s / len(points)
        if step_s < SHORTEST_STEP_S:
            found = f"steps of {PERIOD.shown(step_s)} on average up to the one {points[-1][1].place}"
            remedy = "each step of a rate is an event: average the rows"
            raise mistake_at(
                "file", "repeats too often", found, f"{PERIOD.shown(SHORTEST_STEP_S)} or more", remedy
            )
        return period_s


def _points(table: Table, column: str | None) -> dict[str, list[Point]]:
    """Return the points of each trace by its label ("" without a column `device`)."""
    names = table.names
    if TIME not in names:
        allowed = f"a header with {TIME!r} and a column of values"
        near = get_close_matches(TIME, names, n=1)
        remedy = f"rename {near[0]!r} to {TIME!r}" if near else ""
        raise mistake_at("file", "has no column time_s", ", ".join(map(repr, names)), allowed, remedy)
    time_at, value_at = names.index(TIME), names.index(_column(names, column))
    label_at = names.index(DEVICE) if DEVICE in names else None
    points: dict[str, list[Point]] = {}
    for row in table.filled():
        label = "" if label_at is None else _filled(row[label_at], DEVICE).text
        points.setdefault(label, []).append((_time_s(row[time_at]), _filled(row[value_at], names[value_at])))
    return points


def _column(header: list[str], column: str | None) -> str:
    names = [name for name in header if name not in (TIME, DEVICE)]
    if column is None and len(names) == 1:
        return names[0]
    if column is None:
        raise mistake_at(
            "column", "is missing", "nothing", f"the column to use, one of {', '.join(names) or 'none'}"
        )
    if column not in names:
        allowed = ", ".join(map(repr, names))  # quoted, so that a blank is seen
        raise mistake_at(
            "column", "is no column of the file", repr(column), allowed, did_you_mean(column, names)
        )
    return column


def _filled(cell: Cell, column: str) -> Cell:
    if not cell.text:
        found = f"an empty cell of {column!r} {cell.place}"
        raise mistake_at("file", "has a gap", found, "a value in every row")
    return cell


def _time_s(cell: Cell) -> float:
    if not (0 <= cell.number < math.inf):
        allowed = "seconds from the start of the run, zero or more, as bare numbers"
        raise mistake_at("file", "has a time that is none", str(cell), allowed)
    return cell.number


def check_times(points: list[Point]) -> None:
    """Refuse a trace that does not start at 0 or whose times do not increase."""
    first_s, cell = points[0]
    if first_s != 0:
        allowed = "a first row of time_s 0: what holds from the start"
        raise mistake_at("file", "begins with a gap", f"time_s {first_s:g} {cell.place}", allowed)
    for (before_s, _), (time_s, cell) in pairwise(points):
        found = f"time_s {time_s:g} after {before_s:g} {cell.place}"
        if time_s == before_s:
            raise mistake_at("file", "has a time twice", found, "times that increase from row to row")
        if time_s < before_s:
            raise mistake_at(
                "file", "has time running backwards", found, "times that increase from row to row"
            )


class Traceable(Drawable):
    """Annotation of a rate: a quantity, a distribution that is drawn from, or a trace over time."""

    trace: ClassVar[type[TraceConfig]] = TraceConfig

    def kinds(self) -> Mapping[str, type[BaseModel]]:
        """Return the Configs that the field may hold, by kind."""
        return {**super().kinds(), "trace": self.trace}
