"""A client that may vanish: its work can be cut at any time, and it knows until when it is there.

Clients that are always there are plain `Client`s and pay nothing for this.
"""

from __future__ import annotations

from math import inf
from typing import Any

from sflsim.clock.client import Begun, Client
from sflsim.clock.engine import Activity, Environment, Event
from sflsim.clock.idle_energy import Meter
from sflsim.clock.routes import Network
from sflsim.clock.spans import Recorder
from sflsim.fleet.availability.on_off import Timeline
from sflsim.fleet.devices import Device

SPARE = 32  # ended activities kept in the list before it is cleaned


class FleetingClient(Client):
    """A client that keeps what it has begun, in order to cut it where it vanishes.

    `counts` says that its part of the round is whole at the server: what comes after is no waste.
    """

    __slots__ = ("_begun", "_gone_s", "_limit", "counts", "timeline", "watched_s")

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        device: Device,
        network: Network,
        cut: int,
        costs: Any,
        meter: Meter,
        timeline: Timeline,
    ) -> None:
        super().__init__(env, recorder, device, network, cut, costs, meter)
        self.timeline = timeline
        self.watched_s = -1.0  # the end of being there that an event waits for
        self.counts = False
        self._gone_s = inf
        self._begun: list[Any] = []
        self._limit = SPARE

    @property
    def here(self) -> bool:
        """Whether it has been there all the time since its present part began."""
        return self._gone_s == inf

    def begin(self, round: int, exchange: int = 0) -> None:
        """Open an exchange; with the first of a round the client is there anew."""
        super().begin(round, exchange)
        if exchange == 0:
            self.counts, self._gone_s = False, inf

    def vanish(self) -> None:
        """Cut all that is under way, computing and messages alike; both begin anew with nothing to do."""
        self._gone_s = now = self._env.now
        for activity in reversed(self._begun):  # what waits for its turn before what has begun
            activity.abandon("lost")
        self._begun.clear()
        self._up.clear()
        self._down.clear()
        self._free_at_s, self._delay_s = now, 0.0
        self.rest()

    def _began(self, activity: Begun) -> Begun:
        begun = self._begun
        begun.append(activity)
        if len(begun) > self._limit:
            begun[:] = [one for one in begun if one.callbacks is not None]
            self._limit = 2 * len(begun) + SPARE
        return activity

    def compute(self, flop: float, flop_per_s: float | None = None) -> Activity:
        """Compute `flop`; cut where the client vanishes."""
        return self._began(super().compute(flop, flop_per_s))

    def send_up(self, size_bytes: float) -> Event:
        """Send to the server; cut where the client vanishes."""
        return self._began(super().send_up(size_bytes))

    def send_down(self, size_bytes: float) -> Event:
        """Have the server send; cut where the client vanishes."""
        return self._began(super().send_down(size_bytes))

    def pull(self, size_bytes: float) -> Event:
        """Have the Fed Server send; cut where the client vanishes."""
        return self._began(super().pull(size_bytes))

    def push(self, size_bytes: float) -> Event:
        """Send to the Fed Server; cut where the client vanishes."""
        return self._began(super().push(size_bytes))

    def waited(self, since_s: float) -> None:
        """Record that this client has waited since `since_s`, as long as it was there."""
        until_s = min(self._gone_s, self.timeline.until(since_s), self._env.now)
        self._wait(since_s, until_s)
