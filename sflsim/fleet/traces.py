"""Rates over time from a file (`kind: trace`): a bandwidth or a computing rate as it was measured.

The file has a column of times and one or more of values; a column `device` divides its rows into
several traces. It is read when the scenario is read, so that a gap, or time that runs backwards, is
a mistake with a place.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

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
from sflsim.fleet.profiles import Floats, Profile
from sflsim.fleet.trace_times import TIME, Point, Reader, check_times, reader_of
from sflsim.mistakes import mistake_at
from sflsim.registry import name_of
from sflsim.streams import generator

DEVICE = "device"
SHORTEST_STEP_S = 1e-3
"""Of a trace that repeats, on average."""


class TraceBase(BaseModel):
    """Profiles that were read from a `file`: the base of all kinds of trace.

    A kind says in `needed` what it reads, declares `file` among its keys and fills `_traces`, by the label of
    each. A device takes the one under its own name, else one that is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    needed: ClassVar[str] = files.ALLOWED
    if TYPE_CHECKING:  # each kind declares it where it stands among its keys
        file: str
    _traces: dict[str, Profile] = PrivateAttr()

    @field_validator("file", mode="after", check_fields=False)
    @classmethod
    def _found(cls, file: str, info: ValidationInfo) -> str:
        return files.absolute_path(file, info, cls.needed)

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


class TraceConfig(TraceBase):
    """A rate over time from the `file` (CSV, TSV or JSON lines), constant between its rows.

    With a column `device` the file holds several traces: a device takes the one under its own name,
    else one that is drawn. A rate of zero is an interruption.
    """

    unit: ClassVar[str] = "byte/s"

    kind: Literal["trace"] = "trace"
    file: str
    column: str | None = Field(default=None, description="of the values; needed if there are several")
    values_in: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="unit of bare numbers, e.g. 'Mbit/s'"
    )
    time_column: str | None = Field(
        default=None,
        description="of the times, which then count from the first row; default: time_s, from the start",
    )
    times_in: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="their unit (default s), or the form of dates, e.g. '%Y-%m-%d %H:%M:%S'"
    )
    same_time: Literal["mean"] | None = Field(
        default=None, description="several rows of one time count as their mean; default: they are refused"
    )
    repeat: bool | Period = Field(
        default=False,
        description="repeat at the end (one more step after the last row), or every e.g. '24 h'",
    )
    scale: Annotated[float, FACTOR] = Field(default=1.0, description="factor on all values")

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
        seconds = reader_of(self.time_column, self.times_in)
        traces = _points(files.table(self.file), self.column, self.time_column, seconds)
        self._traces = {label: self._trace(points) for label, points in traces.items()}

    def _trace(self, points: list[Point]) -> Profile:
        """Check one trace of the file and return it."""
        read = measured([cell for _, cell in points], self.values_in)
        if read.unit != self.unit:
            allowed = f"values such as '{EXAMPLES[self.unit]}', or 'values_in' with their unit"
            raise mistake_at("file", "is in another unit of measure", str(points[0][1]), allowed)
        times_s, values = self._at_times(points, read.values * self.scale)
        if not (values > 0).any() or (values[-1] == 0 and self.repeat is False):
            found = f"0 {points[-1][1].place}, for ever"
            allowed = "a last value above zero, or 'repeat'"
            raise mistake_at("file", "ends with zero", found, allowed)
        return Profile(times_s, values, self._period_s(times_s, points[-1][1]))

    def _at_times(self, points: list[Point], values: Floats) -> tuple[Floats, Floats]:
        """Return the times, which increase, and the value that holds from each."""
        remedy = "where the clock ticks in whole seconds: 'same_time: mean'"
        check_times(points, self.same_time is not None, remedy)
        times_s, firsts, counts = np.unique(
            [time_s for time_s, _ in points], return_index=True, return_counts=True
        )
        return times_s, np.add.reduceat(values, firsts) / counts

    def _period_s(self, times_s: Floats, last: Cell) -> float | None:
        last_s = float(times_s[-1])
        if self.repeat is False:
            return None
        if self.repeat is True:
            if len(times_s) < 2:
                found, allowed = "true, with one row", "a period such as '24 h', or a trace of several rows"
                raise mistake_at("repeat", "has no period", found, allowed)
            period_s = last_s + (last_s - float(times_s[-2]))
        elif self.repeat <= last_s:
            allowed = f"a period longer than the last time, {last_s:g} s"
            raise mistake_at("repeat", "is too short", repr(PERIOD.write(self.repeat)), allowed)
        else:
            period_s = self.repeat
        step_s = period_s / len(times_s)
        if step_s < SHORTEST_STEP_S:  # no run gets through its changes
            found = f"steps of {PERIOD.shown(step_s)} on average up to the one {last.place}"
            remedy = "each step of a rate is an event: average the rows"
            raise mistake_at(
                "file", "repeats too often", found, f"{PERIOD.shown(SHORTEST_STEP_S)} or more", remedy
            )
        return period_s


def _points(
    table: Table, column: str | None, time_column: str | None, seconds: Reader
) -> dict[str, list[Point]]:
    """Return the points of each trace by its label ("" without a column `device`)."""
    names = table.names
    time_at = names.index(_time_column(names, time_column))
    value_at = names.index(_column(names, column, names[time_at]))
    label_at = names.index(DEVICE) if DEVICE in names else None
    points: dict[str, list[Point]] = {}
    for row in table.filled():
        label = "" if label_at is None else _filled(row[label_at], DEVICE).text
        points.setdefault(label, []).append((seconds(row[time_at]), _filled(row[value_at], names[value_at])))
    if time_column is None:
        return points
    return {
        label: [(time_s - trace[0][0], cell) for time_s, cell in trace] for label, trace in points.items()
    }


def _time_column(names: list[str], time_column: str | None) -> str:
    if time_column in names or (time_column is None and TIME in names):
        return time_column or TIME
    if time_column is not None:
        allowed, remedy = ", ".join(map(repr, names)), did_you_mean(time_column, names)
        raise mistake_at("time_column", "is no column of the file", repr(time_column), allowed, remedy)
    allowed = f"a header with {TIME!r} and a column of values, or 'time_column' with the name of another"
    near = get_close_matches(TIME, names, n=1)
    remedy = f"write 'time_column: {near[0]}', or rename it to {TIME!r}" if near else ""
    raise mistake_at("file", "has no column time_s", ", ".join(map(repr, names)), allowed, remedy)


def _column(header: list[str], column: str | None, time_column: str) -> str:
    names = [name for name in header if name not in (time_column, DEVICE)]
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
        remedy = "leave the row out, if the value before holds until the next"
        raise mistake_at("file", "has a gap", found, "a value in every row", remedy)
    return cell


class Traceable(Drawable):
    """Annotation of a rate: a quantity, a distribution that is drawn from, or a trace over time."""

    traces: ClassVar[tuple[type[TraceBase], ...]] = (TraceConfig,)

    def kinds(self) -> Mapping[str, type[BaseModel]]:
        """Return the Configs that the field may hold, by kind."""
        return {**super().kinds(), **{name_of(trace): trace for trace in self.traces}}
