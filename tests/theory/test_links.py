"""Links against closed forms: a shared link is processor sharing; loss, duty cycle and jitter their means."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from sflsim.clock.channel import Channel
from sflsim.clock.engine import Environment, Protocol, Timeout
from sflsim.clock.flows import ServerLink
from sflsim.clock.shared_channel import SharedChannel
from sflsim.clock.shared_links import SharedLinks
from sflsim.clock.spans import Recorder, with_arrivals
from sflsim.fleet.links.directions import Direction
from sflsim.fleet.links.links import LinkConfig
from sflsim.rows import Span

CONFIDENCE = 0.99
BATCHES = 32
JOBS = 30_000
PACKETS = 20


def sojourns_s(sizes: np.ndarray, gaps_s: np.ndarray, caps: float = inf) -> np.ndarray:
    """Return how long each transfer took over one link of 1 byte/s that all share."""
    env, recorder = Environment(), Recorder()
    links = SharedLinks(env)
    route = (None, links.add(ServerLink, 1.0))

    def arrivals() -> Protocol:
        for number, (gap_s, size) in enumerate(zip(gaps_s.tolist(), sizes.tolist(), strict=True)):
            yield Timeout(env, gap_s)
            direction = Direction(caps, 0.0)
            SharedChannel(links, recorder, "uplink", "c", direction, 0.0, (route, route)).send(size, number)

    env.process(arrivals())
    env.run()
    assert len(recorder.spans) == len(sizes)  # without a latency, none is recorded
    times_s = np.zeros(len(sizes))
    for span in recorder.spans:
        times_s[span.round] = span.end_s - span.start_s
    return times_s


def mean_and_half_width(values: np.ndarray) -> tuple[float, float]:
    """Return the mean after a warm-up and its half width by batch means (values in a row are correlated)."""
    kept = values[len(values) // 20 :]
    means = kept[: len(kept) // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    half_width = stats.t.ppf((1 + CONFIDENCE) / 2, BATCHES - 1) * means.std(ddof=1) / sqrt(BATCHES)
    return float(means.mean()), float(half_width)


SIZES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "exponential": lambda rng: rng.exponential(1.0, JOBS),
    "constant": lambda rng: np.ones(JOBS),
    "hyperexponential": lambda rng: rng.exponential(np.where(rng.random(JOBS) < 0.9, 0.5, 5.5)),
}


@pytest.mark.parametrize("law", SIZES)
def test_a_shared_link_is_processor_sharing(law: str) -> None:
    """M/G/1-PS at 60 % load: 1 / (1 - 0.6) = 2.5 s on average, whatever the law of the sizes."""
    rng = np.random.default_rng(7)
    sizes, gaps_s = SIZES[law](rng), rng.exponential(1 / 0.6, JOBS)
    mean_s, half_width_s = mean_and_half_width(sojourns_s(sizes, gaps_s))
    first_come_s = 1 + 0.6 * (sizes**2).mean() / 2 / 0.4  # Pollaczek and Khinchine

    assert half_width_s < 0.35
    assert abs(mean_s - 2.5) < half_width_s
    if law != "exponential":  # for which the two disciplines agree in the mean
        assert abs(mean_s - first_come_s) > 2 * half_width_s


def test_time_is_proportional_to_size() -> None:
    """In M/M/1-PS a transfer of size x takes x / (1 - load) on average: short ones are not held up."""
    rng = np.random.default_rng(9)
    sizes, gaps_s = rng.exponential(1.0, JOBS), rng.exponential(1 / 0.6, JOBS)
    times_s = sojourns_s(sizes, gaps_s)
    for low, high in ((0.0, 0.5), (0.5, 1.5), (1.5, inf)):
        chosen = (sizes >= low) & (sizes < high)
        mean_s, half_width_s = mean_and_half_width(times_s[chosen] / sizes[chosen])
        assert abs(mean_s - 2.5) < half_width_s
        assert half_width_s < 0.5


def test_a_cap_makes_it_many_servers() -> None:
    """Flows of at most 1/2 byte/s on a link of 1 byte/s: two at full rate, so M/M/2's time in the system."""
    rng = np.random.default_rng(11)
    sizes, gaps_s = rng.exponential(1.0, JOBS), rng.exponential(1 / 0.6, JOBS)
    mean_s, half_width_s = mean_and_half_width(sojourns_s(sizes, gaps_s, 0.5))
    load = 1.2  # of two servers of mean 2 s each, 0.6 arrivals per second
    waits = load**2 / 2 * 2 / (2 - load) / (1 + load + load**2 / 2 * 2 / (2 - load))

    assert half_width_s < 0.3
    assert abs(mean_s - (2 + waits / (1 - 0.6))) < half_width_s


