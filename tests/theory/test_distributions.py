"""Distributions and straggler streams against scipy.stats and closed forms.

Seeds are fixed, so a test passes always or never; the bounds are 4 standard errors.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import integrate, stats

from sflsim.fleet.distributions.bounded import Distribution, DistributionConfig
from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.streams import generator

N = 200_000

CASES: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "uniform", "low": "1 s", "high": "3 s"}, stats.uniform(1, 2)),
    ({"kind": "exponential", "mean": "2 s"}, stats.expon(scale=2)),
    ({"kind": "shifted-exponential", "shift": 0.5, "mean": 2}, stats.expon(loc=0.5, scale=2)),
    ({"kind": "lognormal", "median": "10 Mbit/s", "sigma": 0.5}, stats.lognorm(0.5, scale=1.25e6)),
    ({"kind": "pareto", "scale": 2, "shape": 5.5}, stats.pareto(5.5, scale=2)),
    ({"kind": "weibull", "scale": 2, "shape": 0.8}, stats.weibull_min(0.8, scale=2)),
    ({"kind": "gamma", "mean": "3 s", "shape": 2.5}, stats.gamma(2.5, scale=3 / 2.5)),
    (
        {"kind": "quantiles", "p0": "1 s", "p25": "2 s", "p50": "4 s", "p100": "9 s"},
        stats.rv_histogram((np.array([1, 1, 2]), np.array([1, 2, 4, 9])), density=False),
    ),
]


def distribution(fields: dict[str, Any]) -> DistributionConfig:
    return TypeAdapter(Distribution).validate_python(fields)


def draws(config: DistributionConfig) -> np.ndarray:
    return config.sample(generator("test", type(config).__name__), N)


@pytest.mark.parametrize(("fields", "oracle"), CASES, ids=[fields["kind"] for fields, _ in CASES])
def test_declared_moments_are_scipys(fields: dict[str, Any], oracle: Any) -> None:
    """Mean and variance equal those of the same distribution in scipy.stats."""
    config = distribution(fields)

    assert (oracle.mean(), oracle.var()) == pytest.approx((config.mean, config.variance), rel=1e-12)


@pytest.mark.parametrize(("fields", "oracle"), CASES, ids=[fields["kind"] for fields, _ in CASES])
def test_draws_follow_scipys_law(fields: dict[str, Any], oracle: Any) -> None:
    """A Kolmogorov-Smirnov test does not tell the draws from scipy's distribution."""
    assert stats.kstest(draws(distribution(fields)), oracle.cdf).pvalue > 1e-3


@pytest.mark.parametrize("fields", [fields for fields, _ in CASES], ids=lambda fields: fields["kind"])
def test_sampled_moments_are_the_declared_ones(fields: dict[str, Any]) -> None:
    """Mean and variance of 200,000 draws lie within 4 standard errors of the declared ones."""
    config = distribution(fields)
    x = draws(config)
    fourth = float(np.mean((x - x.mean()) ** 4))

    assert abs(x.mean() - config.mean) < 4 * math.sqrt(config.variance / N)
    assert abs(x.var() - config.variance) < 4 * math.sqrt((fourth - x.var() ** 2) / N)


@pytest.mark.parametrize("shape", [0.5, 1.0, 1.000001, 1.5, 2.0, 3.0])
def test_capped_pareto_moments_are_the_integrals(shape: float) -> None:
    """Capped at 20, mean and variance equal the integrals of min(x, cap) over scipy's density."""
    config = distribution({"kind": "pareto", "scale": 2, "shape": shape, "cap": 20})
    law = stats.pareto(shape, scale=2)
    first, second = (
        integrate.quad(lambda x, m=m: x**m * law.pdf(x), 2, 20)[0] + 20**m * law.sf(20) for m in (1, 2)
    )
    x = draws(config)

    assert (first, second - first**2) == pytest.approx((config.mean, config.variance), rel=1e-6)
    assert x.max() == 20
    assert abs(x.mean() - first) < 4 * math.sqrt(config.variance / N)


TAILED = [case for case in CASES if case[0]["kind"] not in ("uniform", "quantiles")]


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize(("fields", "oracle"), TAILED, ids=[fields["kind"] for fields, _ in TAILED])
def test_any_tail_can_be_capped(fields: dict[str, Any], oracle: Any, share: float) -> None:
    """At any quantile: draws are the law's, cut down to the cap; moments are the integrals of min(x, cap)."""
    cap = float(oracle.ppf(share))
    unit = {"s": " s", "byte/s": " byte/s", "": ""}[distribution(fields).unit]
    config = distribution(fields | {"cap": f"{cap!r}{unit}"})
    x = draws(config)

    assert np.array_equal(x, np.minimum(draws(distribution(fields)), cap))
    assert abs((x == cap).mean() - (1 - share)) < 4 * math.sqrt(share * (1 - share) / N)
    first, second = (powers_of_capped(oracle, cap, power) for power in (1, 2))
    assert (config.mean, config.variance) == pytest.approx((first, second - first**2), rel=1e-7)
    assert abs(x.mean() - config.mean) < 4 * math.sqrt(config.variance / N)
    fourth = float(np.mean((x - x.mean()) ** 4))
    assert abs(x.var() - config.variance) < 4 * math.sqrt((fourth - x.var() ** 2) / N)


