"""Availability from the state traces of FLASH (`kind: flash`): what phones in use were doing.

The file is FLASH's state_traces.json (PKU-Chengxu/FLASH): an object by device whose `messages` are lines
of a date, a tab and a state, e.g. "2020-01-29 22:10:03<tab>battery_charged_on". A state holds until a later
message changes it, and none holds before the first. By FLASH's rule (models/timer.py) a device is available
while it charges, is locked and on Wi-Fi; its trace starts again after its last message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from sflsim.fields import Fraction
from sflsim.fleet import files
from sflsim.fleet.availability.presence import PresenceTrace
from sflsim.fleet.profiles import Profile
from sflsim.mistakes import mistake, mistake_at
from sflsim.readers.table import TableMistake

State = Literal["charging", "locked", "screen-off", "idle", "wifi", "online"]
NETWORKS = ("2g", "3g", "4g", "5g", "wifi", "unknown")
SWITCHES = {
    "battery_charged_on": ("charging", 1.0),
    "battery_charged_off": ("charging", 0.0),
    "screen_lock": ("locked", 1.0),
    "screen_unlock": ("locked", 0.0),
    "screen_off": ("screen-off", 1.0),
    "screen_on": ("screen-off", 0.0),
}
"""By message, the state that it switches on or off."""
LEVEL = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)%", re.ASCII)
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
EPOCH = datetime(2000, 1, 1)
KEPT = 4
_READ: dict[tuple[str, tuple[State, ...], float | None, str | None], dict[str, Profile]] = {}
"""The last traces read, by the file's content and the rule: a what-if, or a point of a plan, reads the same
file again, which takes seconds where it is large."""
DATES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
MESSAGES = (*SWITCHES, "wifi", "2G to 5G", "Unknown", "a level such as 83.0%")


def read_date(value: Any) -> Any:
    """Return a date and time as text in its first form; YAML makes dates of some texts."""
    text = str(value) if isinstance(value, date) else value
    for form in DATES if isinstance(text, str) else ():
        try:
            return datetime.strptime(text, form).strftime(DATES[0])
        except ValueError:
            continue
    raise mistake("is no date", repr(value), "a date and time such as '2020-01-29 20:00:00'")


def _some(states: tuple[State, ...]) -> tuple[State, ...]:
    if not states:
        raise mistake("is empty", "no state", "at least one state, e.g. [charging, wifi]")
    return states


class FlashAvailable(PresenceTrace):
    """Devices that are available as the phones of FLASH's state_traces.json were, each as one of them.

    A device takes the trace under its own name, else one that is drawn; it repeats after its last message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)
    needed: ClassVar[str] = "a JSON file in the form of FLASH's state_traces.json"
    kind: Literal["flash"] = "flash"
    file: str = Field(description="FLASH's state_traces.json, relative to the scenario")
    when: Annotated[tuple[State, ...], AfterValidator(_some)] = Field(
        default=("charging", "locked", "wifi"),
        description="states that must all hold; idle: locked or with the screen off; online: on any network",
    )
    battery: Fraction | None = Field(default=None, description="least level of the battery, e.g. '30%'")
    starts: Annotated[str, BeforeValidator(read_date, json_schema_input_type=str)] | None = Field(
        default=None,
        description="date and time at which the run begins; default: that of the first message of all",
    )

    def model_post_init(self, context: Any, /) -> None:
        """Read the file.

        Raises:
            ValidationError: it is no such file, or no device is ever available in it.
        """
        key = (files.digest(self.file, "a JSON file"), self.when, self.battery, self.starts)
        if key not in _READ:
            if len(_READ) == KEPT:
                del _READ[next(iter(_READ))]
            _READ[key] = self._read()
        self._traces = _READ[key]
        rule = " and ".join(self.when) + (f" at {100 * self.battery:g}% or more" if self.battery else "")
        allowed = "a device for which 'when' holds at some time"
        self.refuse_nobody(f"no device that is ever {rule}", allowed)

    def _read(self) -> dict[str, Profile]:
        """Return when each device is available."""
        devices = self._messages(files.json_object(self.file))
        times_s = [messages[0][0] for messages in devices.values() if messages]
        starts_s = _seconds(self.starts) if self.starts else min(times_s, default=0.0)
        return {name: self._trace(messages, starts_s) for name, messages in devices.items()}

    def _messages(self, devices: dict[str, Any]) -> dict[str, list[tuple[float, str]]]:
        """Return the messages of each device: time in s and state in small letters."""
        read, wrong = {}, []
        for name, device in devices.items():
            try:
                read[name] = _read(device, f"device {name!r} in {Path(self.file).name}")
            except TableMistake as error:
                wrong.append(error)
        if wrong:
            first, others = wrong[0], len(wrong) - 1
            found = first.found + (f"; others with a mistake: {others}" if others else "")
            raise mistake_at("file", first.reason, found, first.allowed, "correct the device or take it out")
        if not read:
            raise mistake_at("file", "has no device", "an empty object", "an object by device")
        return read

    def _trace(self, messages: list[tuple[float, str]], starts_s: float) -> Profile:
        """Return when one device is available, from `starts_s` on; never, if its trace lasts no time."""
        begun_s, length_s = (messages[0][0], messages[-1][0] - messages[0][0]) if messages else (0.0, 0.0)
        if not length_s:
            return Profile([0.0], [0.0])
        states: dict[str, float] = {}
        least = self.battery or 0.0
        there: dict[float, float] = {}
        for time_s, message in messages:
            states |= _told(message) or {}
            states["idle"] = states.get("locked") or states.get("screen-off") or 0.0
            holds = all(map(states.get, self.when)) and states.get("battery", 0.0) >= least
            there[time_s - begun_s] = float(holds)  # of several messages at a time the last counts
        there.pop(length_s)  # the trace begins anew
        return _begun_at((starts_s - begun_s) % length_s, there, length_s)


