"""Which devices of a fleet are available when, and draws among those available.

A timeline is made when a device is first queried. A draw queries devices in the order of their
priorities until it has enough, so it costs about as many timelines as participants, divided by the
share that is available. A group whose envelope is closed is not queried at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf

import numpy as np
import numpy.typing as npt

from sflsim.fleet.availability.config import AlwaysAvailable
from sflsim.fleet.availability.events import scheduled
from sflsim.fleet.availability.on_off import ALWAYS, Intersection, ScheduledOnOff, Timeline
from sflsim.fleet.groups import FleetConfig
from sflsim.fleet.population import EXCLUDED, Fleet
from sflsim.fleet.selection.policy import Candidates

TIMELINE_CACHE_SIZE = 1 << 17  # a timeline that is made again equals the one dropped
MAX_QUERIED = 1 << 16  # devices queried in one draw, or `QUERIED_PER_PARTICIPANT` times k if that is more
QUERIED_PER_PARTICIPANT = 64


class FleetAvailability:
    """The availability of every device of a fleet, and which devices have been removed in this run."""

    __slots__ = (
        "_configs", "_envelopes", "_fleet", "_pauses", "_removed", "_removed_per_group", "_schedules",
        "_timelines",
    )  # fmt: skip

    def __init__(self, config: FleetConfig, fleet: Fleet) -> None:
        self._fleet = fleet
        self._configs = [group.availability or config.availability for group in config.groups]
        self._pauses = [(group.on_absence or config.on_absence) == "pause" for group in config.groups]
        self._schedules = [scheduled(group.events) for group in fleet.groups]
        envelopes = [config.envelope() for config in self._configs]
        self._envelopes = [
            envelope if schedule is None else Intersection(envelope, schedule)
            for envelope, schedule in zip(envelopes, self._schedules, strict=True)
        ]
        self._timelines: dict[int, Timeline] = {}
        self._removed: dict[int, Timeline] = {}
        self._removed_per_group: Counter[int] = Counter()

    @property
    def always(self) -> bool:
        """Whether every device is available all the time."""
        kinds = all(isinstance(config, AlwaysAvailable) for config in self._configs)
        without_battery = all(group.config.device.battery is None for group in self._fleet.groups)
        return kinds and without_battery and not any(self._schedules)

    @property
    def removed(self) -> int:
        """Number of devices that have been removed."""
        return len(self._removed)

    def pauses(self, index: int) -> bool:
        """Tell whether a device goes on where it was when it is back; else its work is lost."""
        return self._pauses[self._fleet.named(index)[0]]

    def remove(self, index: int, now_s: float) -> Timeline:
        """Make a device unavailable from now on; return its timeline."""
        self._removed[index] = Intersection(self.timeline(index), ScheduledOnOff(True, [now_s]))
        self._removed_per_group[self._fleet.named(index)[0]] += 1
        return self._removed[index]

    def timeline(self, index: int) -> Timeline:
        """Return when the device with this index is available."""
        timeline = self._removed.get(index) or self._timelines.get(index)
        if timeline is None:
            timeline = self._make(index)
            if len(self._timelines) >= TIMELINE_CACHE_SIZE:
                del self._timelines[next(iter(self._timelines))]
            self._timelines[index] = timeline
        return timeline

    def _make(self, index: int) -> Timeline:
        group, name = self._fleet.named(index)
        timeline, schedule = self._configs[group].timeline(self._fleet.seed, name), self._schedules[group]
        if schedule is None:
            return timeline
        return schedule if timeline is ALWAYS else Intersection(timeline, schedule)

    def draw(
        self, round: int, n: int | None, now_s: float, among: Sequence[int] | None = None
    ) -> tuple[Candidates, float]:
        """Return up to `n` available devices (None: all); where there is none, also when to draw again.

        Drawn by the same priorities as `Fleet.candidates`: those available with the lowest priorities, these
        first, so an unavailable device changes no other device's priority. inf: no device will ever be
        available again.
        """
        chosen: list[int] = []
        draws: list[float] = []
        again_s = inf
        for index, priority in self._by_priority(round, n, now_s, among):
            timeline = self.timeline(index)
            if timeline.available_at(now_s):
                chosen.append(index)
                draws.append(priority)
                if len(chosen) == n:
                    break
            else:
                again_s = min(again_s, timeline.until(now_s))
        candidates = Candidates(np.array(chosen, dtype=np.int64), np.array(draws))
        return candidates, again_s if chosen else min(again_s, self._opens_s(now_s))

    def _opens_s(self, now_s: float) -> float:
        """Return when a device of the groups whose envelope is closed is first available; inf if never.

        A group's envelope may open for times at which none of its devices is available, so the
        devices of a group of up to `MAX_QUERIED` are queried one by one.
        """
        first_s = inf
        for number, envelope in enumerate(self._envelopes):
            if not self._has_members(number) or envelope.available_at(now_s):
                continue
            opens_s, group = envelope.until(now_s), self._fleet.groups[number]
            if opens_s < first_s and group.count <= MAX_QUERIED:
                members = range(group.first, group.first + group.count)
                opens_s = min(self.timeline(index).until(now_s) for index in members)
            first_s = min(first_s, opens_s)
        return first_s

    def _has_members(self, group: int) -> bool:
        """Tell whether a device of a group may be available at some time from now on."""
        remaining = self._fleet.groups[group].count - self._removed_per_group[group]
        return remaining > 0 and group not in self._fleet.excluded

    def _by_priority(
        self, round: int, n: int | None, now_s: float, among: Sequence[int] | None
    ) -> Iterator[tuple[int, float]]:
        """Yield devices of groups whose envelope is open and their priorities, lowest first, up to the limit.

        About `n` of them are queried; None: as many as the limit allows.
        """
        priorities = self._fleet.priorities(round)
        for group, envelope in zip(self._fleet.groups, self._envelopes, strict=True):
            if not envelope.available_at(now_s):
                priorities[group.first : group.first + group.count] = EXCLUDED
        if self._removed:
            priorities[list(self._removed)] = EXCLUDED
        candidates = None if among is None else np.asarray(among, dtype=np.int64)
        if candidates is not None:
            priorities = priorities[candidates]
        limit = max(MAX_QUERIED, QUERIED_PER_PARTICIPANT * (n or 0))
        first = limit if n is None else 2 * n + QUERIED_PER_PARTICIPANT
        for position in _ascending(priorities, first, limit):
            index = position if candidates is None else int(candidates[position])
            yield index, float(priorities[position])


def _ascending(priorities: npt.NDArray[np.float64], first: int, limit: int) -> Iterator[int]:
    """Yield the positions of up to `limit` numbers below `EXCLUDED`, smallest first; sorted in chunks."""
    done, size = 0, first
    limit = min(limit, int(np.count_nonzero(priorities < EXCLUDED)))
    while done < limit:
        size = min(size, limit)
        low = np.argpartition(priorities, size - 1)[:size] if size < len(priorities) else np.arange(size)
        ordered = low[np.argsort(priorities[low], kind="stable")]
        yield from ordered[done:size].tolist()
        done, size = size, 4 * size


def fleet_availability(config: FleetConfig, fleet: Fleet) -> FleetAvailability | None:
    """Return which devices of a fleet are available when; None if all are at all times."""
    availability = FleetAvailability(config, fleet)
    return None if availability.always else availability
