"""The processor-sharing server against closed forms: M/M/1-PS and M/G/1-PS, and two slots as M/M/2-PS.

Each test asserts that the theoretical mean lies in a confidence interval of 99 % by batch means.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from sflsim.clock.engine import Environment, Protocol, Timeout
from sflsim.clock.processor_sharing import ProcessorSharingServer
from sflsim.clock.spans import Recorder

JOBS, BATCHES = 60_000, 32


def stays_s(gaps_s: np.ndarray, works_s: np.ndarray, slots: int) -> np.ndarray:
    """Return how long each job was served by a processor-sharing server of `slots` slots."""
    env, recorder = Environment(), Recorder()
    server = ProcessorSharingServer(env, recorder, rate=4.0, slots=slots)

    def arrivals() -> Protocol:
        for number, (gap_s, work_s) in enumerate(zip(gaps_s.tolist(), works_s.tolist(), strict=True)):
            yield Timeout(env, gap_s)
            server.serve(4.0 * work_s, round=number)

    env.process(arrivals())
    env.run()
    stays = np.full(len(works_s), np.nan)
    for span in recorder.spans:
        stays[span.round] = span.end_s - span.start_s
    return stays


def interval(samples: np.ndarray) -> tuple[float, float]:
    """Return mean and half width of the 99 % interval, by means of batches."""
    means = samples[: len(samples) // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    return float(means.mean()), float(stats.t.ppf(0.995, BATCHES - 1) * means.std(ddof=1) / sqrt(BATCHES))


LAWS = {
    "exponential": lambda rng: rng.exponential(1.0, JOBS),
    "constant": lambda rng: np.ones(JOBS),
    "hyperexponential": lambda rng: rng.exponential(np.where(rng.random(JOBS) < 0.1, 5.5, 0.5)),
}


@pytest.mark.parametrize("law", list(LAWS))
def test_mean_stay_does_not_depend_on_the_law_of_work(law: str) -> None:
    """M/G/1-PS at load 0.6: 1 / (1 - rho), whatever the law; first come, first served, it would."""
    rng = np.random.default_rng(7)
    stays = stays_s(rng.exponential(1 / 0.6, JOBS), LAWS[law](rng), 1)
    mean_s, half_width_s = interval(stays)
    assert half_width_s < 0.1 * 2.5
    assert abs(mean_s - 2.5) < half_width_s


def test_stay_is_proportional_to_work() -> None:
    """M/M/1-PS: a job of x seconds stays x / (1 - rho) on average, small and large alike."""
    rng = np.random.default_rng(5)
    works = rng.exponential(1.0, JOBS)
    stays = stays_s(rng.exponential(1 / 0.5, JOBS), works, 1)
    for low, high in ((0.0, 0.5), (0.5, 1.5), (1.5, np.inf)):
        own = (works >= low) & (works < high)
        mean_s, half_width_s = interval(stays[own] - 2.0 * works[own])
        assert half_width_s < 0.1 * 2.0 * works[own].mean()
        assert abs(mean_s) < half_width_s


def test_two_slots_are_an_mm2_queue() -> None:
    """M/M/2-PS has the same number of jobs as M/M/2: stay 1 / (1 - (rho/2)^2) at arrivals rho per second."""
    rng, load = np.random.default_rng(11), 1.2
    mean_s, half_width_s = interval(stays_s(rng.exponential(1 / load, JOBS), rng.exponential(1.0, JOBS), 2))
    expected_s = 1 / (1 - (load / 2) ** 2)
    assert half_width_s < 0.1 * expected_s
    assert abs(mean_s - expected_s) < half_width_s
