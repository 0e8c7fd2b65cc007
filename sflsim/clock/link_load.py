"""The load of a server link: the sum of the rates of the channels that send through it.

While it does not exceed the capacity, max-min fairness gives every message its own rate. A channel counts
once, with its whole rate. Those that have sent all their messages are taken off only where the sum would
exceed the capacity, so to count costs almost nothing.

Rates are counted in whole units of 2**-60 byte/s: their sums are exact in any order, so a link that is
exactly full is not exceeded.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

import numpy as np

from sflsim.clock.flows import ServerLink
from sflsim.clock.indexed_heap import IndexedHeap
from sflsim.clock.max_min_fair import OVERLOAD
from sflsim.rows import LinkThroughput

UNITS = 2**60
"""Units of 1 byte/s."""


class Sender(Protocol):
    """A channel: its rate in units, and when it has sent all its messages, in s."""

    units: int
    sent_s: float


class LinkLoad:
    """The channels that send through one server link; what passes a link with a `name` is kept."""

    __slots__ = ("_capacity", "_name", "_passes", "_senders", "_units", "link")

    def __init__(self, link: ServerLink, name: str) -> None:
        self.link = link
        self._name = name
        capacity = link.allocator.capacity
        self._capacity = int(capacity * OVERLOAD * UNITS) if capacity < inf else inf
        self._units = 0
        self._senders: IndexedHeap[Sender] = IndexedHeap()  # by a time in s before which each is not done
        self._passes: list[tuple[float, float, int]] = []  # start and end in s, units

    def admit(self, sender: Sender, now_s: float) -> bool:
        """Count a channel that is to send, unless the sum would exceed the capacity."""
        if sender in self._senders:
            return True
        if self._units + sender.units > self._capacity:
            self._drop_idle(now_s)
            if self._units + sender.units > self._capacity:
                return False
        self._units += sender.units
        self._senders.set(sender, now_s)
        return True

    def drop(self, sender: Sender) -> None:
        """Count a channel no longer."""
        if sender in self._senders:
            self._senders.remove(sender)
            self._units -= sender.units

    def _drop_idle(self, now_s: float) -> None:
        while self._senders.first_key <= now_s:
            sender = self._senders.first
            if sender.sent_s > now_s:
                self._senders.set(sender, sender.sent_s)
            else:
                self.drop(sender)

    def note(self, start_s: float, end_s: float, units: int) -> None:
        """Note that so much passes from `start_s` to `end_s`; negative units take it back."""
        if self._name:
            self._passes.append((start_s, end_s, units))

    def throughput(self) -> list[LinkThroughput]:
        """Return what has been noted: the sum of the rates, from each of its changes on."""
        if not self._passes:
            return []
        starts_s, ends_s, units = zip(*self._passes, strict=True)
        times_s, changes = np.array(starts_s + ends_s), np.array(units, dtype=object)
        order = np.argsort(times_s, kind="stable")
        times_s, sums = times_s[order], np.cumsum(np.concatenate([changes, -changes])[order])
        last = np.append(times_s[1:] != times_s[:-1], True)  # of each instant
        times_s, sums = times_s[last], sums[last]
        changed = np.append(sums[0] != 0, sums[1:] != sums[:-1])
        rows = zip(times_s[changed].tolist(), sums[changed].tolist(), strict=True)
        return [LinkThroughput(self._name, time_s, sum / UNITS) for time_s, sum in rows]
