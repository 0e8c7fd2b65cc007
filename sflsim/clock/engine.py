"""The event loop: SimPy's environment, and the event that ends an activity.

Every verb of the clock (compute, send, serve) returns such an event at once; a protocol yields it to wait.
The end of an activity is known at its start, so it takes one entry of the event queue and no process.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from heapq import heapify
from math import ulp
from threading import Lock
from traceback import walk_tb
from typing import Any

from simpy import Environment, Event, Interrupt, Process
from simpy.events import NORMAL, URGENT, AllOf, AnyOf, Condition, EventPriority, Timeout

from sflsim.clock.spans import Recorder
from sflsim.rows import Span

Protocol = Generator[Event, Any, Any]

__all__ = [
    "LAST",
    "NORMAL",
    "URGENT",
    "Activity",
    "AllOf",
    "AnyOf",
    "Condition",
    "Environment",
    "Event",
    "Interrupt",
    "Process",
    "Protocol",
    "Timeout",
    "call_in",
    "delay_to",
    "own_errors",
    "rare_garbage_collection",
    "take_out",
]

LAST = EventPriority(2)  # after SimPy's own two priorities: when all else of an instant has happened
GC_THRESHOLDS = (10_000, 20, 20)
"""Thresholds of the garbage collector during a run; Python's default of 700 took a third of its time."""
_counting = Lock()
_rare, _before = 0, gc.get_threshold()  # runs at the moment, in any thread; what was set before the first


def delay_to(env: Environment, time_s: float) -> float:
    """Return the delay until `time_s`, rounded up: after it the clock is at `time_s` or later."""
    delay_s = max(time_s - env.now, 0.0)
    return delay_s if env.now + delay_s >= time_s else delay_s + ulp(time_s)


def call_in(
    env: Environment, delay_s: float, act: Callable[[Event], None], priority: EventPriority = NORMAL
) -> None:
    """Call `act` after `delay_s`, by `priority` among the events of that instant."""
    event = Event(env)
    event._ok, event._value = True, None
    event.callbacks.append(act)
    env.schedule(event, priority, delay_s)


def take_out(env: Environment, chosen: Callable[[Event], bool]) -> list[Any]:
    """Take the chosen events out of the queue; return them in the order in which they were scheduled."""
    queue = env._queue
    taken = [entry for entry in queue if chosen(entry[3])]
    if taken:
        out = {entry[3] for entry in taken}
        queue[:] = [entry for entry in queue if entry[3] not in out]
        heapify(queue)
    return [entry[3] for entry in sorted(taken, key=lambda entry: entry[2])]


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Collect garbage less often: a run makes millions of events, which form no reference cycles."""
    global _rare, _before
    with _counting:
        if not _rare:
            _before = gc.get_threshold()
            if 0 < _before[0] < GC_THRESHOLDS[0]:
                gc.set_threshold(*GC_THRESHOLDS)
        _rare += 1
    try:
        yield
    finally:
        with _counting:
            _rare -= 1
            if not _rare:
                gc.set_threshold(*_before)


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise what a process raised also where SimPy fails to make it anew from its arguments."""
    try:
        yield
    except TypeError as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        event = frame.f_locals.get("event")
        original = event.value if isinstance(event, Event) and event.triggered else None
        if isinstance(original, BaseException):
            raise original from None
        raise


class Activity(Event):
    """An event that fires `delay_s` from now and records its span, which ends by then.

    The span is recorded before any process that waits for the event goes on.
    """

    __slots__ = ("span",)
    _ok = True
    _value = None

    def __init__(self, env: Environment, recorder: Recorder, delay_s: float, span: Span) -> None:
        self.env = env
        self.callbacks = [recorder.record]
        self.span = span
        env.schedule(self, NORMAL, delay_s)

    @property
    def load(self) -> tuple[float, float, float]:
        """Start and end in s, and the power in W above idling between them."""
        span = self.span
        seconds = span.end_s - span.start_s
        return span.start_s, span.end_s, span.active_energy_j / seconds if seconds > 0 else 0.0

    def completed(self, now_s: float) -> tuple[float, float, float]:
        """Return the bytes, FLOP and J up to now: in proportion to the time."""
        span = self.span
        share = (now_s - span.start_s) / (span.end_s - span.start_s)
        return span.bytes * share, span.flop * share, span.active_energy_j * share

    def part(self, recorder: Recorder, span: Span) -> Activity:
        """Return an activity of the same kind that has `span`, a part of this one's."""
        return Activity(self.env, recorder, max(span.end_s - self.env.now, 0.0), span)

    def cancel(self, outcome: str) -> None:
        """Stop now: what is completed is recorded with `outcome`, and the event notifies no process.

        An activity that has ended stays as it is.
        """
        if not self.callbacks:
            return
        record, self.callbacks = self.callbacks[0], []
        span, now = self.span, self.env.now
        if now > span.start_s:
            completed_bytes, flop, energy_j = self.completed(now)
            self.span = span._replace(
                end_s=min(now, span.end_s), bytes=completed_bytes, flop=flop,
                active_energy_j=energy_j, outcome=outcome,
            )  # fmt: skip
            record(self)
