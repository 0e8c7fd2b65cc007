"""A client that may leave: all its activities can be cancelled at any time, or pause until it is back.

Clients that are always available are plain `Client`s, without this bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from sflsim.clock.channel import Channel
from sflsim.clock.client import Client, EventT
from sflsim.clock.engine import Activity, Environment, Event
from sflsim.clock.idle_energy import IdleEnergy
from sflsim.clock.pauses import Pauses
from sflsim.clock.shared_channel import SharedChannel
from sflsim.clock.spans import Recorder
from sflsim.fleet.availability.on_off import Timeline
from sflsim.fleet.block_profile import Rate
from sflsim.fleet.devices import Device
from sflsim.fleet.instants import settled_s
from sflsim.rows import ABSENCE, Span

SPARE_ACTIVITIES = 32  # ended ones kept in the list before it is pruned


class IntermittentClient(Client):
    """A client that keeps its activities under way, to cancel them when it drops out.

    `complete` says that the server has all of its participation: what follows is not wasted. With `pauses`
    it goes on after each absence from which it will be back.
    """

    __slots__ = (
        "_activities", "_began_s", "_dropped_out_s", "_left_s", "_limit", "_takes_part",
        "complete", "pauses", "timeline", "watched_s",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        device: Device,
        channels: tuple[Channel | SharedChannel, Channel | SharedChannel],
        cut: int,
        costs: Any,
        idle_energy: IdleEnergy,
        timeline: Timeline,
        pauses: Pauses | None = None,
    ) -> None:
        super().__init__(env, recorder, device, channels, cut, costs, idle_energy)
        self.timeline = timeline
        self.pauses = pauses
        self._steady = self._steady and pauses is None
        for channel in (self._up, self._down):
            channel.set_pauses(pauses)
        self.watched_s = -1.0  # when it next leaves or is back, if an event is scheduled for that
        self.complete = False
        self._takes_part = False
        self._began_s = 0.0  # when its present participation began
        self._left_s = inf  # when its present pause began; inf if there is none
        self._dropped_out_s = inf
        self._activities: list[Any] = []
        self._limit = SPARE_ACTIVITIES

    @property
    def is_connected(self) -> bool:
        """Whether it has not dropped out since its present participation began."""
        return self._dropped_out_s == inf

    @property
    def is_busy(self) -> bool:
        """Whether it takes part, or an activity of an earlier participation is under way."""
        return self._takes_part or any(each.callbacks is not None for each in self._activities)

    def begin(self, round: int, exchange: int = 0) -> None:
        """Begin an exchange; the first one of a round begins a participation."""
        super().begin(round, exchange)
        if not self._takes_part:
            self._takes_part, self._began_s = True, self._env.now
        if self._left_s < inf:
            self._sleep()
        if exchange == 0:
            self.complete, self._dropped_out_s = False, inf

    def release(self) -> None:
        """End the participation, if there is one, and the absence in it."""
        self._record_absence(self._env.now)
        self._takes_part = False
        super().release()

    def pause(self, left_s: float) -> None:
        """Begin an absence, at `left_s`: what it does goes on when it is back, and it draws no power."""
        self._left_s = left_s
        super().release()  # it still takes part, but does not idle
        for channel in self._shared_channels():
            channel.pause()

    def resume(self, back_s: float) -> None:
        """End an absence, at `back_s`, unless it has dropped out since."""
        if self._left_s == inf:
            return
        self._record_absence(back_s)
        self._left_s = inf
        if self._takes_part:
            self._wake()
        for channel in self._shared_channels():
            channel.resume()

    def _shared_channels(self) -> Iterator[SharedChannel]:
        """Yield the channels whose messages have no known end."""
        return (channel for channel in (self._up, self._down) if isinstance(channel, SharedChannel))

    def _record_absence(self, until_s: float) -> None:
        """Record the present absence, as far as it lies in a participation."""
        since_s = max(self._left_s, self._began_s)
        if self._takes_part and until_s > settled_s(since_s):
            self._recorder.add(Span(self.name, ABSENCE, since_s, until_s, self.round, self.name))

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
        self._left_s = inf

    def _lasting_s(self, start_s: float, seconds: float) -> float:
        alone_s = super()._lasting_s(start_s, seconds)
        if self.pauses is None:
            return alone_s
        device, profile = self.device, self.device.compute_profile
        return self.pauses.lasting_s(start_s, alone_s, profile or 1.0, seconds * device.nominal)

    def _record_delay(self, now: float, start: float) -> float:
        if self.pauses is not None:
            self._delay_s = self.pauses.lasting_s(start, self._delay_s)
        return super()._record_delay(now, start)

    def _track(self, activity: EventT) -> EventT:
        if self.pauses is not None and isinstance(activity, Activity):
            for part in self.pauses.parts(activity, self._recorder):
                self._keep(part)
        else:
            self._keep(activity)
        return activity

    def _keep(self, activity: Event) -> None:
        """Keep an activity under way, to cancel it."""
        activities = self._activities
        activities.append(activity)
        if len(activities) > self._limit:
            activities[:] = [each for each in activities if each.callbacks is not None]
            self._limit = 2 * len(activities) + SPARE_ACTIVITIES

    def compute(self, flop: float, rate: Rate | None = None) -> Activity:
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
        """Record that this client has waited since `since_s`, while it was there."""
        until_s = min(self._dropped_out_s, self._env.now)
        if self.pauses is None:
            self._record_wait(since_s, min(self.timeline.until(since_s), until_s))
            return
        for start_s, end_s in self.pauses.stretches(since_s, until_s):
            self._record_wait(start_s, end_s)
