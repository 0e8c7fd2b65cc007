"""Scheduled changes of the fleet: a group leaves or joins, or its rates change, at given times.

They are known before the run, so they become part of timelines and profiles; nothing happens at
run time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sflsim.errors import did_you_mean
from sflsim.fields import FACTOR, Bandwidth, Compute, Seconds
from sflsim.fleet.availability.on_off import ScheduledOnOff
from sflsim.fleet.links.directions import Direction, Rate
from sflsim.fleet.links.links import Link
from sflsim.fleet.profiles import Profile
from sflsim.mistakes import Place, mistake, mistake_at, mistakes
from sflsim.streams import Stream


class NewRates(BaseModel):
    """`set` of an event: the rates that hold from then on, for every device of the group."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )
    up: Bandwidth | None = Field(default=None, alias="link.up")
    down: Bandwidth | None = Field(default=None, alias="link.down")
    compute: Compute | None = Field(
        default=None, alias="device.compute", description="of training and, in proportion, of forward passes"
    )
    speed: Annotated[float, FACTOR] | None = Field(
        default=None, alias="device.speed", description="factor on all computing rates"
    )


class EventConfig(BaseModel):
    """One scheduled change, at a time from the start of the run, of one group or of all."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at: Seconds
    group: str | None = Field(default=None, description="its name; default: every group")
    set: NewRates | None = Field(default=None, description="new rates, e.g. {link.up: 1 Mbit/s}")
    leave: bool = Field(default=False, description="its devices disconnect")
    join: bool = Field(default=False, description="its devices come (back)")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        given = [key for key in ("set", "leave", "join") if getattr(self, key)]
        if self.set is not None and not self.set.model_fields_set:
            error = mistake(
                "changes nothing", "an empty 'set'", "link.up, link.down, device.compute or device.speed"
            )
            raise mistakes([(("set",), error)])
        if not given:
            raise mistakes([((), mistake("changes nothing", "no change", "'set', 'leave' or 'join'"))])
        if self.leave and self.join:
            raise mistake_at("join", "contradicts 'leave'", "both", "one event for each")
        return self


def of_group(events: Sequence[EventConfig], group: str) -> list[EventConfig]:
    """Return the events of one group in the order of their times."""
    return sorted((event for event in events if event.group in (None, group)), key=lambda event: event.at)


def scheduled(events: Sequence[EventConfig]) -> ScheduledOnOff | None:
    """Return when the group of these events is available; None if it never joins or leaves.

    A group whose first event is `join` starts unavailable.
    """
    moves = [event for event in events if event.leave or event.join]
    return ScheduledOnOff(moves[0].leave, [event.at for event in moves]) if moves else None


def changes(events: Sequence[EventConfig], key: str) -> list[tuple[float, float]]:
    """Return the times and values of one rate's changes."""
    given = ((event.at, getattr(event.set, key)) for event in events if event.set is not None)
    return [(at_s, value) for at_s, value in given if value is not None]


def changed(rate: float | Profile, changes: Sequence[tuple[float, float]]) -> float | Profile:
    """Return a rate that takes each value of `changes` from its time on."""
    if not changes:
        return rate
    first_s, before_s = changes[0][0], 0.0
    points: dict[float, float] = {}
    while before_s < first_s:  # the rate up to the first change
        points[before_s] = rate.value_at(before_s) if isinstance(rate, Profile) else rate
        before_s = rate.next_change(before_s) if isinstance(rate, Profile) else inf
    points.update(changes)
    return Profile(list(points), list(points.values()))


def changed_link(link: Link, events: Sequence[EventConfig]) -> Link:
    """Return a link with the rates that events set."""
    if not events:
        return link
    up, down = changes(events, "up"), changes(events, "down")
    if not up and not down:
        return link
    return Link(_changed_direction(link.up, up), _changed_direction(link.down, down))


def changed_rate(rate: float | Profile, events: Sequence[EventConfig], key: str) -> Profile | None:
    """Return a training rate ("compute") or a speed over time; None if it is constant."""
    if events:
        rate = changed(rate, changes(events, key))
    return rate if isinstance(rate, Profile) else None


def _changed_direction(direction: Direction, changes: Sequence[tuple[float, float]]) -> Direction:
    rate: Rate = direction.rate
    if not changes:
        return direction
    assert not isinstance(rate, Stream)
    return replace(direction, rate=changed(rate, changes))


def mistakes_in(
    events: Sequence[EventConfig], groups: Sequence[str], unchangeable: dict[tuple[str, str], str]
) -> Iterator[tuple[Place, PydanticCustomError]]:
    """Return the mistakes in the events of a fleet, each at its place.

    `unchangeable` says why an event cannot set a rate, by group and key of `NewRates`.
    """
    for index, event in enumerate(events):
        if event.group is not None and event.group not in groups:
            remedy = did_you_mean(event.group, groups)
            error = mistake("is no group of the fleet", repr(event.group), ", ".join(groups), remedy)
            yield ("events", index, "group"), error
    for group in groups:
        yield from _moves_wrong(events, group)
        yield from _set_twice(events, group)
        for index, event in enumerate(events):
            if event.set is None or event.group not in (None, group):
                continue
            for key, field in NewRates.model_fields.items():
                why = unchangeable.get((group, key))
                if why is not None and getattr(event.set, key) is not None:
                    error = mistake("cannot be set", f"{why} in {group}", "a rate that is one number before")
                    yield ("events", index, "set", str(field.alias)), error


def _moves_wrong(events: Sequence[EventConfig], group: str) -> Iterator[tuple[Place, PydanticCustomError]]:
    """Refuse leaving twice, joining twice, and two of them at once."""
    moves = [
        (index, event)
        for index, event in enumerate(events)
        if event.group in (None, group) and (event.leave or event.join)
    ]
    moves.sort(key=lambda move: move[1].at)
    for (_, before), (index, after) in pairwise(moves):
        key = "leave" if after.leave else "join"
        if after.leave == before.leave:
            reason = f"is a second '{key}' with nothing between"
            error = mistake(reason, f"{group} twice", "alternating 'leave' and 'join'")
            yield ("events", index, key), error
        elif after.at == before.at:
            error = mistake("is at the same time", f"{group} leaves and joins", "a later time")
            yield ("events", index, "at"), error


def _set_twice(events: Sequence[EventConfig], group: str) -> Iterator[tuple[Place, PydanticCustomError]]:
    """Refuse a rate that is set twice at one time."""
    taken: dict[tuple[float, str], int] = {}
    for index, event in enumerate(events):
        if event.set is None or event.group not in (None, group):
            continue
        for key, field in NewRates.model_fields.items():
            if getattr(event.set, key) is None:
                continue
            first = taken.setdefault((event.at, key), index)
            if first != index:
                found = f"{field.alias} of {group}, as events[{first}]"
                error = mistake("sets it at the same time", found, "one value at a time")
                yield ("events", index, "set", str(field.alias)), error
