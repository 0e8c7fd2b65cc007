"""How a scenario declares its fleet: size, participants per round, and groups of like devices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sflsim import fields
from sflsim.component_fields import OneOf
from sflsim.errors import did_you_mean
from sflsim.fields import IN_MEMORY, AtMost
from sflsim.fleet.availability.config import AlwaysAvailable, Availability
from sflsim.fleet.availability.events import EventConfig, changes, mistakes_in, of_group
from sflsim.fleet.devices import ComputeTrace, DeviceConfig, SpeedTrace
from sflsim.fleet.links.access_points import AccessPointConfig
from sflsim.fleet.links.any_link import AnyLink
from sflsim.fleet.links.links import LinkConfig
from sflsim.fleet.rates import RatesConfig
from sflsim.fleet.stragglers import Straggler
from sflsim.mistakes import Place, mistake, mistakes, wrong_value
from sflsim.registry import selections

Mistake = tuple[Place, PydanticCustomError]
DeviceCount = Annotated[int, Field(strict=True, ge=1), AtMost(10**8, "each device has a draw in every round")]
OnAbsence = Literal["lose", "pause"]
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class GroupConfig(BaseModel):
    """Devices of one kind on one kind of link: a `share` of the fleet or a `count` of devices.

    A straggler, an availability or an `on_absence` given here replaces the fleet's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: GroupName | None = Field(
        default=None,
        description="letters, digits, '.', '_' and '-', a letter or digit first; default: the device's "
        "catalog name",
    )
    share: fields.Fraction | None = None
    count: DeviceCount | None = None
    device: DeviceConfig
    link: AnyLink = Field(default_factory=lambda: LinkConfig.named("wifi"))
    straggler: Straggler | None = None
    availability: Availability | None = Field(
        default=None, description="when its devices are there: always, markov, daily, trace or flash"
    )
    on_absence: OnAbsence | None = Field(
        default=None, description="what becomes of its devices' work when they leave: lose or pause"
    )
    access_point: GroupName | None = Field(
        default=None, description="one of the fleet's access_points, whose capacity its clients share"
    )
    clients_per_access_point: DeviceCount | None = Field(
        default=None, description="the group gets as many access points as needed; default: one for all"
    )