def sent(messages: int, size: float, **fields: object) -> list[Span]:
    """Return the spans of messages sent up over a link of its own, 1 kB/s."""
    env, recorder = Environment(), Recorder()
    link = LinkConfig(up="1 kB/s", down="1 kB/s", **fields).build(3, "pi-0")  # type: ignore[arg-type]
    channel = Channel(env, recorder, "uplink", "pi-0", link.up, 0.0)
    for number in range(messages):
        channel.send(size, number)
    env.run()
    spans = [span._replace(end_s=arrival_s) for span, arrival_s in with_arrivals(recorder.spans)]
    return sorted(spans, key=lambda span: span.round)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_lost_packets_are_sent_again(share: float) -> None:
    """n packets take n / (1 - p) on average with variance n p / (1 - p)^2, in bytes and in seconds."""
    size, messages = 1500.0 * PACKETS, 4000
    spans = sent(messages, size, loss=share)
    packets = np.array([span.bytes for span in spans]) / 1500
    mean, sigma = PACKETS / (1 - share), sqrt(PACKETS * share) / (1 - share)
    half_width = stats.norm.ppf((1 + CONFIDENCE) / 2) * sigma / sqrt(messages)

    assert abs(packets.mean() - mean) < half_width < 0.03 * mean
    assert packets.var(ddof=1) == pytest.approx(sigma**2, rel=0.12)
    assert np.allclose(packets, np.round(packets))
    assert all(span.end_s - span.start_s == pytest.approx(span.bytes / 1000) for span in spans)


def test_duty_cycle_is_the_share_of_time_sent() -> None:
    """At 1 % a message of 1 s is followed by 99 s of silence, before the next one starts."""
    spans = sent(5, 1000, duty_cycle=0.01)

    assert [span.start_s for span in spans] == pytest.approx([0, 100, 200, 300, 400])
    assert [span.end_s - span.start_s for span in spans] == pytest.approx([1] * 5)


def test_jitter_keeps_the_mean_of_the_latency() -> None:
    """A latency of 30 ms with a jitter of 10 ms: that mean and that standard deviation, never below zero."""
    spans = sent(4000, 0, latency="30 ms", jitter="10 ms")
    latencies_s = np.array([span.end_s - span.start_s for span in spans])

    assert abs(latencies_s.mean() - 0.03) < stats.norm.ppf((1 + CONFIDENCE) / 2) * 0.01 / sqrt(4000)
    assert latencies_s.std(ddof=1) == pytest.approx(0.01, rel=0.1)
    assert latencies_s.min() > 0


def test_order_is_kept_where_asked_for() -> None:
    """With a jitter distribution messages overtake each other, but not with `in_order`."""
    jitter = {"kind": "exponential", "mean": "2 s"}
    free = [span.end_s for span in sent(200, 100, latency="1 s", jitter=jitter)]
    kept = [span.end_s for span in sent(200, 100, latency="1 s", jitter=jitter, in_order=True)]

    assert free != sorted(free)
    assert kept == sorted(kept) == list(np.maximum.accumulate(free))
