"""A device of the fleet on the clock: it computes, sends, receives and waits."""

from __future__ import annotations

from typing import Any, TypeVar

from sflsim.clock.engine import Activity, Environment, Event
from sflsim.clock.idle_energy import Meter
from sflsim.clock.routes import Network
from sflsim.clock.spans import Recorder
from sflsim.fleet.devices import Device
from sflsim.rows import Span

Begun = TypeVar("Begun", bound=Event)


class Client:
    """One device taking part in a run; each verb returns the event of its end.

    The processor does one thing at a time, in the order asked; each direction of the radio works
    beside it. `begin` opens a round or an exchange and draws the slowdown that holds in it. `cut`
    and `costs` are kept for the protocols: the blocks this client holds and what they cost.
    """

    __slots__ = (
        "_awake_s", "_delay_s", "_down", "_env", "_factor", "_free_at_s", "_meter", "_power_w", "_recorder",
        "_since_s", "_up",
        "batches", "costs", "cut", "device", "ended_s", "index", "name", "round",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        device: Device,
        network: Network,
        cut: int = 1,
        costs: Any = None,
        meter: Meter | None = None,
    ) -> None:
        self._env = env
        self._recorder = recorder
        self.device = device
        self.name = device.name
        self.index = device.index
        self.cut = cut
        self.costs = costs
        self._power_w = max(device.power.compute_w - device.power.idle_w, 0.0)
        self._up, self._down = network.channels(device)
        self._meter = meter or Meter(env)
        self._awake_s = 0.0
        self._since_s = -1.0  # when its participation began; negative outside of one
        self._free_at_s = 0.0
        self._delay_s = 0.0
        self._factor = 1.0
        self.round = 0
        self.batches = 0
        self.ended_s = 0.0

    def begin(self, round: int, exchange: int = 0) -> None:
        """Open exchange number `exchange` of round `round`: the slowdown drawn for it applies from here."""
        if self._since_s < 0.0:
            self._since_s = self._env.now
            self._meter.change(self.device.power.idle_w)
        slowdown = self.device.slowdown
        self.round = round
        self._delay_s = slowdown.delay_s(round, exchange)
        self._factor = slowdown.factor(round, exchange)

    def rest(self) -> None:
        """End a participation, if there is one: from now on the device idles for itself."""
        if self._since_s >= 0.0:
            self._awake_s = self.awake_s
            self._since_s = -1.0
            self._meter.change(-self.device.power.idle_w)

    @property
    def awake_s(self) -> float:
        """Return how long it has taken part so far, waiting included."""
        return self._awake_s + (self._env.now - self._since_s if self._since_s >= 0.0 else 0.0)

    @property
    def idle_j(self) -> float:
        """Return what it has drawn by idling while it took part."""
        return self.device.power.idle_w * self.awake_s

    def next_batch(self) -> tuple[int, int]:
        """Return the name of this client's next batch: (client index, batch number)."""
        number = self.batches
        self.batches = number + 1
        return self.index, number

    def compute(self, flop: float, flop_per_s: float | None = None) -> Activity:
        """Compute `flop`, after the additive delay if this is the first work of its scope.

        At the device's training rate, unless another one is given.
        """
        now = self._env.now
        start = self._free_at_s if self._free_at_s > now else now
        if self._delay_s > 0:
            start = self._stall(now, start)
        seconds = flop / (flop_per_s or self.device.flop_per_s) * self._factor
        if self.device.compute_profile is not None:
            seconds = self._changing_s(start, seconds)
        delay_s = seconds if start == now else start - now + seconds
        end = now + delay_s
        self._free_at_s = end
        name = self.name
        energy_j = self._power_w * (end - start)
        span = Span(name, "compute", start, end, self.round, name, 0.0, flop, energy_j)
        return Activity(self._env, self._recorder, delay_s, span)

    def _changing_s(self, start_s: float, seconds: float) -> float:
        """Return how long what takes `seconds` at the first rate takes at the rates from `start_s` on."""
        device, profile = self.device, self.device.compute_profile
        assert profile is not None
        return profile.end_of(start_s, seconds * device.flop_per_s) - start_s

    def forward(self, flop: float) -> Activity:
        """Compute `flop` of forward passes, at the device's rate of those."""
        return self.compute(flop, self.device.forward_flop_per_s)

    def _stall(self, now: float, start: float) -> float:
        """Record the straggler's delay before its first work; return when it is over."""
        delay_s = start - now + self._delay_s
        self._delay_s = 0.0
        end = now + delay_s
        span = Span(self.name, "slowdown", start, end, self.round, self.name)
        self._began(Activity(self._env, self._recorder, delay_s, span))
        return end

    def _began(self, activity: Begun) -> Begun:
        """Note what has begun, in a subclass that may have to cut it; return it."""
        return activity

    def send_up(self, size_bytes: float) -> Event:
        """Send `size_bytes` to the server; fires on arrival there."""
        return self._up.send(size_bytes, self.round)

    def send_down(self, size_bytes: float) -> Event:
        """Have the server send `size_bytes` to this client; fires on arrival here."""
        return self._down.send(size_bytes, self.round)

    def pull(self, size_bytes: float) -> Event:
        """Have the Fed Server send `size_bytes` of the model to this client; fires on arrival here."""
        return self._down.send(size_bytes, self.round, to_fed=True)

    def push(self, size_bytes: float) -> Event:
        """Send `size_bytes` of the model to the Fed Server; fires on arrival there."""
        return self._up.send(size_bytes, self.round, to_fed=True)

    def note_end(self, event: Event) -> None:
        """Note that this client has done its part of a round (a callback of its process)."""
        self.ended_s = self._env.now

    def waited(self, since_s: float) -> None:
        """Record that this client has waited for the others since `since_s`."""
        self._wait(since_s, self._env.now)

    def _wait(self, start_s: float, end_s: float) -> None:
        if end_s > start_s:
            self._recorder.add(Span(self.name, "wait", start_s, end_s, self.round, self.name))
