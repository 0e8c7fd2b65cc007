"""One direction of a device's link: rate, latency, loss and duty cycle of its messages.

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
    """Each packet is lost independently with probability `share`, and sent until it arrives.

    A message of n packets takes n plus a negative binomial number of packets: n / (1 - share) on
    average. The sender learns of a loss at once and continues with other packets (selective repeat).
    """

    share: float
    packet_bytes: float
    key: Key

    def air_bytes(self, size_bytes: float, message: int) -> float:
        """Return the bytes that go over the air for message number `message`."""
        if size_bytes <= 0:
            return size_bytes
        packets = math.ceil(size_bytes / self.packet_bytes)
        retransmissions = generator(*self.key, message).negative_binomial(packets, 1 - self.share)
        return size_bytes + size_bytes / packets * float(retransmissions)


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a `Link`; message numbers count from 0."""

    rate: Rate
    latency: float | Stream
    jitter: Stream | None = None
    loss: Loss | None = None
    duty_cycle: float = 1.0
    in_order: bool = False

    @property
    def constant(self) -> tuple[float, float] | None:
        """(rate in byte/s, latency in s) if the same for all messages, without loss or duty cycle."""
        plain = self.jitter is None and self.loss is None and self.duty_cycle == 1.0
        if plain and isinstance(self.rate, float) and isinstance(self.latency, float):
            return self.rate, self.latency
        return None

    def in_the_mean(self) -> Direction:
        """Return the direction with the mean of all that changes from message to message, or over time."""
        rate = self.rate if isinstance(self.rate, float) else self.rate.mean
        latency_s = self.latency if isinstance(self.latency, float) else self.latency.mean
        latency_s += 0.0 if self.jitter is None else self.jitter.mean
        arriving = 1.0 if self.loss is None else 1.0 - self.loss.share
        return Direction(rate * arriving, latency_s, duty_cycle=self.duty_cycle, in_order=self.in_order)

    def rate_of(self, message: int) -> float | Profile:
        """Return the rate at which a message is sent, in byte/s."""
        rate = self.rate
        return rate[message] if isinstance(rate, Stream) else rate

    def latency_s(self, message: int) -> float:
        """Return the latency of a message, with its jitter."""
        latency_s = self.latency if isinstance(self.latency, float) else self.latency[message]
        return latency_s if self.jitter is None else latency_s + self.jitter[message]

    def silent_s(self, sending_s: float) -> float:
        """Return how long the duty cycle keeps the radio silent after it has sent for `sending_s`."""
        return 0.0 if self.duty_cycle == 1.0 else sending_s * (1.0 / self.duty_cycle - 1.0)

    def air_bytes(self, size_bytes: float, message: int) -> float:
        """Return the bytes that go over the air for a message, retransmissions included."""
        return size_bytes if self.loss is None else self.loss.air_bytes(size_bytes, message)
