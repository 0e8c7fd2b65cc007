"""The clock against closed forms: the slowest of n, and waiting times of M/M/c and M/D/1 queues.

Each test asserts that the theoretical value lies in a confidence interval of 99 % around what was
simulated, under a fixed seed, and that the interval is narrow enough to say something.
"""

from __future__ import annotations

from itertools import pairwise
from math import factorial, sqrt
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from support import COSTS, FREE, UNLIMITED, data, read

from sflsim.clock.engine import Environment, Protocol, Timeout
from sflsim.clock.server import Server
from sflsim.clock.spans import Recorder
from sflsim.experiment.simulate import simulate

CONFIDENCE = 0.99
ROUNDS = 1000
BATCHES = 32


def round_times_s(
    clients: int, straggler: dict[str, Any], variant: dict[str, Any], costs: dict[str, str]
) -> np.ndarray:
    """Return the time of each round of `clients` equal devices of 8 FLOP/s, messages costing nothing."""
    group = {"name": "any", "device": {"compute": "8 FLOP/s"}, "link": UNLIMITED}
    content = data(
        workload={"model": {"kind": "mlp", "hidden": [8]}, "costs": costs},
        fleet={"clients": clients, "groups": [group], "straggler": straggler},
        variants=[variant],
        stop={"rounds": ROUNDS},
    )
    return np.diff(simulate(read(content), timing_only=True).evaluations["time_s"])


def assert_mean(samples: np.ndarray, expected: float, sigma: float) -> None:
    """Assert that `expected` lies around the mean of i.i.d. samples of known deviation `sigma`."""
    half_width = stats.norm.ppf((1 + CONFIDENCE) / 2) * sigma / sqrt(len(samples))
    assert half_width < 0.1 * expected
    assert abs(samples.mean() - expected) < half_width, (samples.mean(), expected, half_width)


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "splitfed-v2", "mu-splitfed"])
@pytest.mark.parametrize("clients", [1, 3, 10])
def test_round_waits_for_the_slowest(algorithm: str, clients: int) -> None:
    """Delays exponential with mean m and n clients: m H_n, and the law of the maximum, (1 - exp(-t/m))^n."""
    mean_s = 2.0
    times = round_times_s(
        clients, {"kind": "exponential", "mean": f"{mean_s} s"}, {"algorithm": algorithm}, FREE
    )
    harmonic = sum(1 / k for k in range(1, clients + 1))
    sigma = mean_s * sqrt(sum(1 / k**2 for k in range(1, clients + 1)))
    assert_mean(times, mean_s * harmonic, sigma)
    assert stats.kstest(times, lambda t: (1 - np.exp(-t / mean_s)) ** clients).pvalue > 0.01


def test_factor_stretches_all_computing() -> None:
    """MU-SplitFed's three forwards of 1 s, times a factor that is exponential with mean 1.5: 4.5 H_n."""
    straggler = {"kind": "exponential", "mean": 1.5, "effect": "multiplicative"}
    costs = {**FREE, "client_forward": COSTS["client_forward"]}
    times = round_times_s(5, straggler, {"algorithm": "mu-splitfed"}, costs)
    assert_mean(times, 4.5 * sum(1 / k for k in range(1, 6)), 4.5 * sqrt(sum(1 / k**2 for k in range(1, 6))))


def test_delay_in_every_exchange() -> None:
    """A delay redrawn in each of E exchanges: the slowest of n Erlang-E times, by its integral."""
    exchanges, clients, mean_s = 3, 4, 2.0
    times = round_times_s(
        clients,
        {"kind": "exponential", "mean": f"{mean_s} s", "redraw": "exchange"},
        {"algorithm": "splitfed-v1", "local_iterations": exchanges},
        FREE,
    )
    law = stats.gamma(exchanges, scale=mean_s)
    first, second = (
        quad(lambda t, power=power: power * t ** (power - 1) * (1 - law.cdf(t) ** clients), 0, np.inf)[0]
        for power in (1, 2)
    )
    assert_mean(times, first, sqrt(second - first**2))


def test_constant_work_adds_to_the_slowest() -> None:
    """SplitFed V1 with one client: forward 1 s, server step 2 s, backward 2 s, beside the delay's mean."""
    costs = {
        **COSTS,
        "server_backward": "5 FLOP",
        **{name: FREE[name] for name in FREE if "byte" in FREE[name]},
    }
    times = round_times_s(1, {"kind": "exponential", "mean": "2 s"}, {"algorithm": "splitfed-v1"}, costs)
    assert times.min() >= 5
    assert_mean(times, 7, 2)


