"""The event loop: SimPy's environment and the one event that ends an activity.

Every verb of the clock (compute, send, serve) returns such an event at once; a protocol yields
it when it has to wait. An activity knows when it will end the moment it starts, so it costs one
entry of the event queue and no process. Imports clock.spans only.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simpy import Environment, Event, Interrupt, Process
from simpy.events import NORMAL, AllOf, AnyOf, Condition, Timeout

from sflsim.clock.spans import Recorder, Span

Protocol = Generator[Event, Any, Any]

__all__ = [
    "NORMAL",
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
]


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
