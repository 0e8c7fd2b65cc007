"""Messages between clients and the server.

Each direction of a client's link sends its messages one after another: a message occupies the
link for bytes / rate, then travels for the latency while the next one may follow. The rate is
the smaller of the client's and the server's for that direction; a message arrives as a whole.
Imports fleet (links) and the engine.
"""

from __future__ import annotations

from collections.abc import Callable

from sflsim.clock.engine import Activity, Environment
from sflsim.clock.spans import Recorder

Draw = float | Callable[[int], float]
"""A constant, or what a message gets by its number."""


class Channel:
    """One direction of one client's link; `send` returns the event of the message's arrival."""

    __slots__ = (
        "_activity", "_client", "_constant", "_env", "_free_at_s", "_latency_s", "_messages",
        "_peer_bytes_per_s", "_power_w", "_rate_bytes_per_s", "_recorder",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        activity: str,
        client: str,
        rate_bytes_per_s: Draw,
        latency_s: Draw,
        peer_bytes_per_s: float,
        power_w: float,
    ) -> None:
        self._env = env
        self._recorder = recorder
        self._activity = activity
        self._client = client
        self._rate_bytes_per_s = rate_bytes_per_s
        self._latency_s = latency_s
        self._peer_bytes_per_s = peer_bytes_per_s
        self._power_w = power_w
        self._free_at_s = 0.0
        self._messages = 0
        drawn = callable(rate_bytes_per_s) or callable(latency_s)
        self._constant = None if drawn else self._draw(0)

    def send(self, size_bytes: float, round: int) -> Activity:
        """Send one message of `size_bytes`; the event returned fires when it has arrived."""
        number = self._messages
        self._messages = number + 1
        rate_bytes_per_s, latency_s = self._constant or self._draw(number)
        now = self._env.now
        start = self._free_at_s if self._free_at_s > now else now
        sending_s = size_bytes / rate_bytes_per_s
        self._free_at_s = now + (start - now + sending_s)  # rounded as the span's end is
        delay_s = start - now + (sending_s + latency_s)
        span = (
            self._client, self._activity, start, now + delay_s, round, self._client, float(size_bytes),
            0.0, self._power_w * sending_s, "done",
        )  # fmt: skip
        return Activity(self._env, self._recorder, delay_s, span)

    def _draw(self, number: int) -> tuple[float, float]:
        """Return the rate (byte/s) and the latency (s) of message `number`."""
        rate, latency_s = self._rate_bytes_per_s, self._latency_s
        return (
            min(rate(number) if callable(rate) else rate, self._peer_bytes_per_s),
            latency_s(number) if callable(latency_s) else latency_s,
        )
