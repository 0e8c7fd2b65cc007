"""The event loop: SimPy's environment and the one event that ends an activity.

Every verb of the clock (compute, send, serve) returns such an event at once; a protocol yields
it when it has to wait. An activity knows when it will end the moment it starts, so it costs one
entry of the event queue and no process. Imports clock.spans only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
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
    """An event that fires when an activity ends and records its span as it fires.

    The span is recorded before any process waiting for the event goes on. `then`, if given, is
    called next: a server uses it to start the next job.
    """

    __slots__ = ("_then", "recorder", "span")

    def __init__(
        self, env: Environment, recorder: Recorder, then: Callable[[Any], None] | None = None
    ) -> None:
        self.env = env
        self.callbacks = [self._finish]
        self._defused = False
        self._ok = True
        self._value = None
        self._then = then
        self.recorder = recorder
        self.span: Span | None = None

    def start(self, delay_s: float, span: Span) -> None:
        """Let the activity end `delay_s` from now; its span must end at exactly now + delay_s."""
        self.span = span
        self.env.schedule(self, NORMAL, delay_s)

    def _finish(self, event: Event) -> None:
        assert self.span is not None
        self.recorder.add(self.span)
        if self._then is not None:
            self._then(self)
