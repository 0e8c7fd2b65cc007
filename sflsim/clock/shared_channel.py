"""Shared channels: one direction of a client's link whose messages pass through shared links.

As in `channel`, one message is sent at a time and then travels. While it is sent, it is a flow among
others, so its end is known only when it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sflsim.clock.engine import NORMAL, Event, Timeout
from sflsim.clock.flows import Flow
from sflsim.clock.pauses import MAX_PAUSES, Pauses, too_many
from sflsim.clock.shared_links import Route, SharedLinks
from sflsim.clock.spans import Recorder
from sflsim.fleet.links.directions import Direction
from sflsim.fleet.profiles import Profile
from sflsim.rows import LATENCY, Span


class Transfer(Event):
    """One message through shared links; the event fires on its arrival."""

    __slots__ = (
        "_air_bytes", "_cancelled", "_channel", "_flow", "_latency_s", "_pauses", "_rate", "_round", "_route",
        "_sending_s", "_sent_s", "_start_s", "span", "travel",
    )  # fmt: skip
    _ok = True
    _value = None

    def __init__(
        self,
        channel: SharedChannel,
        air_bytes: float,
        rate: float | Profile,
        latency_s: float,
        round: int,
        route: Route,
    ) -> None:
        self.env = channel.env
        self.callbacks = [channel.recorder.record]
        self._channel = channel
        self._air_bytes = air_bytes  # that have not passed when sending starts, or goes on
        self._rate = rate
        self._latency_s = latency_s
        self._round = round
        self._route = route
        self._flow: Flow | None = None
        self._cancelled = False
        self._start_s = self._sent_s = -1.0
        self._sending_s = 0.0  # before the last pause
        self._pauses = 0

    def start(self) -> None:
        """Start sending, or go on with it."""
        self._start_s = self.env.now
        self._channel.draw(self._channel.power_w)
        if self._air_bytes > 0:
            self._flow = self._channel.links.start(self.sent, self._air_bytes, self._rate, self._route)
        else:
            self.sent()

    def go_on(self, start_s: float, passed_bytes: float) -> None:
        """Go on with a message that has been sent since `start_s`."""
        self._start_s = start_s
        left_bytes = self._air_bytes - passed_bytes
        self._flow = self._channel.links.start(self.sent, left_bytes, self._rate, self._route)

    def sent(self) -> None:
        """Let the message travel: its last byte has passed."""
        self._flow = None
        self._sent_s = self.env.now
        self._channel.draw(0.0)
        delay_s = self._channel.travel_s(self._latency_s)
        self.span = self._sending_span(self._air_bytes, "done")
        if self.env.now + delay_s > self._sent_s:
            self.travel = self._travel_span(self.env.now + delay_s, "done")
            self.callbacks[0] = self._channel.recorder.record_message
        self.env.schedule(self, NORMAL, delay_s)
        self._channel.release(self._sending_s + self._sent_s - self._start_s)

    def pause(self) -> None:
        """Stop sending until `start`; what has passed is recorded.

        Raises:
            ScenarioError: it has paused too often.
        """
        self._pauses += 1
        if self._pauses > MAX_PAUSES:
            raise too_many()
        self._stop("done")

    def cancel(self, outcome: str) -> None:
        """Stop the message: the bytes that have passed are recorded with `outcome`; the event never fires."""
        if self.callbacks is None or self._cancelled:
            return
        self._cancelled = True
        self.callbacks.clear()
        if self._start_s < 0:
            self._channel.cancel_waiting(self)
            return
        if self._sent_s < 0:
            self._stop(outcome)
            self._channel.release(self._sending_s)
            return
        if self.env.now > self._start_s:
            self._channel.recorder.add(self._sending_span(self._air_bytes, outcome))
        if self.env.now > self._sent_s:
            self._channel.recorder.add(self._travel_span(self.env.now, outcome))

    def _stop(self, outcome: str) -> None:
        """Stop sending, unless it is stopped; the bytes that have passed are recorded with `outcome`."""
        if self._flow is None:
            return
        self._sent_s = now = self.env.now
        remaining_bytes = self._channel.links.stop(self._flow)
        self._flow = None
        self._channel.draw(0.0)
        if now > self._start_s:
            passed_bytes = max(self._air_bytes - remaining_bytes, 0.0)
            self._channel.recorder.add(self._sending_span(passed_bytes, outcome))
        self._sending_s += now - self._start_s
        self._air_bytes, self._sent_s = remaining_bytes, -1.0

    def _sending_span(self, passed_bytes: float, outcome: str) -> Span:
        channel, start_s, sent_s = self._channel, self._start_s, self._sent_s
        return Span(
            channel.client, channel.activity, start_s, sent_s, self._round, channel.client, passed_bytes,
            0.0, channel.power_w * (sent_s - start_s), outcome,
        )  # fmt: skip

    def _travel_span(self, end_s: float, outcome: str) -> Span:
        client = self._channel.client
        return Span(client, LATENCY, self._sent_s, end_s, self._round, client, outcome=outcome)


class SharedChannel:
    """One direction of one client's link, through shared links.

    `routes` and `server_latency_s` are those to the Split Server and to the Fed Server. `messages` have been
    sent before, over another channel.
    """

    __slots__ = (
        "_direction", "_last_arrival_s", "_messages", "_paused", "_pauses", "_queue", "_routes", "_sending",
        "_server_latency_s", "_silent_until_s", "activity", "client", "env", "links", "on_power",
        "power_w", "recorder",
    )  # fmt: skip

    def __init__(
        self,
        links: SharedLinks,
        recorder: Recorder,
        activity: str,
        client: str,
        direction: Direction,
        power_w: float,
        routes: tuple[Route, Route],
        server_latency_s: tuple[float, float] = (0.0, 0.0),
        messages: int = 0,
    ) -> None:
        self.env = links.env
        self.links = links
        self.recorder = recorder
        self.activity = activity
        self.client = client
        self.power_w = power_w
        self.on_power: Callable[[str, float], None] | None = None
        """Called with the activity and its power in W at each change."""
        self._direction = direction
        self._routes = routes
        self._server_latency_s = server_latency_s
        self._queue: deque[Transfer] = deque()
        self._sending: Transfer | None = None
        self._messages = messages
        self._silent_until_s = 0.0
        self._last_arrival_s = 0.0
        self._pauses: Pauses | None = None
        self._paused = False

    def set_pauses(self, pauses: Pauses | None) -> None:
        """Let messages pause while the client is away: from `pause` to `resume`."""
        self._pauses = pauses

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self._paused = True
        if self._sending is not None:
            self._sending.pause()

    def resume(self) -> None:
        """Go on with the message that was being sent, or with the next."""
        self._paused = False
        if self._sending is not None:
            self._sending.start()
        else:
            self._start_next()

    def send(self, size_bytes: float, round: int, to_fed: bool = False) -> Event:
        """Send one message (`to_fed`: to or from the Fed Server); the event fires on its arrival."""
        index, direction = self._messages, self._direction
        self._messages = index + 1
        transfer = Transfer(
            self,
            float(direction.air_bytes(size_bytes, index)),
            direction.rate_of(index),
            direction.latency_s(index) + self._server_latency_s[to_fed],
            round,
            self._routes[to_fed],
        )
        self._queue.append(transfer)
        self._start_next()
        return transfer

    def take_over(
        self,
        span: Span,
        passed_bytes: float,
        latency_s: float,
        to_fed: bool,
        on_arrival: Callable[[Event], None],
    ) -> Transfer:
        """Go on with a message of another channel, or let it wait; `on_arrival` is called on its arrival.

        `span` is what it would have been there; `passed_bytes` of it have passed.
        """
        rate = self._direction.rate
        assert isinstance(rate, float)
        transfer = Transfer(self, span.bytes, rate, latency_s, span.round, self._routes[to_fed])
        transfer.callbacks.append(on_arrival)
        if span.start_s > self.env.now:
            self._queue.append(transfer)
        else:
            self._sending = transfer
            transfer.go_on(span.start_s, passed_bytes)
        return transfer

    def draw(self, power_w: float) -> None:
        """Draw `power_w` above idling from now on."""
        if self.on_power is not None:
            self.on_power(self.activity, power_w)

    def travel_s(self, latency_s: float) -> float:
        """Return how long the message sent just now travels; longer than its latency to keep the order."""
        now = self.env.now
        if self._direction.in_order:
            latency_s = max(latency_s, self._last_arrival_s - now)
            self._last_arrival_s = now + latency_s
        if self._pauses is not None and self.activity == "downlink":
            latency_s = max(latency_s, self._pauses.back_s(now + latency_s) - now)
        return latency_s

    def release(self, sending_s: float) -> None:
        """Free the channel, which was occupied for `sending_s`, for the next message."""
        self._sending = None
        silent_s = self._direction.silent_s(sending_s)
        self._silent_until_s = self.env.now + silent_s
        if silent_s > 0:
            Timeout(self.env, silent_s).callbacks.append(lambda event: self._start_next())
        else:
            self._start_next()

    def cancel_waiting(self, transfer: Transfer) -> None:
        """Remove a message that waits to be sent."""
        self._queue.remove(transfer)

    def reset(self) -> None:
        """Free the channel, after all its messages have been cancelled."""
        self._silent_until_s = self._last_arrival_s = self.env.now
        self._paused = False

    def _start_next(self) -> None:
        free = self._sending is None and not self._paused and not self.env.now < self._silent_until_s
        if free and self._queue:
            self._sending = transfer = self._queue.popleft()
            transfer.start()
