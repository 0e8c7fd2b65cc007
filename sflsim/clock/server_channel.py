"""Server channels: one direction of a client's link whose messages pass through a server's link.

While the messages under way fit into the servers' links, each is sent as over an unshared link: its end is
known at its start. Once they would not, those under way become transfers of the fluid model, and so does
every later message in that direction.
"""

from __future__ import annotations

from math import inf
from typing import Any

from sflsim.clock.channel import Channel, Message
from sflsim.clock.engine import Event, take_out
from sflsim.clock.flows import ServerLink
from sflsim.clock.link_load import UNITS, LinkLoad
from sflsim.clock.shared_channel import SharedChannel, Transfer
from sflsim.clock.shared_links import Route, SharedLinks
from sflsim.clock.spans import Recorder
from sflsim.fleet.links.directions import Direction
from sflsim.rows import LinkThroughput


class Contention:
    """One direction of the links of the Split Server and of the Fed Server, which may be the same.

    `shared` says that all messages are transfers: their sum has exceeded a capacity, a capacity changes, or
    some of them do not fit (`fits`).
    """

    __slots__ = ("_rows", "links", "loads", "shared")

    def __init__(self, links: SharedLinks, split: ServerLink, fed: ServerLink) -> None:
        self.links = links
        load = LinkLoad(split, links.name_of(split))
        self.loads = load, load if fed is split else LinkLoad(fed, links.name_of(fed))
        self.shared = not (links.is_constant(split) and links.is_constant(fed))
        self._rows: list[LinkThroughput] = []  # up to the moment of sharing

    def share(self) -> None:
        """Let all messages under way be transfers from now on, and all later ones."""
        if self.shared:
            return
        self.shared = True
        for load in dict.fromkeys(self.loads):
            rows = [row for row in load.throughput() if row.time_s < self.links.env.now]
            self._rows += rows
            self.links.take_over(load.link, rows[-1].bytes_per_s if rows else 0.0)
        for message in take_out(self.links.env, self._is_being_sent):
            message.share()

    def _is_being_sent(self, event: Any) -> bool:
        """Tell whether an event of the queue is a message of these links whose last byte has not passed."""
        return isinstance(event, ServerMessage) and event.channel.contention is self and event.is_being_sent

    def throughput(self) -> list[LinkThroughput]:
        """Return the throughput of the links up to now, or up to when their capacity was first shared."""
        if self.shared:
            return self._rows
        loads = dict.fromkeys(self.loads)
        return [row for load in loads for row in load.throughput() if row.time_s <= self.links.env.now]


def fits(direction: Direction) -> bool:
    """Tell whether a channel's messages may be sent one after the other, at one rate, until it is shared."""
    rate = direction.rate
    return isinstance(rate, float) and rate < inf and direction.duty_cycle == 1.0 and not direction.in_order


class ServerMessage(Message):
    """One message over an unshared link that may have to be shared; then a `transfer` takes its place."""

    __slots__ = ("channel", "to_fed", "transfer")
    channel: ServerChannel
    to_fed: bool
    transfer: Transfer | None

    @property
    def is_being_sent(self) -> bool:
        """Whether it waits or is sent, not yet cancelled, and no transfer."""
        return bool(self.callbacks) and self.transfer is None and self.span.end_s > self.env.now

    def share(self) -> None:
        """Let a transfer take its place, with the bytes that have not passed; it fires on the arrival."""
        assert self.callbacks
        del self.callbacks[0]  # the transfer records what it sends
        latency_s = 0.0 if self.travel is None else self.travel.end_s - self.travel.start_s
        passed_bytes = max(self.completed(self.env.now)[0], 0.0)
        shared = self.channel.shared()
        self.transfer = shared.take_over(self.span, passed_bytes, latency_s, self.to_fed, self._arrive)

    def _arrive(self, event: Event) -> None:
        """Fire, when the transfer does."""
        assert self.callbacks is not None
        callbacks = self.callbacks
        self.callbacks = None  # type: ignore[assignment]  # SimPy's own sign of an event that has fired
        for callback in callbacks:
            callback(self)

    def cancel(self, outcome: str) -> None:
        """Stop the message and its travel; what would still have passed does not."""
        if self.transfer is not None:
            self.transfer.cancel(outcome)
            return
        if self.is_being_sent:
            start_s, sent_s = self.span.start_s, self.span.end_s
            load = self.channel.contention.loads[self.to_fed]
            load.note(max(start_s, self.env.now), sent_s, -self.channel.units)
        super().cancel(outcome)


class ServerChannel(Channel):
    """One direction of one client's link, through the servers' links alone."""

    __slots__ = ("_shared", "contention", "sent_s", "units")
    kind = ServerMessage

    def __init__(
        self,
        contention: Contention,
        recorder: Recorder,
        activity: str,
        client: str,
        direction: Direction,
        power_w: float,
        server_latency_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(
            contention.links.env, recorder, activity, client, direction, power_w, server_latency_s
        )
        assert isinstance(direction.rate, float)
        self.contention = contention
        self.units = int(direction.rate * UNITS)
        self.sent_s = 0.0  # when it has sent all its messages
        self._shared: SharedChannel | None = None

    def send(self, size_bytes: float, round: int, to_fed: bool = False) -> Event:
        """Send one message (`to_fed`: to or from the Fed Server); the event fires on its arrival."""
        contention = self.contention
        load = contention.loads[to_fed]
        if contention.shared or not load.admit(self, self._env.now):
            contention.share()
            return self.shared().send(size_bytes, round, to_fed)
        message = super().send(size_bytes, round, to_fed)
        assert isinstance(message, ServerMessage)
        message.channel, message.to_fed, message.transfer = self, to_fed, None
        span = message.span
        self.sent_s = span.end_s
        load.note(span.start_s, span.end_s, self.units)
        return message

    def shared(self) -> SharedChannel:
        """Return what it is when capacities are shared; made at the first call."""
        if self._shared is None:
            split, fed = self.contention.loads
            routes: tuple[Route, Route] = (None, split.link), (None, fed.link)
            self._shared = SharedChannel(
                self.contention.links, self._recorder, self._activity, self._client, self._direction,
                self._power_w, routes, self._server_latency_s, self._messages,
            )  # fmt: skip
        return self._shared

    def reset(self) -> None:
        """Free the channel, after all its messages have been cancelled."""
        super().reset()
        self.sent_s = self._env.now
        for load in self.contention.loads:
            load.drop(self)
        if self._shared is not None:
            self._shared.reset()
