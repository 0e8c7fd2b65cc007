"""The load of a server link: the sum of the rates of the channels that send through it.

While it does not exceed the capacity, max-min fairness gives every message its own rate. A channel counts
once, with its whole rate. Those that have sent all their messages are taken off only where the sum would
exceed the capacity, so to count costs almost nothing.

Rates are counted in whole units of 2**-60 byte/s: their sums are exact in any order, so a link that is
exactly full is not exceeded.
"""

from __future__ import annotations

from itertools import repeat
from math import gcd, inf
from typing import Any, Protocol

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
        self._passes: list[Any] = []  # start and end in s, units; then those of the next message, and so on

    def admit(self, sender: Sender, now_s: float) -> bool:
        """Count a channel that is to send, unless the sum would exceed the capacity."""
        if sender in self._senders:
            return True
        while self._units + sender.units > self._capacity:
            if self._senders.first_key > now_s:
                return False
            self._check_first(now_s)
        self._units += sender.units
        self._senders.set(sender, now_s)
        return True

    def drop(self, sender: Sender) -> None:
        """Count a channel no longer."""
        if sender in self._senders:
            self._senders.remove(sender)
            self._units -= sender.units

    def _check_first(self, now_s: float) -> None:
        """Drop the first channel, unless it still sends: then put it back by the time at which it is done."""
        sender = self._senders.first
        if sender.sent_s > now_s:
            self._senders.set(sender, sender.sent_s)
        else:
            self.drop(sender)

    def note(self, start_s: float, end_s: float, units: int) -> None:
        """Note that so much passes from `start_s` to `end_s`; negative units take it back."""
        if self._name:
            self._passes += (start_s, end_s, units)

    def throughput(self) -> list[LinkThroughput]:
        """Return what has been noted: the sum of the rates, from each of its changes on."""
        if not self._passes:
            return []
        starts_s, ends_s, units = (self._passes[first::3] for first in range(3))
        times_s, step = np.array(starts_s + ends_s), gcd(*set(units))
        small = self._capacity < step * 2**53  # then no sum needs more than a number of 64 bits
        changes = np.array([each // step for each in units], dtype=np.int64 if small else object)
        order = np.argsort(times_s, kind="stable")
        times_s, sums = times_s[order], np.cumsum(np.concatenate([changes, -changes])[order])
        last = np.append(times_s[1:] != times_s[:-1], True)  # of each instant
        times_s, sums = times_s[last], sums[last]
        changed = np.append(sums[0] != 0, sums[1:] != sums[:-1])
        rates = sums[changed] * (step / UNITS) if small else sums[changed] * step / UNITS
        return list(map(LinkThroughput, repeat(self._name), times_s[changed].tolist(), rates.tolist()))
