"""The agenda: events at given times, such as the stop, deadlines and drop-outs.

They come last in their instant. An instant lasts as long as `slack_s` says, so a round that ends 4e-16 s
after a stop ends in time.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import NamedTuple

from sflsim.clock.engine import LAST, Environment, Event, call_in, delay_to
from sflsim.fleet.instants import slack_s

ROUND, STOP = range(2)
"""Priorities within one instant, first to last."""


class _Entry(NamedTuple):
    """A planned event; `number` orders entries of equal times, `last_s` is the end of the instant."""

    time_s: float
    number: int
    last_s: float
    priority: int
    event: Event


class Agenda:
    """Planned events of one run; one event of the loop waits for the next of them."""

    __slots__ = ("_due_s", "_entries", "_env", "_numbers", "_wakeup")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._entries: list[_Entry] = []
        self._numbers = count()
        self._due_s = inf  # when the valid wake-up fires
        self._wakeup = 0  # its number; earlier ones are void

    def at(self, time_s: float, priority: int = ROUND, since_s: float = 0.0) -> Event:
        """Return an event that fires after all else at `time_s`; `since_s` is the start of the count."""
        event = self._env.event()
        last_s = time_s + slack_s(time_s, since_s)
        heappush(self._entries, _Entry(time_s, next(self._numbers), last_s, priority, event))
        if time_s < self._due_s:
            self._wake_at(time_s)
        return event

    def _wake_at(self, time_s: float) -> None:
        """Schedule a wake-up in place of the previous one."""
        self._due_s, self._wakeup = time_s, self._wakeup + 1
        wakeup = self._wakeup
        call_in(self._env, delay_to(self._env, time_s), lambda event: self._fire_due(wakeup), LAST)

    def _fire_due(self, wakeup: int) -> None:
        """Fire what is due, one priority at a time; wait while anything else comes in this instant."""
        if wakeup != self._wakeup:
            return
        last_s = self._entries[0].last_s
        now, next_s = self._env.now, self._env.peek()
        if next_s <= last_s:
            self._wake_at(next_s)
            return
        due = []
        while self._entries and self._entries[0].time_s <= last_s:
            due.append(heappop(self._entries))
        if now < due[-1].time_s:
            self._put_back(due)
            self._wake_at(due[-1].time_s)
            return
        first = min(entry.priority for entry in due)
        self._put_back([entry for entry in due if entry.priority != first])
        for entry in due:
            if entry.priority == first:
                entry.event.succeed()
        self._due_s = inf
        if self._entries:
            self._wake_at(max(self._entries[0].time_s, now))

    def _put_back(self, entries: list[_Entry]) -> None:
        for entry in entries:
            heappush(self._entries, entry)
