"""Messages over shared links on the clock: one at a time per direction, never more than a link carries."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sflsim.clock.engine import Environment, Protocol, Timeout
from sflsim.clock.flows import AccessLink, ServerLink
from sflsim.clock.shared_channel import SharedChannel, Transfer
from sflsim.clock.shared_links import SharedLinks
from sflsim.clock.spans import Recorder, with_arrivals
from sflsim.fleet.links.directions import Direction
from sflsim.fleet.profiles import Profile

CLIENTS = 6
RATES = st.one_of(
    st.sampled_from([1.0, 2.0, 5.0, inf]),
    st.lists(st.floats(0.2, 6), min_size=2, max_size=4).map(
        lambda values: Profile([3.0 * i for i in range(len(values))], values, 3.0 * len(values))
    ),
)
CAPACITY = st.one_of(st.floats(0.5, 10), st.just(Profile([0, 4, 9], [6.0, 0.5, 2.0], 12)))
MESSAGES = st.lists(
    st.tuples(
        st.integers(0, CLIENTS - 1), st.floats(0, 5), st.one_of(st.just(0.0), st.floats(0.1, 30)),
        st.one_of(st.none(), st.none(), st.floats(0, 20)),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip


class ObservedLinks(SharedLinks):
    """Shared links that note the highest load over capacity."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.most = 0.0  # the highest load over capacity

    def _reallocate(self, event: object) -> None:
        super()._reallocate(event)  # type: ignore[arg-type]
        loads: dict[AccessLink | ServerLink, float] = {}
        for flow in self._fluid.flows:
            assert flow.flow_class is not None
            for link in filter(None, (flow.flow_class.access_link, flow.flow_class.server_link)):
                loads[link] = loads.get(link, 0.0) + flow.flow_class.rate_bytes_per_s
        for link, load in loads.items():
            self.most = max(self.most, load / link.allocator.capacity)


def channels(
    links: ObservedLinks, recorder: Recorder, rates: list[float | Profile], duty: float
) -> list[SharedChannel]:
    """Return the uplink of every client: the even ones behind an access point, all to one server."""
    server_link, access_link = (
        links.add(ServerLink, 7.0),
        links.add(AccessLink, Profile([0, 5], [4.0, 2.0], 11.0)),
    )
    made = []
    for number, rate in enumerate(rates):
        route = (access_link if number % 2 == 0 else None, server_link)
        direction = Direction(rate, 0.5, duty_cycle=duty)
        made.append(SharedChannel(links, recorder, "uplink", str(number), direction, 2.0, (route, route)))
    return made


@settings(max_examples=150, deadline=None)
@given(st.lists(RATES, min_size=CLIENTS, max_size=CLIENTS), MESSAGES, st.sampled_from([1.0, 0.5]))
def test_messages_over_shared_media(
    rates: list[float | Profile], messages: list[tuple[int, float, float, float | None]], duty: float
) -> None:
    """Every message arrives or is cancelled; bytes, energy and order are right; no capacity is exceeded."""
    env, recorder = Environment(), Recorder()
    links = ObservedLinks(env)
    senders = channels(links, recorder, rates, duty)
    cancelled: set[int] = set()
    fired: list[int] = []

    def send(number: int, client: int, after_s: float, size: float, patience_s: float | None) -> Protocol:
        yield Timeout(env, after_s)
        transfer = senders[client].send(size, number)
        assert isinstance(transfer, Transfer)
        assert transfer.callbacks is not None
        transfer.callbacks.append(lambda event: fired.append(number))
        if patience_s is not None:
            yield Timeout(env, patience_s)
            if number not in fired:
                cancelled.add(number)
                transfer.cancel("lost")

    for number, message in enumerate(messages):
        env.process(send(number, *message))
    env.run()

    assert links.most <= 1 + 1e-9
    assert not set(fired) & cancelled
    assert sorted([*fired, *cancelled]) == list(range(len(messages)))
    spans = [span._replace(end_s=arrival_s) for span, arrival_s in with_arrivals(recorder.spans)]
    by_round = {span.round: span for span in spans}
    assert len(by_round) == len(spans)
    for number, (_, _, size, _) in enumerate(messages):
        if number in fired:
            assert by_round[number].bytes == size
            assert by_round[number].outcome == "done"
            seconds = by_round[number].end_s - by_round[number].start_s
            assert by_round[number].active_energy_j == pytest.approx(2 * (seconds - 0.5))
        elif number in by_round:
            assert 0 <= by_round[number].bytes <= size
            assert by_round[number].outcome == "lost"
    for client in range(CLIENTS):
        own = sorted((span for span in spans if span.client == str(client)), key=lambda span: span.start_s)
        for before, after in pairwise(own):
            sent_s = before.end_s - (0.5 if before.outcome == "done" else 0.0)
            silent_s = (sent_s - before.start_s) * (1 / duty - 1) if before.outcome == "done" else 0.0
            assert after.start_s >= sent_s + silent_s - 1e-6 or before.outcome == "lost"