def powers_of_capped(law: Any, cap: float, power: int) -> float:
    """Return E[min(X, cap)^power], the integral of power x^(power - 1) P(X > x) up to the cap."""
    least = float(law.support()[0])  # below it P(X > x) is 1; above it, in steps of equal probability
    edges = [least, *law.ppf(np.linspace(0, law.cdf(cap), 20)[1:-1]), cap]
    pieces = (
        integrate.quad(lambda x: power * x ** (power - 1) * law.sf(x), low, high, epsrel=1e-10)[0]
        for low, high in pairwise(edges)
    )
    return least**power + sum(pieces)


def test_quantiles_between_are_linear_and_beyond_are_the_outermost() -> None:
    """By hand for p5, p50, p95 = 1, 3, 10 s: 5 % draw 1 s, 5 % draw 10 s, 90 % lie evenly between."""
    config = distribution({"kind": "quantiles", "p95": "10 s", "p5": "1 s", "p50": "3 s"})
    mean_s = 0.05 * 1 + 0.45 * 2 + 0.45 * 6.5 + 0.05 * 10
    second = 0.05 * 1 + 0.45 * (1 + 3 + 9) / 3 + 0.45 * (9 + 30 + 100) / 3 + 0.05 * 100
    x = draws(config)
    percents = np.array([5, 20, 50, 70, 95])
    expected_s = np.array([1, 1 + 2 * 15 / 45, 3, 3 + 7 * 20 / 45, 10])
    density = np.array([2 / 0.45, 2 / 0.45, 7 / 0.45, 7 / 0.45, 7 / 0.45])  # slope of the quantile function

    assert (config.mean, config.variance) == pytest.approx((mean_s, second - mean_s**2), rel=1e-12)
    assert abs(x.mean() - mean_s) < 4 * math.sqrt(config.variance / N)
    assert abs((x == 1).mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / N)
    assert abs((x == 10).mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / N)
    errors_s = 4 * density * np.sqrt(percents / 100 * (1 - percents / 100) / N)
    assert (np.abs(np.percentile(x, percents) - expected_s) <= errors_s).all()


def test_pareto_moments_are_infinite_where_they_are() -> None:
    """Without a cap the mean is infinite up to shape 1 and the variance up to shape 2."""
    moments = [
        (config.mean, config.variance)
        for config in (distribution({"kind": "pareto", "scale": 1, "shape": shape}) for shape in (1, 2, 3))
    ]

    assert moments == [(math.inf, math.inf), (2.0, math.inf), (1.5, 0.75)]


def test_constant_and_degenerate_ones_draw_their_mean() -> None:
    """A constant, a uniform of no width and a lognormal of sigma 0 draw the same value always."""
    for fields in (
        {"kind": "constant", "value": "2 s"},
        {"kind": "uniform", "low": 2, "high": 2},
        {"kind": "lognormal", "median": 2, "sigma": 0},
    ):
        config = distribution(fields)
        assert (config.mean, config.variance) == (2.0, 0.0)
        assert set(config.sample(generator("test"), 10).tolist()) == {2.0}


@pytest.mark.parametrize("redraw", ["round", "exchange"])
def test_slowest_of_n_exponential_stragglers_takes_harmonic_time(redraw: str) -> None:
    """The mean over rounds of the largest of n delays is mean x H_n within 4 standard errors."""
    n, mean_s, rounds = 8, 2.0, 4000
    straggler = {"kind": "exponential", "mean": f"{mean_s} s", "redraw": redraw}
    group = {"device": "raspberry-pi-4"}
    config = FleetConfig.model_validate({"clients": n, "groups": [group], "straggler": straggler})
    fleet = build_fleet(config, seed=3)
    slowdowns = [fleet.device(index).slowdown for index in range(n)]
    slowest_s = np.array([max(one.delay_s(number, 0) for one in slowdowns) for number in range(rounds)])
    error_s = math.sqrt(sum((mean_s / k) ** 2 for k in range(1, n + 1)) / rounds)

    assert abs(slowest_s.mean() - mean_s * sum(1 / k for k in range(1, n + 1))) < 4 * error_s


def test_delays_of_devices_and_rounds_are_independent() -> None:
    """No pair of devices, and no device with its own last round, shows a correlation."""
    rounds = 4000
    straggler = {"kind": "exponential", "mean": "2 s"}
    config = FleetConfig.model_validate(
        {"clients": 6, "groups": [{"device": "jetson-nano"}], "straggler": straggler}
    )
    fleet = build_fleet(config, seed=0)
    delays_s = np.array([[fleet.device(i).slowdown.delay_s(r) for r in range(rounds)] for i in range(6)])
    between = np.corrcoef(delays_s)[np.triu_indices(6, 1)]
    lagged = [np.corrcoef(row[1:], row[:-1])[0, 1] for row in delays_s]

    assert np.abs([*between, *lagged]).max() < 4 / math.sqrt(rounds)


def test_participation_is_uniform() -> None:
    """Over 4,000 rounds each of 10 devices takes part as often as 3 in 10 asks for (chi-squared)."""
    config = FleetConfig.model_validate(
        {
            "clients": 10,
            "groups": [{"share": 0.7, "device": "jetson-nano"}, {"share": 0.3, "device": "stm32h7"}],
        }
    )
    fleet = build_fleet(config, seed=1)
    counts = np.bincount([index for number in range(4000) for index in fleet.select(number, 3)], minlength=10)
    # without replacement the counts' covariance is that of a multinomial times (n - k) / (n - 1)
    statistic = float(((counts - 1200) ** 2 / 1200).sum() / (7 / 9))

    assert stats.chi2(9).sf(statistic) > 1e-3
