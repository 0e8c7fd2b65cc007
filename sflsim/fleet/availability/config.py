"""Availability: when the devices of a group can be sampled, and when they disconnect.

Each device has its own timeline, made from streams keyed by its name. A group also has an
envelope: the times at which any of its devices can be available.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from sflsim.component_fields import OneOf
from sflsim.fields import PERIOD, Period
from sflsim.fleet.availability.flash import FlashAvailable
from sflsim.fleet.availability.on_off import ALWAYS, DAY_S, Daily, OnOffProcess, Timeline
from sflsim.fleet.availability.presence import PresenceTrace
from sflsim.fleet.distributions.empirical import measured
from sflsim.fleet.profiles import Profile
from sflsim.fleet.trace_times import Point, check_times
from sflsim.fleet.traces import TraceConfig
from sflsim.mistakes import mistake, mistake_at, mistakes
from sflsim.streams import Stream, generator

CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})", re.ASCII)


def read_time_of_day(value: Any) -> float:
    """Return a time of day in s."""
    match = CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise mistake("is no time of day", value, "a time of day from '00:00' to '23:59'")
    return 3600.0 * int(match[1]) + 60.0 * int(match[2])


def write_time_of_day(time_s: float) -> str:
    """Return a time of day as a scenario writes it."""
    hours, minutes = divmod(round(time_s / 60), 60)
    return f"{hours:02}:{minutes:02}"


TimeOfDay = Annotated[
    float,
    BeforeValidator(read_time_of_day, json_schema_input_type=str),
    PlainSerializer(write_time_of_day, return_type=str),
]


class AlwaysAvailable(BaseModel):
    """Devices that are available at all times."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: Literal["always"] = "always"

    def timeline(self, seed: int, device_name: str) -> Timeline:
        """Return the timeline of one device under the scenario seed."""
        return ALWAYS

    def envelope(self) -> Timeline:
        """Return when any device can be available."""
        return ALWAYS


class MarkovAvailable(BaseModel):
    """Devices with exponential times of being available and of being unavailable.

    Each starts in its stationary state: available with probability on / (on + off).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: Literal["markov"] = "markov"
    on: Period = Field(description="mean time that a device is available")
    off: Period = Field(description="mean time that it is unavailable")

    def timeline(self, seed: int, device_name: str) -> Timeline:
        """Return the timeline of one device under the scenario seed."""
        share = self.on / (self.on + self.off)
        first = bool(generator(seed, "availability-start", device_name).random() < share)
        draws = Stream(lambda rng, n: rng.standard_exponential(n), seed, "availability", device_name)

        def length_s(number: int) -> float:
            return draws[number] * (self.on if first == (number % 2 == 0) else self.off)

        return OnOffProcess(first, length_s)

    def envelope(self) -> Timeline:
        """Return when any device can be available."""
        return ALWAYS


class DailyAvailable(BaseModel):
    """Devices that are available every day from one time to another, e.g. phones that charge at night.

    The run begins at `starts`. `jitter` shifts both times of each device every day, by independent
    uniform draws between -jitter and +jitter.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )
    kind: Literal["daily"] = "daily"
    begin: TimeOfDay = Field(alias="from", description="time of day, e.g. '22:00'")
    end: TimeOfDay = Field(alias="to", description="time of day, e.g. '06:00'")
    starts: TimeOfDay = Field(
        default="00:00", validate_default=True, description="time of day at which the run begins"
    )
    jitter: Period | None = Field(default=None, description="how far each day's times move at most")

    @model_validator(mode="after")
    def _days_stay_apart(self) -> Self:
        if self.begin == self.end:
            error = mistake("is no time at all", write_time_of_day(self.end), "another time than 'from'")
            raise mistakes([(("to",), error)])
        window_s = (self.end - self.begin) % DAY_S
        most_s = min(window_s, DAY_S - window_s) / 2
        if self.jitter is not None and self.jitter >= most_s:
            allowed = f"less than half of the window and of the gap, {PERIOD.write(most_s)}"
            raise mistake_at("jitter", "is too long", PERIOD.write(self.jitter), allowed)
        return self

    def timeline(self, seed: int, device_name: str) -> Timeline:
        """Return the timeline of one device under the scenario seed."""
        if self.jitter is None:
            return Daily(self.begin, self.end, self.starts, lambda day: (0.0, 0.0))
        draws = Stream(lambda rng, n: rng.uniform(-1, 1, n), seed, "availability", device_name)

        def jitter_s(day: int) -> tuple[float, float]:
            first = 2 * (day + 2)  # a window that began before the run is one of the days -2 and -1
            return draws[first] * (self.jitter or 0.0), draws[first + 1] * (self.jitter or 0.0)

        return Daily(self.begin, self.end, self.starts, jitter_s)

    def envelope(self) -> Timeline:
        """Return when any device can be available: the window, longer by the jitter at both ends."""
        longest_s = self.jitter or 0.0
        return Daily(self.begin, self.end, self.starts, lambda day: (-longest_s, longest_s))


class TraceAvailable(TraceConfig, PresenceTrace):
    """Devices whose availability is in a file: columns `time_s` and one of 1 (available) and 0.

    With a column `device` the file holds several traces: a device takes the one under its own
    name, else one that is drawn.
    """

    unit: ClassVar[str] = ""

    def model_post_init(self, context: Any, /) -> None:
        """Read the file.

        Raises:
            ValidationError: it is no trace, or no device is ever available in it.
        """
        super().model_post_init(context)
        self.refuse_nobody("0 in every row", "a 1 in some row: a time at which a device is there")

    @model_validator(mode="after")
    def _no_rates(self) -> Self:
        given = [key for key in ("values_in", "same_time", "scale") if key in self.model_fields_set]
        if given and (self.values_in is not None or self.same_time is not None or self.scale != 1.0):
            raise mistake_at(given[0], "has no place here", "given", "a trace of 0 and 1 without it")
        return self

    def _trace(self, points: list[Point]) -> Profile:
        read = measured([cell for _, cell in points], None)
        for (_, cell), value in zip(points, read.values, strict=True):
            if read.unit or value not in (0, 1):
                raise mistake_at("file", "holds something else", str(cell), "1 (there) and 0 (away)")
        check_times(points)
        times_s = np.array([time_s for time_s, _ in points])
        return Profile(times_s, read.values, self._period_s(times_s, points[-1][1]))


AvailabilityConfig = AlwaysAvailable | MarkovAvailable | DailyAvailable | TraceAvailable | FlashAvailable


def kinds() -> dict[str, type[BaseModel]]:
    """Return the Configs of availability by kind."""
    return {
        "always": AlwaysAvailable,
        "markov": MarkovAvailable,
        "daily": DailyAvailable,
        "trace": TraceAvailable,
        "flash": FlashAvailable,
    }


Availability = Annotated[AvailabilityConfig, OneOf(kinds)]
