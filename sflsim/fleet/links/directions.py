"""One direction of a device's link: what a message of it needs.

The rate may be constant, drawn per message or a profile over time; the latency constant or drawn
per message. Lost packets are sent again, so more bytes go over the air than a message has; a duty
cycle keeps the radio silent after sending. Draws come from streams keyed by the owner's name and
the message's number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sflsim.fleet.profiles import Profile
from sflsim.streams import Key, Stream, generator

Rate = float | Stream | Profile


@dataclass(frozen=True, slots=True)
class Loss:
    """Each packet is lost with the chance `share`, on its own, and sent until it arrives.

    A message of n packets takes n plus a negative binomial number of them: n / (1 - share) on
    average. Whoever sends learns of a loss at once and goes on with other packets, as a selective
    repeat does.
    """

    share: float
    packet_bytes: float
    key: Key

    def air_bytes(self, size_bytes: float, message: int) -> float:
        """Return the bytes that go over the air for message number `message`."""
        if size_bytes <= 0:
            return size_bytes
        packets = math.ceil(size_bytes / self.packet_bytes)
        again = generator(*self.key, message).negative_binomial(packets, 1 - self.share)
        return size_bytes + size_bytes / packets * float(again)


@dataclass(frozen=True, slots=True)
class Direction:
    """What `Link` is made of; message numbers count from 0."""

    rate: Rate
    latency: float | Stream
    jitter: Stream | None = None
    loss: Loss | None = None
    duty_cycle: float = 1.0
    in_order: bool = False

    @property
    def constant(self) -> tuple[float, float] | None:
        """(rate in byte/s, latency in s) where every message needs the same, nothing lost or kept silent."""
        plain = self.jitter is None and self.loss is None and self.duty_cycle == 1.0
        if plain and isinstance(self.rate, float) and isinstance(self.latency, float):
            return self.rate, self.latency
        return None

    def rate_of(self, message: int) -> float | Profile:
        """Return the rate at which a message is sent, in byte/s."""
        rate = self.rate
        return rate[message] if isinstance(rate, Stream) else rate

    def latency_s(self, message: int) -> float:
        """Return how long a message travels beside its sending."""
        latency_s = self.latency if isinstance(self.latency, float) else self.latency[message]
        return latency_s if self.jitter is None else latency_s + self.jitter[message]

    def silent_s(self, sending_s: float) -> float:
        """Return how long the duty cycle keeps the radio silent after it has sent for `sending_s`."""
        return 0.0 if self.duty_cycle == 1.0 else sending_s * (1.0 / self.duty_cycle - 1.0)

    def air_bytes(self, size_bytes: float, message: int) -> float:
        """Return the bytes that go over the air for a message, those sent again included."""
        return size_bytes if self.loss is None else self.loss.air_bytes(size_bytes, message)
