"""Stragglers that last or come together, against the chain and the copula they stand for.

All seeds are fixed; bounds are at four standard errors or a p-value of 1e-3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.fleet.stragglers import BurstsConfig, Slowdown, Straggler, slowdowns

STRAGGLER: TypeAdapter[Any] = TypeAdapter(Straggler)
LOGNORMAL = {"kind": "lognormal", "median": "1 s", "sigma": 0.6}


def slowdown(name: str, group: str = "phones", **fields: Any) -> Slowdown:
    """Return the slowdown of one device, lognormal unless told otherwise."""
    return slowdowns(STRAGGLER.validate_python(LOGNORMAL | fields), 7, name, group)


def delays_s(name: str, rounds: int, group: str = "phones", **fields: Any) -> np.ndarray:
    """Return a device's delays in rounds 0, 1, ..."""
    of_device = slowdown(name, group, **fields)
    return np.array([of_device.delay_s(round) for round in range(rounds)])


def lengths(slow: np.ndarray, state: bool) -> np.ndarray:
    """Return the lengths of the whole bursts of one state; the first and last may be cut, so are left out."""
    ends = np.flatnonzero(np.diff(slow.astype(int))) + 1
    bursts = np.split(slow, ends)[1:-1]
    return np.array([len(burst) for burst in bursts if burst[0] == state])


@pytest.mark.parametrize(("slow", "normal"), [(5, 20), (3, 1.5), (2, 2)])
def test_bursts_have_the_stated_lengths_and_shares(slow: float, normal: float) -> None:
    """Geometric bursts with the stated means; the stationary share holds in round 0 as in any other."""
    bursts = {"slow": slow, "normal": normal}
    states = np.array([delays_s(f"phone-{k}", 500, bursts=bursts) > 0 for k in range(40)])
    share = slow / (slow + normal)

    for state, mean in ((True, slow), (False, normal)):
        found = np.concatenate([lengths(row, state) for row in states])
        error = found.std() / len(found) ** 0.5
        cut = 0.03 * mean  # long bursts are more often cut off by the end of the window
        assert abs(found.mean() - mean) < 4 * error + cut
        stay = 1 - 1 / mean
        moved = states[:, 1:][states[:, :-1] == state]
        assert abs((moved == state).mean() - stay) < 4 * (stay * (1 - stay) / len(moved)) ** 0.5
    first = np.array([slowdown(f"tablet-{k}", bursts=bursts).delay_s(0) > 0 for k in range(500)])
    assert abs(first.mean() - share) < 4 * (share * (1 - share) / len(first)) ** 0.5


def test_bursts_do_not_depend_on_the_order_of_queries() -> None:
    """Backwards, alone and again: the state of a round is a function of device and round."""
    bursts = {"slow": 4, "normal": 10}
    forwards = delays_s("phone-0", 300, bursts=bursts)
    of_device = slowdown("phone-0", bursts=bursts)

    assert [of_device.delay_s(round) for round in reversed(range(300))] == forwards[::-1].tolist()
    assert slowdown("phone-0", bursts=bursts).delay_s(299) == forwards[299]
    assert not np.array_equal(forwards > 0, delays_s("phone-1", 300, bursts=bursts) > 0)


def test_what_is_drawn_in_a_slow_burst_is_the_stated_distribution() -> None:
    """Being slow chooses rounds, not sizes; a normal round has no delay and the factor 1."""
    drawn = delays_s("phone-0", 6000, bursts={"slow": 10, "normal": 10})
    assert stats.kstest(drawn[drawn > 0], stats.lognorm(0.6).cdf).pvalue > 1e-3
    factors = slowdown("p", median=3.0, effect="multiplicative", bursts={"slow": 2, "normal": 50})
    assert np.mean([factors.factor(round) == 1.0 for round in range(500)]) > 0.9


@pytest.mark.parametrize("bursts", [{"slow": 1, "normal": 3}, {"slow": 0.5, "normal": 3}, {"slow": 5}])
def test_bursts_that_cannot_be_are_refused(bursts: dict[str, float]) -> None:
    """Shorter than independent draws, shorter than a round, or half given."""
    with pytest.raises(ValidationError):
        BurstsConfig.model_validate(bursts)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8, 1.0])
