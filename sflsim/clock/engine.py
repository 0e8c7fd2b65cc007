"""The event loop: SimPy's environment and the one event that ends an activity.

Every verb of the clock (compute, send, serve) returns such an event at once; a protocol yields
it when it has to wait. An activity knows when it will end the moment it starts, so it costs one
entry of the event queue and no process.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from math import ulp
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
    "seldom_collected",
]

LAST = EventPriority(2)  # a priority after simpy's own two: when everything else of an instant has happened
YOUNG = (10_000, 20, 20)  # objects before a look for cycles: Python's 700 cost a third of a run's time


def delay_to(env: Environment, time_s: float) -> float:
    """Return the delay after which it is `time_s`, rounded up: what is to hold from then on does."""
    delay_s = max(time_s - env.now, 0.0)
    return delay_s if env.now + delay_s >= time_s else delay_s + ulp(time_s)


def call_in(
    env: Environment, delay_s: float, act: Callable[[Event], None], priority: EventPriority = NORMAL
) -> None:
    """Call `act` in `delay_s`, in its turn by `priority` among all that happens in that instant."""
    event = Event(env)
    event._ok, event._value = True, None
    event.callbacks.append(act)
    env.schedule(event, priority, delay_s)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let Python look for cycles of objects less often: events come and go by the million, in no cycles."""
    before = gc.get_threshold()
    if 0 < before[0] < YOUNG[0]:
        gc.set_threshold(*YOUNG)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Activity(Event):
    """An event that fires `delay_s` from now and records its span, which ends by then.

    The span is recorded before any process waiting for the event goes on.
    """

    __slots__ = ("span",)
    _ok = True
    _value = None

    def __init__(self, env: Environment, recorder: Recorder, delay_s: float, span: Span) -> None:
        self.env = env
        self.callbacks = [recorder.ended]
        self.span = span
        env.schedule(self, NORMAL, delay_s)

    @property
    def load(self) -> tuple[float, float, float]:
        """From when to when it draws how much above idling: s, s, W."""
        span = self.span
        seconds = span.end_s - span.start_s
        return span.start_s, span.end_s, span.active_energy_j / seconds if seconds > 0 else 0.0

    def done(self, now_s: float) -> tuple[float, float, float]:
        """Return the bytes, FLOPs and energy of one that is cut now: in proportion to the time."""
        span = self.span
        share = (now_s - span.start_s) / (span.end_s - span.start_s)
        return span.bytes * share, span.flop * share, span.active_energy_j * share

    def abandon(self, outcome: str) -> None:
        """Cut it now: what is done so far is recorded with `outcome`, and the event fires for nobody.

        One that is over stays as it is.
        """
        if not self.callbacks:
            return
        record, self.callbacks = self.callbacks[0], []
        span, now = self.span, self.env.now
        if now > span.start_s:
            done_bytes, flop, energy_j = self.done(now)
            self.span = span._replace(
                end_s=min(now, span.end_s), bytes=done_bytes, flop=flop,
                active_energy_j=energy_j, outcome=outcome,
            )  # fmt: skip
            record(self)
