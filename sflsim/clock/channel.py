"""Channels: one direction of a client's link that shares no capacity.

A channel sends its messages one after another. A message occupies the channel until its bytes have
passed, then travels for the latency of both links, the client's and the server's; the next message may
follow meanwhile, after the silence that a duty cycle prescribes. A message arrives as a whole. Its travel,
including the wait for earlier messages if they must arrive in order, is recorded as `latency`. The end of
a message is known at its start.
"""

from __future__ import annotations

from sflsim.clock.engine import Activity, Environment, Event
from sflsim.clock.pauses import Pauses
from sflsim.clock.spans import Recorder
from sflsim.fleet.links.directions import Direction
from sflsim.fleet.profiles import Profile
from sflsim.rows import LATENCY, Span


class Message(Activity):
    """One message: sent at `rate` (byte/s) and `power_w`, then it travels."""

    __slots__ = ("power_w", "rate", "travel")
    rate: float | Profile
    power_w: float
    travel: Span | None  # follows its span, if the latency is positive

    @property
    def load(self) -> tuple[float, float, float]:
        """Start and end of sending in s, and its power in W; travelling draws no power."""
        start_s, rate, air_bytes = self.span.start_s, self.rate, self.span.bytes
        sent_s = rate.end_of(start_s, air_bytes) if isinstance(rate, Profile) else start_s + air_bytes / rate
        return start_s, sent_s, self.power_w

    def completed(self, now_s: float) -> tuple[float, float, float]:
        """Return the bytes, FLOP and J up to now: the bytes that have been on the air."""
        start_s, sent_s, power_w = self.load
        air_bytes, rate = self.span.bytes, self.rate
        if now_s < sent_s:
            passed = rate.integral(start_s, now_s) if isinstance(rate, Profile) else rate * (now_s - start_s)
            air_bytes = min(passed, air_bytes)
        return air_bytes, 0.0, power_w * (min(now_s, sent_s) - start_s)

    def part(self, recorder: Recorder, span: Span) -> Message:
        """Return a message that has `span`, an earlier part of this one's; it does not travel."""
        part = Message(self.env, recorder, max(span.end_s - self.env.now, 0.0), span)
        part.rate, part.power_w, part.travel = self.rate, self.power_w, None
        return part

    def cancel(self, outcome: str) -> None:
        """Stop the message and its travel; if it is only travelling, all its bytes have been sent."""
        travel, now = self.travel, self.env.now
        if travel is not None and self.callbacks:
            self.travel = travel._replace(end_s=now, outcome=outcome) if now > travel.start_s else None
        super().cancel(outcome)


class Channel:
    """One direction of one client's link.

    `server_latency_s` is the latency of the Split Server's link and of the Fed Server's.
    """

    kind = Message
    """The class of its messages."""

    __slots__ = (
        "_activity", "_client", "_constant", "_direction", "_env", "_free_at_s", "_last_arrival_s",
        "_messages", "_pauses", "_power_w", "_recorder", "_server_latency_s",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        activity: str,
        client: str,
        direction: Direction,
        power_w: float,
        server_latency_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._env = env
        self._recorder = recorder
        self._activity = activity
        self._client = client
        self._direction = direction
        self._power_w = power_w
        self._server_latency_s = server_latency_s
        self._free_at_s = 0.0
        self._last_arrival_s = 0.0
        self._messages = 0
        self._constant = direction.constant
        self._pauses: Pauses | None = None

    def set_pauses(self, pauses: Pauses | None) -> None:
        """Let messages pause while the client is away."""
        self._pauses = pauses
        if pauses is not None:
            self._constant = None

    def send(self, size_bytes: float, round: int, to_fed: bool = False) -> Event:
        """Send one message (`to_fed`: to or from the Fed Server); the event fires on its arrival."""
        now = self._env.now
        start = self._free_at_s if self._free_at_s > now else now
        if self._constant is None:
            rate, air_bytes, sending_s, latency_s = self._next_message(size_bytes, start)
            silent_s = self._direction.silent_s(sending_s)
            if self._pauses is not None:
                sending_s = self._pauses.lasting_s(start, sending_s, rate, air_bytes)
        else:
            rate, latency_s = self._constant
            air_bytes, sending_s, silent_s = float(size_bytes), size_bytes / rate, 0.0
        latency_s += self._server_latency_s[to_fed]
        sent_s = now + (start - now + sending_s)
        self._free_at_s = sent_s + silent_s
        delay_s = start - now + (sending_s + latency_s)
        if self._direction.in_order:
            delay_s = max(delay_s, self._last_arrival_s - now)
            self._last_arrival_s = now + delay_s
        if self._pauses is not None and self._activity == "downlink":
            delay_s = max(delay_s, self._pauses.back_s(now + delay_s) - now)
        client, arrival_s = self._client, now + delay_s
        energy_j = self._power_w * sending_s
        span = Span(client, self._activity, start, sent_s, round, client, air_bytes, 0.0, energy_j)
        message = self.kind(self._env, self._recorder, delay_s, span)
        message.rate, message.power_w, message.travel = rate, self._power_w, None
        if arrival_s > sent_s:
            message.travel = Span(client, LATENCY, sent_s, arrival_s, round, client)
            message.callbacks[0] = self._recorder.record_message
        return message

    def reset(self) -> None:
        """Free the channel, after all its messages have been cancelled."""
        self._free_at_s = self._last_arrival_s = self._env.now

    def _next_message(self, size_bytes: float, start_s: float) -> tuple[float | Profile, float, float, float]:
        """Return the next message's rate, bytes on the air, seconds of sending and latency in s."""
        index, direction = self._messages, self._direction
        self._messages = index + 1
        rate, air_bytes = direction.rate_of(index), float(direction.air_bytes(size_bytes, index))
        if isinstance(rate, Profile):
            return rate, air_bytes, rate.end_of(start_s, air_bytes) - start_s, direction.latency_s(index)
        return rate, air_bytes, air_bytes / rate, direction.latency_s(index)
