"""A device of the fleet on the clock: it computes, sends, receives and waits.

Imports fleet (devices, slowdowns), the engine and the network.
"""

from __future__ import annotations

from typing import Any

from sflsim.clock.engine import Activity, Environment, Event
from sflsim.clock.network import Channel
from sflsim.clock.spans import Recorder
from sflsim.fleet.devices import Device
from sflsim.fleet.links import Link


class Client:
    """One device taking part in a run; each verb returns the event of its end.

    The processor does one thing at a time, in the order asked; each direction of the radio works
    beside it. `begin` opens a round or an exchange and draws the slowdown that holds in it. `cut`
    and `costs` are kept for the protocols: the blocks this client holds and what they cost.
    """

    __slots__ = (
        "_delay_s", "_down", "_env", "_factor", "_free_at_s", "_power_w", "_recorder", "_up",
        "batches", "costs", "cut", "device", "ended_s", "index", "name", "round",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        device: Device,
        server_link: Link,
        cut: int = 1,
        costs: Any = None,
    ) -> None:
        link, power = device.link, device.power
        idle_w = power.idle_w
        self._env = env
        self._recorder = recorder
        self.device = device
        self.name = device.name
        self.index = device.index
        self.cut = cut
        self.costs = costs
        self._power_w = max(power.compute_w - idle_w, 0.0)
        up, down, latency_s = link.constant or (link.up_bytes_per_s, link.down_bytes_per_s, link.latency_s)
        self._up = Channel(
            env, recorder, "uplink", self.name, up, latency_s,
            server_link.down_bytes_per_s(0), max(power.send_w - idle_w, 0.0),
        )  # fmt: skip
        self._down = Channel(
            env, recorder, "downlink", self.name, down, latency_s,
            server_link.up_bytes_per_s(0), max(power.receive_w - idle_w, 0.0),
        )  # fmt: skip
        self._free_at_s = 0.0
        self._delay_s = 0.0
        self._factor = 1.0
        self.round = 0
        self.batches = 0
        self.ended_s = 0.0

    def begin(self, round: int, exchange: int = 0) -> None:
        """Open exchange number `exchange` of round `round`: the slowdown drawn for it applies from here."""
        slowdown = self.device.slowdown
        self.round = round
        self._delay_s = slowdown.delay_s(round, exchange)
        self._factor = slowdown.factor(round, exchange)

    def next_batch(self) -> tuple[int, int]:
        """Return the name of this client's next batch: (client index, batch number)."""
        number = self.batches
        self.batches = number + 1
        return self.index, number

    def compute(self, flop: float) -> Activity:
        """Compute `flop`, after the additive delay if this is the first work of its scope."""
        now = self._env.now
        start = self._free_at_s if self._free_at_s > now else now
        if self._delay_s > 0:
            start = self._stall(now, start)
        seconds = flop / self.device.flop_per_s * self._factor
        delay_s = seconds if start == now else start - now + seconds
        end = now + delay_s
        self._free_at_s = end
        name = self.name
        span = (
            name, "compute", start, end, self.round, name, 0.0, flop, self._power_w * (end - start), "done",
        )  # fmt: skip
        return Activity(self._env, self._recorder, delay_s, span)

    def forward(self, flop: float) -> Activity:
        """Compute `flop` of forward passes."""
        return self.compute(flop)

    def _stall(self, now: float, start: float) -> float:
        """Record the straggler's delay before its first work; return when it is over."""
        delay_s = start - now + self._delay_s
        self._delay_s = 0.0
        end = now + delay_s
        span = (self.name, "slowdown", start, end, self.round, self.name, 0.0, 0.0, 0.0, "done")
        Activity(self._env, self._recorder, delay_s, span)
        return end

    def send_up(self, size_bytes: float) -> Activity:
        """Send `size_bytes` to the server; fires on arrival there."""
        return self._up.send(size_bytes, self.round)

    def send_down(self, size_bytes: float) -> Activity:
        """Have the server send `size_bytes` to this client; fires on arrival here."""
        return self._down.send(size_bytes, self.round)

    def pull(self, size_bytes: float) -> Activity:
        """Have the Fed Server send `size_bytes` of the model to this client; fires on arrival here."""
        return self.send_down(size_bytes)

    def push(self, size_bytes: float) -> Activity:
        """Send `size_bytes` of the model to the Fed Server; fires on arrival there."""
        return self.send_up(size_bytes)

    def note_end(self, event: Event) -> None:
        """Note that this client has done its part of a round (a callback of its process)."""
        self.ended_s = self._env.now

    def waited(self, since_s: float) -> None:
        """Record that this client has waited for the others since `since_s`."""
        now = self._env.now
        if now > since_s:
            self._recorder.add(
                (self.name, "wait", since_s, now, self.round, self.name, 0.0, 0.0, 0.0, "done")
            )