def test_devices_of_a_group_are_correlated_as_stated(correlation: float) -> None:
    """Every device keeps the stated distribution; pairs have the stated Pearson correlation."""
    delays = np.array([delays_s(f"phone-{k}", 8000, correlation=correlation) for k in range(2)])

    for row in delays:
        assert stats.kstest(row, stats.lognorm(0.6).cdf).pvalue > 1e-3
    centred = delays - np.exp(0.18)
    products = centred[0] * centred[1] / (np.expm1(0.36) * np.exp(0.36))
    assert abs(products.mean() - correlation) < 4 * products.std() / len(products) ** 0.5


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.81, 1.0])
def test_the_slowest_of_a_correlated_group_takes_the_time_of_the_distinct_draws(correlation: float) -> None:
    """Of n devices K draw the common one, K binomial of sqrt(correlation): n - K + [K > 0] draws differ.

    Exponential delays: the slowest takes mean x H of that number, on average over K.
    """
    n, rounds = 6, 4000
    fields = {"kind": "exponential", "mean": "2 s", "correlation": correlation}
    ours = [slowdowns(STRAGGLER.validate_python(fields), 3, f"phone-{k}", "phones") for k in range(n)]
    slowest_s = np.array([max(one.delay_s(round) for one in ours) for round in range(rounds)])
    common = np.arange(n + 1)
    distinct = n - common + (common > 0)
    harmonic = np.array([sum(1 / k for k in range(1, number + 1)) for number in distinct])
    mean_s = 2 * float(stats.binom(n, correlation**0.5).pmf(common) @ harmonic)

    assert abs(slowest_s.mean() - mean_s) < 4 * slowest_s.std() / rounds**0.5


def test_the_slowest_of_devices_in_bursts_is_that_of_the_slow_ones() -> None:
    """K of n are slow, K binomial of the share; the slowest of K exponentials takes mean x H_K."""
    n, rounds, bursts = 6, 300, {"slow": 2, "normal": 6}
    fields = {"kind": "exponential", "mean": "2 s", "bursts": bursts}
    slowest_s = []
    for fleet in range(20):  # rounds of one fleet hang together, fleets do not
        names = [f"phone-{fleet}-{k}" for k in range(n)]
        ours = [slowdowns(STRAGGLER.validate_python(fields), 3, name, "phones") for name in names]
        slowest_s.append(np.mean([max(one.delay_s(round) for one in ours) for round in range(rounds)]))
    slow = np.arange(n + 1)
    harmonic = np.array([sum(1 / k for k in range(1, number + 1)) for number in slow])
    mean_s = 2 * float(stats.binom(n, 2 / 8).pmf(slow) @ harmonic)

    assert abs(np.mean(slowest_s) - mean_s) < 4 * np.std(slowest_s, ddof=1) / 20**0.5


def test_groups_are_independent_of_each_other() -> None:
    """The common part is the group's: devices of two groups have nothing in common."""
    one = delays_s("phone-0", 8000, correlation=1.0)
    same = delays_s("phone-1", 8000, correlation=1.0)
    other = delays_s("pi-0", 8000, group="pis", correlation=1.0)

    assert np.array_equal(one, same)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / 8000**0.5


def test_a_fleet_gives_each_group_its_own_common_part() -> None:
    """Through a scenario's fleet, with a persistent straggler: one draw per group, in all rounds."""
    straggler = LOGNORMAL | {"redraw": "client", "correlation": 1}
    groups = [{"device": "raspberry-pi-4", "count": 2}, {"device": "jetson-nano", "count": 2}]
    fleet = build_fleet(
        FleetConfig.model_validate({"clients": 4, "groups": groups, "straggler": straggler}), 0
    )
    first, second, third, fourth = (fleet.device(k).slowdown for k in range(4))

    assert first.delay_s(0) == second.delay_s(5) != third.delay_s(0) == fourth.delay_s(9)
