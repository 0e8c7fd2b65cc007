"""The fleet: groups of devices, and which devices take part in a round.

Devices are made on demand, so a fleet of a million costs what its participants cost. Every
draw is keyed by the device's name or, for taking part, by group and round: removing a device
changes nobody else's draws.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from sflsim.fleet.availability.events import EventConfig, changed_link, of_group
from sflsim.fleet.devices import Device, Power, computing, power
from sflsim.fleet.groups import FleetConfig, GroupConfig
from sflsim.fleet.links.access_points import AccessPoint, AccessPointConfig
from sflsim.fleet.links.links import build_link
from sflsim.fleet.selection.policy import Candidates, Indices
from sflsim.fleet.stragglers import StragglerConfig, slowdowns
from sflsim.streams import generator

__all__ = ["Fleet", "FleetConfig", "Group", "GroupConfig", "build_fleet"]

EXCLUDED = 2.0  # a priority above all that are drawn
DEVICE_CACHE_SIZE = 1 << 16  # a device that is made again equals the one dropped


class Group:
    """The devices of one group: `first` is the fleet index of its device 0."""

    __slots__ = ("access_point", "config", "count", "events", "first", "name", "power", "straggler")

    def __init__(
        self,
        name: str,
        config: GroupConfig,
        first: int,
        count: int,
        straggler: StragglerConfig | None,
        access_points: Mapping[str, AccessPointConfig],
        events: Sequence[EventConfig] = (),
    ) -> None:
        self.name = name
        self.events = of_group(events, name)
        self.config = config
        self.first = first
        self.count = count
        self.straggler = config.straggler or straggler
        self.power: Power = power(config.device.power)
        self.access_point = access_points[config.access_point] if config.access_point else None


class Fleet:
    """All devices of a scenario under one seed; index 0 to len - 1, group after group.

    Groups with an index in `excluded` take no part; this changes no other device's draws.
    """

    __slots__ = ("_devices", "_firsts", "_points", "_size", "excluded", "groups", "seed")

    def __init__(self, groups: Sequence[Group], seed: int, excluded: Collection[int] = ()) -> None:
        self.groups = tuple(groups)
        self.seed = seed
        self.excluded = frozenset(excluded)
        self._firsts = [group.first for group in groups]
        self._size = sum(group.count for group in groups)
        self._devices: dict[int, Device] = {}
        self._points: dict[str, AccessPoint] = {}

    def __len__(self) -> int:
        return self._size

    @property
    def eligible(self) -> int:
        """Number of devices that may take part."""
        return sum(group.count for number, group in enumerate(self.groups) if number not in self.excluded)

    def device(self, index: int) -> Device:
        """Return the device with this index.

        Raises:
            IndexError: there is none.
        """
        device = self._devices.get(index)
        if device is None:
            device = self._make(index)
            if len(self._devices) >= DEVICE_CACHE_SIZE:
                del self._devices[next(iter(self._devices))]
            self._devices[index] = device
        return device

    def named(self, index: int) -> tuple[int, str]:
        """Return the index of a device's group and the device's name, without making the device.

        Raises:
            IndexError: there is no such device.
        """
        if not 0 <= index < self._size:
            raise IndexError(f"no device {index} in a fleet of {self._size}")
        number = bisect_right(self._firsts, index) - 1
        group = self.groups[number]
        return number, f"{group.name}-{index - group.first}"

    def _make(self, index: int) -> Device:
        number, name = self.named(index)
        group = self.groups[number]
        config = group.config
        found = computing(config.device, group.events, self.seed, name)
        return Device(
            index=index,
            name=name,
            group=group.name,
            rate=found.rate,
            forward_rate=found.forward_rate,
            memory_bytes=config.device.memory,
            power=group.power,
            link=changed_link(build_link(config.link, self.seed, name), group.events),
            slowdown=slowdowns(group.straggler, self.seed, name, group.name),
            access_point=self._access_point(group, index - group.first),
            compute_profile=found.profile,
            nominal=found.nominal,
            battery_j=config.device.battery,
        )

    def _access_point(self, group: Group, number: int) -> AccessPoint | None:
        """Return the access point of device `number` of a group; made once."""
        config, each = group.access_point, group.config.clients_per_access_point
        if config is None:
            return None
        name = str(group.config.access_point)
        if each is not None:
            name = f"{name}-{group.name}-{number // each}"
        if name not in self._points:
            self._points[name] = config.build(self.seed, name)
        return self._points[name]

    def select(self, round: int, k: int, available: Sequence[int] | Indices | None = None) -> list[int]:
        """Return `k` devices, sorted, drawn uniformly without replacement for this round.

        With `available` (distinct indices) only among those; all of them where there are no more
        than `k`. Every device has a priority per round and the k smallest take part, so who is
        available changes nobody's priority.
        """
        indices: list[int] = np.sort(self.candidates(round, k, available).indices).tolist()
        return indices

    def candidates(
        self, round: int, n: int | None = None, available: Sequence[int] | Indices | None = None
    ) -> Candidates:
        """Return the `n` devices (default: all) with the smallest priorities of this round, these first.

        With `available` (distinct indices) only among those.
        """
        priorities = self.priorities(round)
        among = None if available is None else np.asarray(available, dtype=np.int64)
        if among is not None:
            priorities = priorities[among]
        n = len(priorities) if n is None else n
        if self.excluded:
            n = min(n, int(np.count_nonzero(priorities < EXCLUDED)))
        chosen = _smallest(priorities, n)
        chosen = chosen[np.argsort(priorities[chosen], kind="stable")]
        return Candidates(chosen if among is None else among[chosen], priorities[chosen])

    def priorities(self, round: int) -> npt.NDArray[np.float64]:
        """Return a uniform number for every device, shape (len,); `EXCLUDED` for those excluded."""
        priorities = np.full(self._size, EXCLUDED)
        for number, group in enumerate(self.groups):
            if number not in self.excluded:
                of_group = priorities[group.first : group.first + group.count]
                generator(self.seed, "participation", group.name, round).random(out=of_group)
        return priorities


def _smallest(priorities: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.int64]:
    """Return the positions of the `k` smallest of uniform numbers, unordered."""
    if k <= 0 or k >= len(priorities):
        return np.arange(max(k, 0) and len(priorities))
    bound = (k + 8 * k**0.5 + 8) / len(priorities)  # below it lie more than k, but for 1 in 10^12 calls
    low = np.flatnonzero(priorities < bound)
    if len(low) < k:
        return np.argpartition(priorities, k - 1)[:k]
    return low[np.argpartition(priorities[low], k - 1)[:k]] if len(low) > k else low


def build_fleet(config: FleetConfig, seed: int, excluded: Collection[int] = ()) -> Fleet:
    """Return the fleet that `config` describes under the scenario seed `seed`, without some groups."""
    counts = config.group_counts()
    firsts = [0, *accumulate(counts)]
    members = zip(config.group_names(), config.groups, firsts, counts, strict=False)
    shared = (config.straggler, config.access_points, config.events)
    groups = [Group(*member, *shared) for member in members]
    return Fleet(groups, seed, excluded)
