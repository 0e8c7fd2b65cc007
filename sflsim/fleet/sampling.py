"""Who of a fleet is there: the timelines of its devices, and draws among those available.

A timeline is made when a device is first asked for. A draw asks devices in the order of their
priorities until it has enough, so it costs about as many timelines as participants, divided by the
share that is available; a group whose envelope is closed is not asked at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf

import numpy as np
import numpy.typing as npt

from sflsim.fleet.availability.config import AlwaysAvailable
from sflsim.fleet.availability.events import presence
from sflsim.fleet.availability.on_off import ALWAYS, Both, Scripted, Timeline
from sflsim.fleet.groups import FleetConfig
from sflsim.fleet.population import NEVER, Fleet

KEPT = 1 << 17  # timelines kept once made; all can be made again, equal to the last draw
LOOK_AHEAD = 1 << 16  # devices asked in one draw, or that many per participant wanted, where more are there
PER_PLACE = 64


class Presence:
    """The availability of every device of a fleet, and who has left it for good in this run."""

    __slots__ = ("_configs", "_envelopes", "_fleet", "_gone", "_gone_of_group", "_moves", "_timelines")

    def __init__(self, config: FleetConfig, fleet: Fleet) -> None:
        self._fleet = fleet
        self._configs = [group.availability or config.availability for group in config.groups]
        self._moves = [presence(group.events) for group in fleet.groups]
        envelopes = [one.envelope() for one in self._configs]
        self._envelopes = [
            envelope if moves is None else Both(envelope, moves)
            for envelope, moves in zip(envelopes, self._moves, strict=True)
        ]
        self._timelines: dict[int, Timeline] = {}
        self._gone: dict[int, Timeline] = {}
        self._gone_of_group: Counter[int] = Counter()

    @property
    def always(self) -> bool:
        """Whether everybody is there all the time."""
        kinds = all(isinstance(one, AlwaysAvailable) for one in self._configs)
        lasting = all(group.config.device.battery is None for group in self._fleet.groups)
        return kinds and lasting and not any(self._moves)

    @property
    def gone(self) -> int:
        """Number of devices that have left for good."""
        return len(self._gone)

    def leave_for_good(self, index: int, now_s: float) -> Timeline:
        """Let a device never be there again; return its timeline."""
        self._gone[index] = Both(self.timeline(index), Scripted(True, [now_s]))
        self._gone_of_group[self._fleet.named(index)[0]] += 1
        return self._gone[index]

    def timeline(self, index: int) -> Timeline:
        """Return when the device with this index is there."""
        timeline = self._gone.get(index) or self._timelines.get(index)
        if timeline is None:
            timeline = self._made(index)
            if len(self._timelines) >= KEPT:
                del self._timelines[next(iter(self._timelines))]
            self._timelines[index] = timeline
        return timeline

    def _made(self, index: int) -> Timeline:
        place, name = self._fleet.named(index)
        own, moves = self._configs[place].timeline(self._fleet.seed, name), self._moves[place]
        if moves is None:
            return own
        return moves if own is ALWAYS else Both(own, moves)

    def draw(
        self, round: int, k: int, now_s: float, among: Sequence[int] | None = None
    ) -> tuple[list[int], float]:
        """Return up to `k` devices that are there now, sorted; and, where none is, when to ask again.

        Drawn by the same priorities as `Fleet.select`: the lowest of those available take part, so
        who is away changes nobody else's priority. inf: none will ever be there again.
        """
        chosen: list[int] = []
        again_s = inf
        for index in self._in_order(round, k, now_s, among):
            timeline = self.timeline(index)
            if timeline.available_at(now_s):
                chosen.append(index)
                if len(chosen) >= k:
                    break
            else:
                again_s = min(again_s, timeline.until(now_s))
        return sorted(chosen), again_s if chosen else min(again_s, self._opens_s(now_s))

    def _opens_s(self, now_s: float) -> float:
        """Return when the first device of the groups that are away altogether is there; inf if none ever is.

        A group's envelope may open for times at which none of its devices is there, so a group of up
        to `LOOK_AHEAD` devices is asked device by device.
        """
        first_s = inf
        for place, envelope in enumerate(self._envelopes):
            if not self._has_members(place) or envelope.available_at(now_s):
                continue
            opens_s, group = envelope.until(now_s), self._fleet.groups[place]
            if opens_s < first_s and group.count <= LOOK_AHEAD:
                members = range(group.first, group.first + group.count)
                opens_s = min(self.timeline(index).until(now_s) for index in members)
            first_s = min(first_s, opens_s)
        return first_s

    def _has_members(self, place: int) -> bool:
        """Tell whether anybody of a group may yet be there."""
        left = self._fleet.groups[place].count - self._gone_of_group[place]
        return left > 0 and place not in self._fleet.excluded

    def _in_order(self, round: int, k: int, now_s: float, among: Sequence[int] | None) -> Iterator[int]:
        """Return the devices of groups that are open now, by priority, at most so many as are asked."""
        priorities = self._fleet.priorities(round)
        for group, envelope in zip(self._fleet.groups, self._envelopes, strict=True):
            if not envelope.available_at(now_s):
                priorities[group.first : group.first + group.count] = NEVER
        if self._gone:
            priorities[list(self._gone)] = NEVER
        candidates = None if among is None else np.asarray(among, dtype=np.int64)
        own = priorities if candidates is None else priorities[candidates]
        for place in _ascending(own, 2 * k + PER_PLACE, max(LOOK_AHEAD, PER_PLACE * k)):
            yield place if candidates is None else int(candidates[place])


def _ascending(priorities: npt.NDArray[np.float64], first: int, most: int) -> Iterator[int]:
    """Return the places of up to `most` numbers below `NEVER`, smallest first; sorted piece by piece."""
    done, size = 0, first
    most = min(most, int(np.count_nonzero(priorities < NEVER)))
    while done < most:
        size = min(size, most)
        low = np.argpartition(priorities, size - 1)[:size] if size < len(priorities) else np.arange(size)
        ordered = low[np.argsort(priorities[low], kind="stable")]
        yield from ordered[done:size].tolist()
        done, size = size, 4 * size


def presence_of(config: FleetConfig, fleet: Fleet) -> Presence | None:
    """Return who of a fleet is there; None where everybody always is."""
    presence = Presence(config, fleet)
    return None if presence.always else presence
