"""What is planned for given times: the stop, evaluations, deadlines, devices that leave.

Each comes last in its instant, which lasts as long as `slack_s` says: a round that ends 4e-16 s after a stop
ends in time.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf

from sflsim.clock.engine import LAST, Environment, Event, call_in, delay_to
from sflsim.fleet.instants import slack_s

ROUND, EVALUATION, STOP = range(3)
"""What comes first of what is planned for one instant."""

Entry = tuple[float, int, float, int, Event]
"""Time, a number that tells entries apart, the end of its instant, its turn, what fires."""


class Agenda:
    """Planned events of one run; one event of the loop waits for the next of them."""

    __slots__ = ("_due_s", "_entries", "_env", "_look_number", "_numbers")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._entries: list[Entry] = []
        self._numbers = count()
        self._due_s = inf  # when it will look
        self._look_number = 0

    def at(self, time_s: float, turn: int = ROUND, since_s: float = 0.0) -> Event:
        """Return the event of `time_s`, counted from `since_s`: it fires when all else of its instant has."""
        event = self._env.event()
        last_s = time_s + slack_s(time_s, since_s)
        heappush(self._entries, (time_s, next(self._numbers), last_s, turn, event))
        if time_s < self._due_s:
            self._wait(time_s)
        return event

    def _wait(self, until_s: float) -> None:
        """Look at `until_s`, and not when was said before."""
        self._due_s, self._look_number = until_s, self._look_number + 1
        number = self._look_number
        call_in(self._env, delay_to(self._env, until_s), lambda event: self._look(number), LAST)

    def _look(self, number: int) -> None:
        """Fire what is due, of one turn at a time; wait while anything else is to come in this instant."""
        if number != self._look_number:
            return
        last_s = self._entries[0][2]
        now, next_s = self._env.now, self._env.peek()
        if next_s <= last_s:
            self._wait(next_s)
            return
        due = []
        while self._entries and self._entries[0][0] <= last_s:
            due.append(heappop(self._entries))
        if now < due[-1][0]:
            self._put_back(due)
            self._wait(due[-1][0])
            return
        turn = min(entry[3] for entry in due)
        self._put_back([entry for entry in due if entry[3] != turn])
        for *_, one, event in due:
            if one == turn:
                event.succeed()
        self._due_s = inf
        if self._entries:
            self._wait(max(self._entries[0][0], now))

    def _put_back(self, entries: list[Entry]) -> None:
        for entry in entries:
            heappush(self._entries, entry)
