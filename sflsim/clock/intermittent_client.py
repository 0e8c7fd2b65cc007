"""A client that may drop out: all its activities can be cancelled at any time.

Clients that are always available are plain `Client`s, without this bookkeeping.
"""

from __future__ import annotations

from math import inf
from typing import Any

from sflsim.clock.client import Client, EventT
from sflsim.clock.engine import Activity, Environment, Event
from sflsim.clock.idle_energy import IdleEnergy
from sflsim.clock.network import Network
from sflsim.clock.spans import Recorder
from sflsim.fleet.availability.on_off import Timeline
from sflsim.fleet.devices import Device
from sflsim.fleet.rates import Rates

SPARE_ACTIVITIES = 32  # ended ones kept in the list before it is pruned


class IntermittentClient(Client):
    """A client that keeps its activities under way, to cancel them when it drops out.

    `complete` says that the server has all of its participation: what follows is not wasted.
    """

    __slots__ = ("_activities", "_dropped_out_s", "_limit", "complete", "timeline", "watched_s")

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        device: Device,
        network: Network,
        cut: int,
        costs: Any,
        idle_energy: IdleEnergy,
        timeline: Timeline,
    ) -> None:
        super().__init__(env, recorder, device, network, cut, costs, idle_energy)
        self.timeline = timeline
        self.watched_s = -1.0  # the end of availability for which an event is scheduled
        self.complete = False
        self._dropped_out_s = inf
        self._activities: list[Any] = []
        self._limit = SPARE_ACTIVITIES

    @property
    def is_connected(self) -> bool:
        """Whether it has not dropped out since its present participation began."""
        return self._dropped_out_s == inf

    def begin(self, round: int, exchange: int = 0) -> None:
        """Begin an exchange; the first one of a round begins a participation."""
        super().begin(round, exchange)
        if exchange == 0:
            self.complete, self._dropped_out_s = False, inf

    def drop_out(self) -> None:
        """Cancel all activities; processor and radio are free afterwards."""
        self._dropped_out_s = now = self._env.now
        for activity in reversed(self._activities):  # those that wait before those under way
            activity.cancel("lost")
        self._activities.clear()
        self._up.reset()
        self._down.reset()
        self._free_at_s, self._delay_s = now, 0.0
        self.release()

    def _track(self, activity: EventT) -> EventT:
        activities = self._activities
        activities.append(activity)
        if len(activities) > self._limit:
            activities[:] = [each for each in activities if each.callbacks is not None]
            self._limit = 2 * len(activities) + SPARE_ACTIVITIES
        return activity

    def compute(self, flop: float, rate: float | Rates | None = None) -> Activity:
        """Compute `flop`; cancelled when the client drops out."""
        return self._track(super().compute(flop, rate))

    def send_up(self, size_bytes: float) -> Event:
        """Send to the server; cancelled when the client drops out."""
        return self._track(super().send_up(size_bytes))

    def send_down(self, size_bytes: float) -> Event:
        """Let the server send; cancelled when the client drops out."""
        return self._track(super().send_down(size_bytes))

    def pull(self, size_bytes: float) -> Event:
        """Let the Fed Server send; cancelled when the client drops out."""
        return self._track(super().pull(size_bytes))

    def push(self, size_bytes: float) -> Event:
        """Send to the Fed Server; cancelled when the client drops out."""
        return self._track(super().push(size_bytes))

    def record_wait(self, since_s: float) -> None:
        """Record that this client has waited since `since_s`, until it dropped out at most."""
        until_s = min(self._dropped_out_s, self.timeline.until(since_s), self._env.now)
        self._record_wait(since_s, until_s)
