"""Messages between clients and the servers.

Each direction of a client's link sends its messages one after another: a message occupies the link
until its bytes have passed, then travels for the latency, its own link's and the server's, while the
next one may follow (after the silence that a duty cycle asks for). A message arrives as a whole.
What it takes to travel, held back by messages before it included, is recorded as `latency`.
Where a direction shares nothing, its end is known at the start; where it shares an access point or
a server's link, it is a flow among others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sflsim.clock.engine import NORMAL, Activity, Environment, Event, Timeout
from sflsim.clock.fluid import Flow
from sflsim.clock.shared_links import Media, Route
from sflsim.clock.spans import LATENCY, Recorder
from sflsim.fleet.links.directions import Direction
from sflsim.fleet.profiles import Profile
from sflsim.rows import Span


class Message(Activity):
    """One message over a link that it shares with nobody: sent at `rate` and `power_w`, then it travels."""

    __slots__ = ("power_w", "rate", "travel")
    rate: float | Profile
    power_w: float
    travel: Span | None  # what follows its span, where that takes time

    @property
    def load(self) -> tuple[float, float, float]:
        """From when to when it is sent, and at which power: travelling draws nothing."""
        start_s, rate, air_bytes = self.span.start_s, self.rate, self.span.bytes
        sent_s = rate.end_of(start_s, air_bytes) if isinstance(rate, Profile) else start_s + air_bytes / rate
        return start_s, sent_s, self.power_w

    def done(self, now_s: float) -> tuple[float, float, float]:
        """Return the bytes, FLOPs and energy of one that is cut now: what was on the air until then."""
        start_s, sent_s, power_w = self.load
        air_bytes, rate = self.span.bytes, self.rate
        if now_s < sent_s:
            passed = rate.integral(start_s, now_s) if isinstance(rate, Profile) else rate * (now_s - start_s)
            air_bytes = min(passed, air_bytes)
        return air_bytes, 0.0, power_w * (min(now_s, sent_s) - start_s)

    def abandon(self, outcome: str) -> None:
        """Cut it now, its travel too; one that is only travelling has been sent as a whole."""
        travel, now = self.travel, self.env.now
        if travel is not None and self.callbacks:
            self.travel = travel._replace(end_s=now, outcome=outcome) if now > travel.start_s else None
        super().abandon(outcome)


class Channel:
    """One direction of one client's link that it shares with nobody.

    `beyond_s` is the latency that the Split Server's and the Fed Server's links add.
    """

    __slots__ = (
        "_activity", "_arrived_s", "_beyond_s", "_client", "_constant", "_direction", "_env", "_free_at_s",
        "_messages", "_power_w", "_recorder",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        activity: str,
        client: str,
        direction: Direction,
        power_w: float,
        beyond_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._env = env
        self._recorder = recorder
        self._activity = activity
        self._client = client
        self._direction = direction
        self._power_w = power_w
        self._beyond_s = beyond_s
        self._free_at_s = 0.0
        self._arrived_s = 0.0
        self._messages = 0
        self._constant = direction.constant

    def send(self, size_bytes: float, round: int, to_fed: bool = False) -> Event:
        """Send one message of `size_bytes`; the event returned fires when it has arrived."""
        now = self._env.now
        start = self._free_at_s if self._free_at_s > now else now
        if self._constant is None:
            rate, air_bytes, sending_s, latency_s = self._needs(size_bytes, start)
            silent_s = self._direction.silent_s(sending_s)
        else:
            rate, latency_s = self._constant
            air_bytes, sending_s, silent_s = float(size_bytes), size_bytes / rate, 0.0
        latency_s += self._beyond_s[to_fed]
        sent_s = now + (start - now + sending_s)
        self._free_at_s = sent_s + silent_s
        delay_s = start - now + (sending_s + latency_s)
        if self._direction.in_order:
            delay_s = max(delay_s, self._arrived_s - now)
            self._arrived_s = now + delay_s
        client, arrival_s = self._client, now + delay_s
        energy_j = self._power_w * sending_s
        span = Span(client, self._activity, start, sent_s, round, client, air_bytes, 0.0, energy_j)
        message = Message(self._env, self._recorder, delay_s, span)
        message.rate, message.power_w, message.travel = rate, self._power_w, None
        if arrival_s > sent_s:
            message.travel = Span(client, LATENCY, sent_s, arrival_s, round, client)
            message.callbacks[0] = self._recorder.arrived
        return message

    def clear(self) -> None:
        """Forget what was to be sent: the link is free from now on."""
        self._free_at_s = self._arrived_s = self._env.now

    def _needs(self, size_bytes: float, start_s: float) -> tuple[float | Profile, float, float, float]:
        """Return the rate, the bytes on air, the seconds of sending and the latency of the next message."""
        number, direction = self._messages, self._direction
        self._messages = number + 1
        rate, air_bytes = direction.rate_of(number), float(direction.air_bytes(size_bytes, number))
        if isinstance(rate, Profile):
            return rate, air_bytes, rate.end_of(start_s, air_bytes) - start_s, direction.latency_s(number)
        return rate, air_bytes, air_bytes / rate, direction.latency_s(number)


class Transfer(Event):
    """One message over shared media: it fires on arrival, which is not known before it has been sent."""

    __slots__ = (
        "_air_bytes", "_channel", "_flow", "_given_up", "_latency_s", "_rate", "_round", "_route",
        "_sent_s", "_start_s", "span", "travel",
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
        self.callbacks = [channel.recorder.ended]
        self._channel = channel
        self._air_bytes = air_bytes
        self._rate = rate
        self._latency_s = latency_s
        self._round = round
        self._route = route
        self._flow: Flow | None = None
        self._given_up = False
        self._start_s = self._sent_s = -1.0

    def start(self) -> None:
        """Begin sending."""
        self._start_s = self.env.now
        self._channel.draw(self._channel.power_w)
        if self._air_bytes > 0:
            self._flow = self._channel.media.begin(self.sent, self._air_bytes, self._rate, self._route)
        else:
            self.sent()

    def sent(self) -> None:
        """Let the message travel, as its last byte has passed."""
        self._flow = None
        self._sent_s = self.env.now
        self._channel.draw(0.0)
        delay_s = self._channel.delay_s(self._latency_s)
        self.span = self._span(self._air_bytes, "done")
        if self.env.now + delay_s > self._sent_s:
            self.travel = self._travel(self.env.now + delay_s, "done")
            self.callbacks[0] = self._channel.recorder.arrived
        self.env.schedule(self, NORMAL, delay_s)
        self._channel.go_on(self.env.now - self._start_s)

    def abandon(self, outcome: str) -> None:
        """Give it up now: what has passed is recorded with `outcome`, and it fires for nobody."""
        if self.callbacks is None or self._given_up:
            return
        self._given_up = True
        self.callbacks.clear()
        now, left_bytes = self.env.now, 0.0
        sending = self._start_s >= 0 and self._sent_s < 0
        if sending:
            assert self._flow is not None
            left_bytes = self._channel.media.end(self._flow)
            self._sent_s = now
            self._channel.draw(0.0)
        if self._start_s >= 0:
            self._channel.recorder.add(self._span(max(self._air_bytes - left_bytes, 0.0), outcome))
            if now > self._sent_s:
                self._channel.recorder.add(self._travel(now, outcome))
        self._channel.forget(self, now - self._start_s if sending else None)

    def _span(self, passed_bytes: float, outcome: str) -> Span:
        channel, start_s, sent_s = self._channel, self._start_s, self._sent_s
        return Span(
            channel.client, channel.activity, start_s, sent_s, self._round, channel.client, passed_bytes,
            0.0, channel.power_w * (sent_s - start_s), outcome,
        )  # fmt: skip

    def _travel(self, end_s: float, outcome: str) -> Span:
        client = self._channel.client
        return Span(client, LATENCY, self._sent_s, end_s, self._round, client, outcome=outcome)


class SharedChannel:
    """One direction of one client's link whose messages pass through shared media, one at a time.

    `routes` and `beyond_s` are to the Split Server and to the Fed Server, as in `Channel`.
    """

    __slots__ = (
        "_arrived_s", "_beyond_s", "_direction", "_messages", "_queue", "_routes", "_sending",
        "_silent_until_s", "activity", "client", "env", "media", "power_w", "recorder", "steady",
    )  # fmt: skip

    def __init__(
        self,
        media: Media,
        recorder: Recorder,
        activity: str,
        client: str,
        direction: Direction,
        power_w: float,
        routes: tuple[Route, Route],
        beyond_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.env = media.env
        self.media = media
        self.recorder = recorder
        self.activity = activity
        self.client = client
        self.power_w = power_w
        self.steady: Callable[[str, float], None] | None = None  # told what it draws, on a change
        self._direction = direction
        self._routes = routes
        self._beyond_s = beyond_s
        self._queue: deque[Transfer] = deque()
        self._sending: Transfer | None = None
        self._messages = 0
        self._silent_until_s = 0.0
        self._arrived_s = 0.0

    def send(self, size_bytes: float, round: int, to_fed: bool = False) -> Event:
        """Send one message of `size_bytes` (`to_fed`: to or from the Fed Server); it fires on arrival."""
        number, direction = self._messages, self._direction
        self._messages = number + 1
        transfer = Transfer(
            self,
            float(direction.air_bytes(size_bytes, number)),
            direction.rate_of(number),
            direction.latency_s(number) + self._beyond_s[to_fed],
            round,
            self._routes[to_fed],
        )
        self._queue.append(transfer)
        self._start_next()
        return transfer

    def draw(self, power_w: float) -> None:
        """Draw `power_w` above idling from now on, where anybody asks for it."""
        if self.steady is not None:
            self.steady(self.activity, power_w)

    def delay_s(self, latency_s: float) -> float:
        """Return how long the message sent just now travels, in order where that is asked for."""
        now = self.env.now
        if self._direction.in_order:
            latency_s = max(latency_s, self._arrived_s - now)
            self._arrived_s = now + latency_s
        return latency_s

    def go_on(self, sending_s: float) -> None:
        """Turn to the next message after one that was sent for `sending_s`."""
        self._sending = None
        silent_s = self._direction.silent_s(sending_s)
        self._silent_until_s = self.env.now + silent_s
        if silent_s > 0:
            Timeout(self.env, silent_s).callbacks.append(lambda event: self._start_next())
        else:
            self._start_next()

    def forget(self, transfer: Transfer, sending_s: float | None) -> None:
        """Give up a message that waits, or one that has been sent for `sending_s`."""
        if transfer in self._queue:
            self._queue.remove(transfer)
        elif sending_s is not None:
            self.go_on(sending_s)

    def clear(self) -> None:
        """Forget what was to be sent: the link is free from now on."""
        self._silent_until_s = self._arrived_s = self.env.now

    def _start_next(self) -> None:
        if self._sending is None and self._queue and not self.env.now < self._silent_until_s:
            self._sending = transfer = self._queue.popleft()
            transfer.start()