def _begun_at(phase_s: float, values: dict[float, float], length_s: float) -> Profile:
    """Return the profile of `values` by time, which repeats after `length_s`, as seen from `phase_s` on."""
    whole = Profile(list(values), list(values.values()), length_s)
    turned = {0.0: whole.value_at(phase_s)} | {
        (time_s - phase_s) % length_s: value for time_s, value in values.items()
    }
    times_s = np.array(sorted(turned))
    states = np.array([turned[time_s] for time_s in times_s.tolist()])
    changes = np.append(True, states[1:] != states[:-1])
    one = changes.sum() == 1
    return Profile(times_s[changes], states[changes], None if one else length_s)


def _read(device: Any, where: str) -> list[tuple[float, str]]:
    """Return the messages of one device.

    Raises:
        TableMistake: one of them is none.
    """
    text = device.get("messages") if isinstance(device, dict) else None
    if not isinstance(text, str):
        raise TableMistake("has no messages", f"no text 'messages' of {where}", "messages, one in each line")
    messages: list[tuple[float, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        time, _, state = line.strip().partition("\t")
        message = state.strip().lower()
        try:
            time_s = _seconds(time.strip())
        except ValueError as error:
            allowed = "a date such as 2020-01-29 22:10:03, a tab, a state"
            raise TableMistake("has no date", _found(line, number, where), allowed) from error
        if _told(message) is None:
            raise TableMistake("has an unknown state", _found(line, number, where), ", ".join(MESSAGES))
        if messages and time_s < messages[-1][0]:
            found, allowed = _found(line, number, where), "messages in the order of their times"
            raise TableMistake("has time running backwards", found, allowed)
        messages.append((time_s, message))
    return messages


def _found(line: str, number: int, where: str) -> str:
    return f"{line[:60]!r} in message {number} of {where}"


@lru_cache(maxsize=4096)  # there are few, and each is told very often
def _told(message: str) -> Mapping[str, float] | None:
    """Return the states that a message sets; None if it is none."""
    level = LEVEL.fullmatch(message)
    if level and float(level[1]) <= 100:
        return {"battery": float(level[1]) / 100}
    if message in NETWORKS:
        return {"wifi": float(message == "wifi"), "online": float(message != "unknown")}
    return dict([SWITCHES[message]]) if message in SWITCHES else None


def _seconds(text: str) -> float:
    """Return a date as seconds since a day in the past, without time zones.

    Raises:
        ValueError: it is none of that form.
    """
    if not DATE.fullmatch(text):
        raise ValueError(text)
    return (datetime.fromisoformat(text) - EPOCH).total_seconds()  # strptime takes far longer