def test_a_cancelled_message_leaves_its_share_to_others() -> None:
    """Two messages of 10 byte on 2 byte/s; one is cancelled after 4 s and 4 byte, the next one follows."""
    env, recorder = Environment(), Recorder()
    links = SharedLinks(env)
    route = (None, links.add(ServerLink, 2.0))
    first, second = (
        SharedChannel(links, recorder, "uplink", name, Direction(inf, 0.0), 1.0, (route, route))
        for name in "ab"
    )
    lost = first.send(10, 1)
    second.send(10, 1)
    first.send(3, 2)  # waits behind the lost one, then takes its half again

    def cancel() -> Protocol:
        yield Timeout(env, 4)
        lost.cancel("lost")
        lost.cancel("lost")

    env.process(cancel())
    env.run()

    assert sorted(recorder.spans, key=lambda span: (span.actor, span.round)) == [
        ("a", "uplink", 0.0, 4.0, 1, "a", 4.0, 0.0, 4.0, "lost"),
        ("a", "uplink", 4.0, 7.0, 2, "a", 3.0, 0.0, 3.0, "done"),
        ("b", "uplink", 0.0, 8.5, 1, "b", 10.0, 0.0, 8.5, "done"),
    ]


def test_cancelled_during_its_latency_it_counts_whole() -> None:
    """A message cancelled after its last byte was sent has sent them all; no arrival is reported."""
    env, recorder = Environment(), Recorder()
    links = SharedLinks(env)
    route = (None, links.add(ServerLink, 2.0))
    channel = SharedChannel(links, recorder, "uplink", "a", Direction(inf, 3.0), 1.0, (route, route))
    transfer = channel.send(4, 1)

    def cancel() -> Protocol:
        yield Timeout(env, 4)
        transfer.cancel("lost")

    env.process(cancel())
    env.run()
    assert recorder.spans == [
        ("a", "uplink", 0.0, 2.0, 1, "a", 4.0, 0.0, 2.0, "lost"),
        ("a", "latency", 2.0, 4.0, 1, "a", 0.0, 0.0, 0.0, "lost"),
    ]


def test_a_server_link_follows_its_profile_behind_an_access_link() -> None:
    """Through a wide access point, with pauses: 3 byte/s up to 4 s, 1 byte/s up to 10 s, then 4."""
    env, recorder = Environment(), Recorder()
    links = SharedLinks(env)
    route = (links.add(AccessLink, 100.0), links.add(ServerLink, Profile([0, 4, 10], [3.0, 1.0, 4.0])))
    channel = SharedChannel(links, recorder, "uplink", "a", Direction(inf, 0.0), 1.0, (route, route))

    def send() -> Protocol:
        for round in range(3):
            yield channel.send(6, round)
            yield Timeout(env, 1)

    env.process(send())
    env.run()
    assert [(span.start_s, span.end_s) for span in recorder.spans] == [(0.0, 2.0), (3.0, 7.0), (8.0, 11.0)]
