"""The event loop: SimPy's environment and the one event that ends an activity.

Every verb of the clock (compute, send, serve) returns such an event at once; a protocol yields
it when it has to wait. An activity knows when it will end the moment it starts, so it costs one
entry of the event queue and no process. Imports clock.spans only.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from math import ulp
from typing import Any

from simpy import Environment, Event, Interrupt, Process
from simpy.events import NORMAL, URGENT, AllOf, AnyOf, Condition, Timeout

from sflsim.clock.spans import Recorder, Span

Protocol = Generator[Event, Any, Any]

__all__ = [
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
    "delay_to",
    "seldom_collected",
]

YOUNG = (10_000, 20, 20)  # objects before a look for cycles: Python's 700 cost a third of a run's time


def delay_to(env: Environment, time_s: float) -> float:
    """Return the delay after which it is `time_s`, rounded up: what is to hold from then on does."""
    delay_s = max(time_s - env.now, 0.0)
    return delay_s if env.now + delay_s >= time_s else delay_s + ulp(time_s)


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
    """An event that fires `delay_s` from now and records its span, which ends exactly then.

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

    def abandon(self, outcome: str) -> None:
        """Cut it now: what is done so far is recorded with `outcome`, and the event fires for nobody.

        Bytes, FLOPs and energy count in proportion to the time. One that is over stays as it is.
        """
        if not self.callbacks:
            return
        record, self.callbacks = self.callbacks[0], []
        actor, activity, start_s, end_s, round, client, bytes_, flop, energy_j, _ = self.span
        now = self.env.now
        if now <= start_s:
            return
        share = (now - start_s) / (end_s - start_s)
        self.span = (
            actor, activity, start_s, now, round, client, bytes_ * share, flop * share, energy_j * share,
            outcome,
        )  # fmt: skip
        record(self)
