"""Messages over shared media on the clock: one at a time per direction, never more than a medium carries."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sflsim.clock.engine import Environment, Protocol, Timeout
from sflsim.clock.fluid import Leaf, Trunk
from sflsim.clock.network import SharedChannel, Transfer
from sflsim.clock.shared_links import Media
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


class Meter(Media):
    """Media that add up what passes every medium, between one change of rates and the next."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.most = 0.0  # the highest load over capacity

    def _settle(self, event: object) -> None:
        super()._settle(event)  # type: ignore[arg-type]
        loads: dict[Leaf | Trunk, float] = {}
        for flow in self._fluid.flows:
            assert flow.cohort is not None
            for medium in filter(None, (flow.cohort.leaf, flow.cohort.trunk)):
                loads[medium] = loads.get(medium, 0.0) + flow.rate_bytes_per_s
        for medium, load in loads.items():
            self.most = max(self.most, load / medium.pool.capacity)


def channels(
    media: Meter, recorder: Recorder, rates: list[float | Profile], duty: float
) -> list[SharedChannel]:
    """Return the uplink of every client: the even ones behind an access point, all to one server."""
    trunk, leaf = media.medium(Trunk, 7.0), media.medium(Leaf, Profile([0, 5], [4.0, 2.0], 11.0))
    made = []
    for number, rate in enumerate(rates):
        route = (leaf if number % 2 == 0 else None, trunk)
        direction = Direction(rate, 0.5, duty_cycle=duty)
        made.append(SharedChannel(media, recorder, "uplink", str(number), direction, 2.0, (route, route)))
    return made


@settings(max_examples=150, deadline=None)
@given(st.lists(RATES, min_size=CLIENTS, max_size=CLIENTS), MESSAGES, st.sampled_from([1.0, 0.5]))
def test_messages_over_shared_media(
    rates: list[float | Profile], messages: list[tuple[int, float, float, float | None]], duty: float
) -> None:
    """Every message arrives or is given up; bytes, energy and order are right; no capacity is exceeded."""
    env, recorder = Environment(), Recorder()
    media = Meter(env)
    links = channels(media, recorder, rates, duty)
    given_up: set[int] = set()
    fired: list[int] = []

    def send(number: int, client: int, after_s: float, size: float, patience_s: float | None) -> Protocol:
        yield Timeout(env, after_s)
        transfer = links[client].send(size, number)
        assert isinstance(transfer, Transfer)
        assert transfer.callbacks is not None
        transfer.callbacks.append(lambda event: fired.append(number))
        if patience_s is not None:
            yield Timeout(env, patience_s)
            if number not in fired:
                given_up.add(number)
                transfer.abandon("lost")

    for number, message in enumerate(messages):
        env.process(send(number, *message))
    env.run()

    assert media.most <= 1 + 1e-9
    assert not set(fired) & given_up
    assert sorted([*fired, *given_up]) == list(range(len(messages)))
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


def test_what_is_given_up_leaves_its_share_to_others() -> None:
    """Two messages of 10 byte on 2 byte/s; one is given up after 4 s and 4 byte, the next in line follows."""
    env, recorder = Environment(), Recorder()
    media = Media(env)
    route = (None, media.medium(Trunk, 2.0))
    first, second = (
        SharedChannel(media, recorder, "uplink", name, Direction(inf, 0.0), 1.0, (route, route))
        for name in "ab"
    )
    lost = first.send(10, 1)
    second.send(10, 1)
    first.send(3, 2)  # waits behind the lost one, then takes its half again

    def give_up() -> Protocol:
        yield Timeout(env, 4)
        lost.abandon("lost")
        lost.abandon("lost")

    env.process(give_up())
    env.run()

    assert sorted(recorder.spans, key=lambda span: (span.actor, span.round)) == [
        ("a", "uplink", 0.0, 4.0, 1, "a", 4.0, 0.0, 4.0, "lost"),
        ("a", "uplink", 4.0, 7.0, 2, "a", 3.0, 0.0, 3.0, "done"),
        ("b", "uplink", 0.0, 8.5, 1, "b", 10.0, 0.0, 8.5, "done"),
    ]


def test_abandoned_on_its_way_it_counts_whole() -> None:
    """A message given up after its last byte was sent has sent them all; nobody is told of an arrival."""
    env, recorder = Environment(), Recorder()
    media = Media(env)
    route = (None, media.medium(Trunk, 2.0))
    channel = SharedChannel(media, recorder, "uplink", "a", Direction(inf, 3.0), 1.0, (route, route))
    transfer = channel.send(4, 1)

    def give_up() -> Protocol:
        yield Timeout(env, 4)
        transfer.abandon("lost")

    env.process(give_up())
    env.run()
    assert recorder.spans == [
        ("a", "uplink", 0.0, 2.0, 1, "a", 4.0, 0.0, 2.0, "lost"),
        ("a", "latency", 2.0, 4.0, 1, "a", 0.0, 0.0, 0.0, "lost"),
    ]


def test_a_trunk_follows_its_profile_behind_a_leaf_too() -> None:
    """Through a wide access point, with pauses: 3 byte/s up to 4 s, 1 byte/s up to 10 s, then 4."""
    env, recorder = Environment(), Recorder()
    media = Media(env)
    route = (media.medium(Leaf, 100.0), media.medium(Trunk, Profile([0, 4, 10], [3.0, 1.0, 4.0])))
    channel = SharedChannel(media, recorder, "uplink", "a", Direction(inf, 0.0), 1.0, (route, route))

    def send() -> Protocol:
        for round in range(3):
            yield channel.send(6, round)
            yield Timeout(env, 1)

    env.process(send())
    env.run()
    assert [(span.start_s, span.end_s) for span in recorder.spans] == [(0.0, 2.0), (3.0, 7.0), (8.0, 11.0)]
