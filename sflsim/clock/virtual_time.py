"""Virtual time: the bytes that each of several flows of equal rate has attained.

All flows of one rate share one virtual time, so a change of the rate is one change for all of them. A
flow ends when the virtual time reaches its deadline: the virtual time at its start plus its size. Source:
Parekh and Gallager, "A generalized processor sharing approach to flow control in integrated services
networks", IEEE/ACM Transactions on Networking 1 (1993).

Times are arguments; the module knows no events.
"""

from __future__ import annotations

from math import inf
from typing import Any

from sflsim.clock.indexed_heap import IndexedHeap


class VirtualTime:
    """Advances at its own rate, or at a constant distance from a leader that it follows.

    `deadlines` holds the flows, and the virtual times that follow this one, by their next deadline.
    """

    __slots__ = ("_offset_bytes", "_rate_bytes_per_s", "_since_s", "deadlines", "leader")

    def __init__(self, now_s: float) -> None:
        self.leader: VirtualTime | None = None
        self._offset_bytes = 0.0
        self._rate_bytes_per_s = 0.0
        self._since_s = now_s
        self.deadlines: IndexedHeap[Any] = IndexedHeap()

    def attained_bytes(self, now_s: float) -> float:
        """Return the virtual time at `now_s`."""
        if self.leader is not None:
            return self.leader.attained_bytes(now_s) + self._offset_bytes
        return self._offset_bytes + self._rate_bytes_per_s * (now_s - self._since_s)

    @property
    def rate_bytes_per_s(self) -> float:
        """The present rate."""
        return self._rate_bytes_per_s if self.leader is None else self.leader.rate_bytes_per_s

    def set_rate(self, rate_bytes_per_s: float, now_s: float) -> None:
        """Advance at its own rate from now on."""
        if self.leader is None and rate_bytes_per_s == self._rate_bytes_per_s:
            return
        self._offset_bytes = self.attained_bytes(now_s)
        self._unfollow()
        self._since_s = now_s
        self._rate_bytes_per_s = rate_bytes_per_s

    def follow(self, leader: VirtualTime, now_s: float) -> None:
        """Advance with `leader` from now on."""
        if self.leader is not leader:
            attained_bytes = self.attained_bytes(now_s)
            self._unfollow()
            self._offset_bytes = attained_bytes - leader.attained_bytes(now_s)
            self.leader = leader

    def reset(self, now_s: float) -> None:
        """Stop at zero: no flow is left, and rounding errors end here."""
        self._unfollow()
        self._offset_bytes = self._rate_bytes_per_s = 0.0
        self._since_s = now_s

    def next_deadline_s(self) -> float:
        """Return when the first deadline is reached, without a leader; inf if never."""
        first_bytes = self.deadlines.first_key
        if first_bytes == inf or self._rate_bytes_per_s <= 0:
            return inf
        return self._since_s + max(first_bytes - self._offset_bytes, 0.0) / self._rate_bytes_per_s

    def update_leader(self) -> VirtualTime | None:
        """Enter the first deadline at the leader; return the leader if its own first deadline changed."""
        leader = self.leader
        assert leader is not None
        before_bytes, first_bytes = leader.deadlines.first_key, self.deadlines.first_key
        if first_bytes < inf:
            leader.deadlines.set(self, first_bytes - self._offset_bytes)
        else:
            leader.deadlines.remove(self)
        return None if leader.deadlines.first_key == before_bytes else leader

    def _unfollow(self) -> None:
        if self.leader is not None:
            self.leader.deadlines.remove(self)
            self.leader = None
