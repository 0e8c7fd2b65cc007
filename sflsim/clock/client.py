"""A client on the clock: a device that computes, sends, receives and waits."""

from __future__ import annotations

from typing import Any, TypeVar

from sflsim.clock.channel import Channel
from sflsim.clock.engine import Activity, Environment, Event
from sflsim.clock.idle_energy import IdleEnergy
from sflsim.clock.shared_channel import SharedChannel
from sflsim.clock.spans import Recorder
from sflsim.fleet.block_profile import Rate
from sflsim.fleet.devices import Device
from sflsim.rows import Span

EventT = TypeVar("EventT", bound=Event)


class Client:
    """One device that takes part in a run; each verb returns the event of its end.

    The processor does one thing at a time, in the order of the requests; each direction of the radio works
    in parallel. `begin` opens a round or an exchange and draws its slowdown. `cut` (the number of blocks
    that this client holds), `costs` and `sent` (the bytes of its messages) are kept for the protocols.
    """

    __slots__ = (
        "_awake_s", "_delay_s", "_down", "_env", "_factor", "_free_at_s", "_idle_energy", "_joined_s",
        "_power_w", "_recorder", "_steady", "_up",
        "batches", "costs", "cut", "device", "ended_s", "index", "name", "round", "sent",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        device: Device,
        channels: tuple[Channel | SharedChannel, Channel | SharedChannel],
        cut: int = 1,
        costs: Any = None,
        idle_energy: IdleEnergy | None = None,
    ) -> None:
        self._env = env
        self._recorder = recorder
        self.device = device
        self.name = device.name
        self.index = device.index
        self.cut = cut
        self.costs = costs
        self.sent: Any = costs
        self._power_w = max(device.power.compute_w - device.power.idle_w, 0.0)
        self._up, self._down = channels
        self._idle_energy = idle_energy or IdleEnergy(env)
        self._steady = device.compute_profile is None
        """Whether work takes equally long whenever it begins."""
        self._awake_s = 0.0
        self._joined_s = -1.0  # when its participation began; negative if it takes no part
        self._free_at_s = 0.0
        self._delay_s = 0.0
        self._factor = 1.0
        self.round = 0
        self.batches = 0
        self.ended_s = 0.0

    def begin(self, round: int, exchange: int = 0) -> None:
        """Begin an exchange of a round; the slowdown drawn for it applies from now on."""
        if self._joined_s < 0.0:
            self._wake()
        slowdown = self.device.slowdown
        self.round = round
        self._delay_s = slowdown.delay_s(round, exchange)
        self._factor = slowdown.factor(round, exchange)

    def release(self) -> None:
        """End the participation, if there is one: idling is no longer charged."""
        if self._joined_s >= 0.0:
            self._sleep()

    def _wake(self) -> None:
        """Draw idle power from now on."""
        self._joined_s = self._env.now
        self._idle_energy.add_power(self.device.power.idle_w)

    def _sleep(self) -> None:
        """Draw idle power no longer."""
        self._awake_s = self.awake_s
        self._joined_s = -1.0
        self._idle_energy.add_power(-self.device.power.idle_w)

    @property
    def awake_s(self) -> float:
        """Return the time in which it has taken part so far, waiting included."""
        return self._awake_s + (self._env.now - self._joined_s if self._joined_s >= 0.0 else 0.0)

    @property
    def idle_j(self) -> float:
        """Return the energy that it has drawn by idling while it took part."""
        return self.device.power.idle_w * self.awake_s

    def next_batch(self) -> tuple[int, int]:
        """Return the name of this client's next batch: (client index, batch index)."""
        index = self.batches
        self.batches = index + 1
        return self.index, index

    def next_batches(self, count: int) -> range:
        """Return the numbers of this client's next `count` batches."""
        first = self.batches
        self.batches = first + count
        return range(first, self.batches)

    def compute(self, flop: float, rate: Rate | None = None) -> Activity:
        """Compute `flop`, at the device's training rate by default.

        The first computation after `begin` waits for the additive delay of the slowdown.
        """
        now = self._env.now
        start = self._free_at_s if self._free_at_s > now else now
        if self._delay_s > 0:
            start = self._record_delay(now, start)
        seconds = flop / (rate or self.device.rate) * self._factor
        if not self._steady:
            seconds = self._lasting_s(start, seconds)
        delay_s = seconds if start == now else start - now + seconds
        end = now + delay_s
        self._free_at_s = end
        name = self.name
        energy_j = self._power_w * (end - start)
        span = Span(name, "compute", start, end, self.round, name, 0.0, float(flop), energy_j)
        return Activity(self._env, self._recorder, delay_s, span)

    def _lasting_s(self, start_s: float, seconds: float) -> float:
        """Return how long `seconds` of work at the nominal value take from `start_s`, by the profile."""
        device, profile = self.device, self.device.compute_profile
        return seconds if profile is None else profile.end_of(start_s, seconds * device.nominal) - start_s

    def forward(self, flop: float) -> Activity:
        """Compute `flop` of forward passes, at the device's rate for them."""
        return self.compute(flop, self.device.forward_rate)

    def _record_delay(self, now: float, start: float) -> float:
        """Record the additive delay; return its end."""
        delay_s = start - now + self._delay_s
        self._delay_s = 0.0
        end = now + delay_s
        span = Span(self.name, "slowdown", start, end, self.round, self.name)
        self._track(Activity(self._env, self._recorder, delay_s, span))
        return end

    def _track(self, activity: EventT) -> EventT:
        """Return the activity; a subclass that may have to cancel it keeps it."""
        return activity

    def send_up(self, size_bytes: float) -> Event:
        """Send to the server; the event fires on arrival."""
        return self._up.send(size_bytes, self.round)

    def send_down(self, size_bytes: float) -> Event:
        """Let the server send to this client; the event fires on arrival."""
        return self._down.send(size_bytes, self.round)

    def pull(self, size_bytes: float) -> Event:
        """Let the Fed Server send to this client; the event fires on arrival."""
        return self._down.send(size_bytes, self.round, to_fed=True)

    def push(self, size_bytes: float) -> Event:
        """Send to the Fed Server; the event fires on arrival."""
        return self._up.send(size_bytes, self.round, to_fed=True)

    def note_end(self, event: Event) -> None:
        """Note the end of its participation (a callback of its process)."""
        self.ended_s = self._env.now

    def record_wait(self, since_s: float) -> None:
        """Record that this client has waited for the others since `since_s`."""
        self._record_wait(since_s, self._env.now)

    def _record_wait(self, start_s: float, end_s: float) -> None:
        if end_s > start_s:
            self._recorder.add(Span(self.name, "wait", start_s, end_s, self.round, self.name))