class FleetConfig(BaseModel):
    """`clients` devices in groups, of which `participants` (default: all) take part in a round.

    Shares must sum to 100% and are rounded by largest remainder; counts must sum to `clients`.
    A single group may leave both out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clients: DeviceCount
    participants: DeviceCount | None = None
    groups: tuple[GroupConfig, ...] = Field(json_schema_extra={"minItems": 1})
    selection: Annotated[Any, OneOf(selections)] = Field(
        default="uniform",
        validate_default=True,
        description="which of the available clients take part: a policy's kind and its settings",
    )
    straggler: Straggler | None = None
    availability: Availability = Field(
        default=AlwaysAvailable(), description="of the groups that do not give their own"
    )
    on_absence: OnAbsence = Field(
        default="lose",
        description="a device that leaves during its work loses it, or goes on where it was when it is back",
    )
    events: tuple[EventConfig, ...] = Field(
        default=(), description="changes at given times: a group leaves or joins, or its rates change"
    )
    access_points: dict[GroupName, AccessPointConfig] = Field(
        default={}, description="capacities that groups of clients share, by name"
    )
    on_oom: Literal["refuse", "exclude", "ignore"] = Field(
        default="refuse",
        description="groups whose memory is too small for a variant: refuse to run, leave them out, or run",
    )

    @property
    def participants_per_round(self) -> int:
        """How many devices take part in a round."""
        return self.clients if self.participants is None else self.participants

    def group_names(self) -> list[str]:
        """Return every group's name; -2, -3, ... is appended to a default that is taken."""
        taken = {group.name for group in self.groups if group.name}
        names = []
        for group in self.groups:
            default = group.device.catalog_name or "device"
            name, number = group.name or default, 1
            while group.name is None and name in taken:
                number += 1
                name = f"{default}-{number}"
            taken.add(name)
            names.append(name)
        return names

    def group_counts(self) -> list[int]:
        """Return how many devices each group has; they sum to `clients`."""
        counts = [group.count for group in self.groups if group.count is not None]
        if counts:
            return counts
        exact = [self.clients * (group.share or 1.0) for group in self.groups]
        rounded = [int(number + 1e-9) for number in exact]
        left = self.clients - sum(rounded)
        by_remainder = sorted(range(len(exact)), key=lambda index: round(rounded[index] - exact[index], 9))
        for index in by_remainder[:left]:
            rounded[index] += 1
        return rounded

    def too_small(self, needed_bytes: float) -> list[int]:
        """Return the indices of the groups whose devices have less memory than `needed_bytes`."""
        sizes = [group.device.memory for group in self.groups]
        return [index for index, size in enumerate(sizes) if size is not None and size < needed_bytes]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        wrong = [
            *self._participants_wrong(),
            *self._sizes_wrong(),
            *self._names_wrong(),
            *self._access_points_wrong(),
            *self._events_wrong(),
        ]
        if wrong:
            raise mistakes(wrong)
        return self

    def _participants_wrong(self) -> Iterator[Mistake]:
        if self.participants is not None and self.participants > self.clients:
            allowed = f"at most as many as there are clients, {self.clients}"
            yield ("participants",), wrong_value(f"{self.participants} participants", allowed)
        elif (count := self.participants_per_round) > IN_MEMORY.most:
            key = "clients" if self.participants is None else "participants"
            reason = f"is more than {IN_MEMORY.most} that take part in a round: {IN_MEMORY.why}"
            remedy = "sample fewer, e.g. 'participants: 1000'"
            yield (key,), mistake(reason, count, f"at most {IN_MEMORY.most} participants", remedy)

    def _sizes_wrong(self) -> Iterator[Mistake]:
        if not self.groups:
            yield ("groups",), mistake("is empty", "no group", "at least one group of devices")
            return
        given = [(group.share is not None, group.count is not None) for group in self.groups]
        if given == [(False, False)]:
            return
        both = [index for index, pair in enumerate(given) if pair == (True, True)]
        neither = [index for index, pair in enumerate(given) if pair == (False, False)]
        allowed = "'share' in every group or 'count' in every group"
        for index in both:
            yield ("groups", index, "count"), mistake("is given twice", "both share and count", allowed)
        for index in neither:
            yield ("groups", index, "share"), mistake("is missing", "neither share nor count", allowed)
        if both or neither:
            return
        if len(set(given)) > 1:
            yield ("groups",), mistake("mix shares and counts", "some shares and some counts", allowed)
        elif self.groups[0].share is not None:
            yield from self._shares_wrong(sum(group.share or 0.0 for group in self.groups))
        else:
            yield from self._counts_wrong(sum(group.count or 0 for group in self.groups))

    def _shares_wrong(self, total: float) -> Iterator[Mistake]:
        if abs(total - 1) > 1e-6:
            found = f"shares that sum to {100 * total:.6g}%"
            yield ("groups",), wrong_value(found, "shares that sum to 100%")
            return
        for index, (group, count) in enumerate(zip(self.groups, self.group_counts(), strict=True)):
            if not count and group.share:
                found = f"{100 * group.share:g}% of {self.clients} clients: a group without devices"
                least = math.ceil(1 / group.share - 1e-9)
                remedy = f"leave the group out, enlarge its share, or have {least} clients or more"
                error = mistake("rounds to no device", found, "a share of one device or more", remedy)
                yield ("groups", index, "share"), error

    def _counts_wrong(self, total: int) -> Iterator[Mistake]:
        if total != self.clients:
            found, allowed = f"counts that sum to {total}", f"counts that sum to clients, {self.clients}"
            yield ("groups",), wrong_value(found, allowed)

    def _names_wrong(self) -> Iterator[Mistake]:
        seen: set[str] = set()
        for index, group in enumerate(self.groups):
            if group.name in seen:
                yield ("groups", index, "name"), mistake("is taken", repr(group.name), "a name of its own")
            seen.add(group.name or "")
            seen.discard("")

    def _access_points_wrong(self) -> Iterator[Mistake]:
        named = {group.access_point for group in self.groups} - {None}
        for name in self.access_points:
            if name not in named and named <= set(self.access_points):  # otherwise a name may be misspelt
                allowed, remedy = "access points that a group names", f"add 'access_point: {name}' to a group"
                yield ("access_points", name), mistake("is used by nobody", repr(name), allowed, remedy)
        allowed = ", ".join(self.access_points) or "none, as the fleet has no 'access_points'"
        for index, group in enumerate(self.groups):
            if group.access_point is not None and group.access_point not in self.access_points:
                remedy = did_you_mean(group.access_point, self.access_points)
                error = mistake("is no access point of the fleet", repr(group.access_point), allowed, remedy)
                yield ("groups", index, "access_point"), error
            if group.access_point is None and group.clients_per_access_point is not None:
                error = mistake(
                    "has no access point", str(group.clients_per_access_point), "beside 'access_point'"
                )
                yield ("groups", index, "clients_per_access_point"), error

    def _events_wrong(self) -> Iterator[Mistake]:
        if not self.events:
            return
        unchangeable = {}
        for name, group in zip(self.group_names(), self.groups, strict=True):
            for key in ("up", "down"):
                why = _unchangeable(getattr(group.link, key, 0.0))
                if why:
                    unchangeable[name, key] = why
            unchangeable |= _fixed_computing(name, group.device, of_group(self.events, name))
        yield from mistakes_in(self.events, self.group_names(), unchangeable)


def _fixed_computing(
    name: str, device: DeviceConfig, events: Sequence[EventConfig]
) -> dict[tuple[str, str], str]:
    """Return why events cannot set computing rates of a group: by kind, or two rates over time."""
    if isinstance(device.compute, RatesConfig):
        return {(name, "compute"): "rates by kind (set device.speed, a factor on all of them)"}
    if isinstance(device.compute, ComputeTrace):
        return {(name, "speed"): "a computing rate that is a trace (set device.compute)"}
    if isinstance(device.speed, SpeedTrace):
        return {(name, "compute"): "a speed that is a trace (set device.speed)"}
    if changes(events, "compute") and changes(events, "speed"):
        return {(name, "speed"): "a computing rate that device.compute sets, too,"}
    return {}


def _unchangeable(rate: object) -> str:
    """Return why an event cannot set a rate; empty if it can."""
    if rate == math.inf:
        return "a rate that is unlimited"
    return "a rate that is drawn per message" if getattr(rate, "redraw", "") == "message" else ""
