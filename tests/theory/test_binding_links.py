"""The moment at which a server link begins to bind, by hand: rates in byte/s, times in s."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import pytest

from sflsim.clock.engine import Environment, Timeout
from sflsim.clock.flows import ServerLink
from sflsim.clock.server_channel import Contention, ServerChannel, ServerMessage
from sflsim.clock.shared_links import SharedLinks
from sflsim.clock.spans import Recorder
from sflsim.fleet.links.directions import Direction
from sflsim.rows import LinkThroughput

Message = tuple[float, str, float]
"""When it is to be sent, by whom, and its bytes."""


class World:
    """Channels "a", "b", ... of these rates through a link, and through another to the Fed Server."""

    def __init__(self, capacity: float, rates: Sequence[float], fed: float | None = None) -> None:
        self.env, self.recorder = Environment(), Recorder()
        self.rows: list[LinkThroughput] = []
        links = SharedLinks(self.env, self.rows)
        split = links.add(ServerLink, capacity, "link")
        self.contention = Contention(
            links, split, split if fed is None else links.add(ServerLink, fed, "fed")
        )
        self.channels = {
            name: ServerChannel(self.contention, self.recorder, "uplink", name, Direction(rate, 0.0), 1.0)
            for name, rate in zip("abcdefghijklmnop", rates, strict=False)
        }

    def at(self, time_s: float, act: object) -> None:
        Timeout(self.env, time_s).callbacks.append(act)

    def send(self, messages: Sequence[Message], to_fed: bool = False) -> list[ServerMessage]:
        sent: list[ServerMessage] = []
        for number, (time_s, name, size_bytes) in enumerate(messages):

            def start(
                event: object, name: str = name, size_bytes: float = size_bytes, number: int = number
            ) -> None:
                sent.append(self.channels[name].send(size_bytes, number, to_fed))  # type: ignore[arg-type]

            self.at(time_s, start)
        return sent

    def spans(self) -> dict[int, tuple[float, float, float]]:
        """Run to the end; return start, end and bytes of each message."""
        self.env.run()
        return {span.round: (span.start_s, span.end_s, span.bytes) for span in self.recorder.spans}

    def throughput(self) -> list[tuple[float, float]]:
        rows = sorted([*self.rows, *self.contention.throughput()], key=lambda row: row.time_s)
        return [(row.time_s, row.bytes_per_s) for row in rows if row.link == "link"]


def test_it_binds_when_a_second_message_is_sent() -> None:
    """6 of 10 byte/s are taken; from 1 s on two want 6 each, and get 5: their last 6 bytes take 1.2 s."""
    world = World(10.0, [6.0, 6.0])
    world.send([(0.0, "a", 12.0), (1.0, "b", 6.0)])
    found = world.spans()
    assert found[0] == pytest.approx((0.0, 2.2, 12.0))
    assert found[1] == pytest.approx((1.0, 2.2, 6.0))
    assert np.array(world.throughput()) == pytest.approx(np.array([(0.0, 6.0), (1.0, 10.0), (2.2, 0.0)]))


def test_it_does_not_bind_while_all_fit() -> None:
    """Two that overlap from 1 s to 2 s, and one that begins as both end: each takes bytes / rate."""
    world = World(10.0, [6.0, 3.0, 10.0])
    world.send([(0.0, "a", 12.0), (1.0, "b", 3.0), (2.0, "c", 5.0)])
    assert world.spans() == {0: (0.0, 2.0, 12.0), 1: (1.0, 2.0, 3.0), 2: (2.0, 2.5, 5.0)}
    assert not world.contention.shared
    assert world.throughput() == [(0.0, 6.0), (1.0, 9.0), (2.0, 10.0), (2.5, 0.0)]


@pytest.mark.parametrize("rates", [[0.1, 0.2], [0.1, 0.1, 0.1], [0.7, 0.1, 0.2], [0.1] * 10, [1 / 3] * 3])
def test_exactly_full_is_not_exceeded(rates: list[float]) -> None:
    """0.1 + 0.2 is above 0.3 by rounding alone; sent at any times, as often as one likes, it still fits."""
    world = World(round(sum(rates), 6), rates)
    messages = [(time_s, name, 1.0) for time_s in (0.0, 30.0, 31.0) for name in world.channels]
    world.send(messages)
    found = world.spans()
    assert not world.contention.shared
    assert len(found) == len(messages)
    assert max(value for _, value in world.throughput()) == pytest.approx(sum(rates))
    assert world.throughput()[-1][1] == 0.0


def test_a_little_more_than_full_binds() -> None:
    """Three of 1 byte/s through 2.7: from the third on each gets 0.9."""
    world = World(2.7, [1.0, 1.0, 1.0])
    world.send([(0.0, name, 9.0) for name in "abc"])
    assert [end_s for _, end_s, _ in world.spans().values()] == pytest.approx([10.0] * 3)


def test_a_message_that_waits_goes_on_after_the_one_before_it() -> None:
    """At 1 s 6 of 12 bytes have passed; at 5 byte/s up to 1.8 s, then at 6; the second one follows."""
    world = World(10.0, [6.0, 6.0])
    world.send([(0.0, "a", 12.0), (0.0, "a", 12.0), (1.0, "b", 4.0)])
    found = world.spans()
    assert found[2] == pytest.approx((1.0, 1.8, 4.0))
    assert found[0] == pytest.approx((0.0, 1.8 + 2 / 6, 12.0))
    assert found[1] == pytest.approx((1.8 + 2 / 6, 3.8 + 2 / 6, 12.0))


def test_cancelled_while_it_binds() -> None:
    """Of 12 bytes 6 have passed up to 1 s, 2.5 up to 1.5 s; then the other has its 6 byte/s again."""
    world = World(10.0, [6.0, 6.0])
    sent = world.send([(0.0, "a", 12.0), (0.0, "a", 12.0), (1.0, "b", 5.5)])
    world.at(1.5, lambda event: [message.cancel("lost") for message in reversed(sent[:2])])
    found = world.spans()
    assert found == {0: pytest.approx((0.0, 1.5, 8.5)), 2: pytest.approx((1.0, 2.0, 5.5))}
    assert np.array(world.throughput()) == pytest.approx(
        np.array([(0.0, 6.0), (1.0, 10.0), (1.5, 6.0), (2.0, 0.0)])
    )


def test_what_was_cancelled_leaves_its_rate_to_others() -> None:
    """Two messages of one channel are cancelled at 1 s: another of 6 byte/s fits from then on."""
    world = World(10.0, [6.0, 6.0])
    sent = world.send([(0.0, "a", 12.0), (0.0, "a", 12.0), (1.0, "b", 6.0)])

    def drop_out(event: object) -> None:
        for message in reversed(sent):
            message.cancel("lost")
        world.channels["a"].reset()

    world.at(0.5, drop_out)
    assert world.spans() == {0: (0.0, 0.5, 3.0), 2: (1.0, 2.0, 6.0)}
    assert not world.contention.shared
    assert world.throughput() == [(0.0, 6.0), (0.5, 0.0), (1.0, 6.0), (2.0, 0.0)]


def test_each_link_has_its_own_load() -> None:
    """6 byte/s through each of two links of 10 fit; a third message shares one of them alone."""
    world = World(10.0, [6.0, 6.0, 6.0], fed=10.0)
    world.send([(0.0, "a", 12.0)])
    world.send([(0.0, "b", 6.0)], to_fed=True)
    world.send([(1.0, "c", 2.5)])
    found = sorted((span.client, span.end_s) for span in world.recorder.spans) if world.spans() else []
    assert found == [("a", pytest.approx(2.0 + 0.5 / 6)), ("b", 1.0), ("c", pytest.approx(1.5))]


def test_a_capacity_without_a_limit_never_binds() -> None:
    world = World(inf, [6.0, 6.0], fed=7.0)
    world.send([(0.0, name, 12.0) for name in "abab"])
    assert sorted(end_s for _, end_s, _ in world.spans().values()) == [2.0, 2.0, 4.0, 4.0]
    assert not world.contention.shared