def waits_s(seed: int, jobs: int, arrivals_per_s: float, slots: int, law: str) -> np.ndarray:
    """Return how long each of `jobs` Poisson arrivals waited for a slot; service takes 1 s on average."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / arrivals_per_s, jobs).tolist()
    flops = (rng.exponential(4.0, jobs) if law == "M" else np.full(jobs, 4.0)).tolist()
    env, recorder = Environment(), Recorder()
    server = Server(env, recorder, rate=4.0, slots=slots)

    def arrivals() -> Protocol:
        for number, (gap, flop) in enumerate(zip(gaps, flops, strict=True)):
            yield Timeout(env, gap)
            server.serve(flop, round=number)

    env.process(arrivals())
    env.run()
    waits = np.zeros(jobs)
    for span in recorder.spans:
        if span.activity == "queue":
            waits[span.round] = span.end_s - span.start_s
    return waits


def assert_mean_wait(waits: np.ndarray, expected_s: float, others_s: tuple[float, ...] = ()) -> None:
    """Assert by batch means (waits in a row are correlated) that `expected_s` fits and `others_s` do not."""
    means = waits[len(waits) // 20 :][: BATCHES * (len(waits) * 19 // 20 // BATCHES)].reshape(BATCHES, -1)
    means = means.mean(axis=1)
    half_width = stats.t.ppf((1 + CONFIDENCE) / 2, BATCHES - 1) * means.std(ddof=1) / sqrt(BATCHES)
    assert half_width < 0.1 * expected_s
    assert abs(means.mean() - expected_s) < half_width, (means.mean(), expected_s, half_width)
    for other_s in others_s:
        assert abs(means.mean() - other_s) > 3 * half_width


def erlang_c_wait_s(load: float, slots: int) -> float:
    """Return the mean wait in M/M/c with services of 1 s on average and `load` arrivals per second."""
    last = load**slots / factorial(slots) * slots / (slots - load)
    waiting = last / (sum(load**k / factorial(k) for k in range(slots)) + last)
    return waiting / (slots - load)


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_server_is_an_mmc_queue(slots: int) -> None:
    """Poisson arrivals of exponential work at 70 % load wait as Erlang's C formula says, on c slots alone."""
    load = 0.7 * slots
    others = tuple(erlang_c_wait_s(load, other) for other in (slots - 1, slots + 1) if load < other)
    waits = waits_s(slots, 100_000, load, slots, "M")
    assert_mean_wait(waits, erlang_c_wait_s(load, slots), others)


def test_server_is_an_md1_queue() -> None:
    """Poisson arrivals of constant work: the wait of Pollaczek and Khinchine, half that of M/M/1."""
    load = 0.7
    assert_mean_wait(waits_s(11, 100_000, load, 1, "D"), load / (2 * (1 - load)), (erlang_c_wait_s(load, 1),))


def test_share_that_waits() -> None:
    """The chance to wait at all on two slots at load 1 is Erlang C: 1/3; no job overtakes another."""
    waits = waits_s(5, 60_000, 1.0, 2, "M")
    waited = (waits > 0).reshape(BATCHES, -1).mean(axis=1)
    half_width = stats.t.ppf((1 + CONFIDENCE) / 2, BATCHES - 1) * waited.std(ddof=1) / sqrt(BATCHES)
    assert half_width < 0.02
    assert abs(waited.mean() - 1 / 3) < half_width


def test_exclusive_jobs_are_served_by_one_slot_at_a_time() -> None:
    """Four slots and one server model: M/M/1 at 60 % load, whatever the slots; and in order of arrival."""
    rng = np.random.default_rng(3)
    env, recorder = Environment(), Recorder()
    server = Server(env, recorder, rate=1.0, slots=4)

    def arrivals() -> Protocol:
        for number in range(60_000):
            yield Timeout(env, rng.exponential(1 / 0.6))
            server.serve(rng.exponential(), round=number, exclusive="model")

    env.process(arrivals())
    env.run()
    served = [span for span in recorder.spans if span.activity == "serve"]
    assert [span.round for span in served] == list(range(60_000))
    assert all(before.end_s <= after.start_s for before, after in pairwise(served))
    waits = np.zeros(60_000)
    for span in recorder.spans:
        if span.activity == "queue":
            waits[span.round] = span.end_s - span.start_s
    assert_mean_wait(waits, erlang_c_wait_s(0.6, 1))
