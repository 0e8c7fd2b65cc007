"""The kinds of distribution without an upper bound, each with an optional cap.

A draw above `cap` becomes `cap`: P(X = cap) is the probability of the uncapped law above it, and
below it nothing changes. The declared moments are those with the cap.
"""

# ruff: noqa: D102 -- UnboundedDistribution documents moments and draws for all kinds
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sflsim.fleet.distributions.amounts import AmountOf
from sflsim.fleet.distributions.base import DistributionConfig, Draws
from sflsim.mistakes import mistake_at

AboveZero = Annotated[float, AmountOf()]
ZeroOrMore = Annotated[float, AmountOf(positive=False)]
Shape = Annotated[float, Field(strict=True, ge=0.1, le=1000)]  # beyond, draws leave the floats' range
Sigma = Annotated[float, Field(strict=True, ge=0, le=10)]
Cap = Annotated[AboveZero | None, Field(description="largest value of a draw; default: no cap")]
Moments = tuple[float, float]
"""Mean and variance."""


class UnboundedDistribution(DistributionConfig):
    """Base of the kinds without an upper bound: a kind adds its amounts, `cap` last, and its law."""

    lower_bound: ClassVar[str] = ""
    """The key of the amount that is the smallest possible draw; empty: it is 0."""
    if TYPE_CHECKING:  # each kind declares it, so that it comes after the kind's own amounts
        cap: float | None

    def moments(self, cap: float) -> Moments:
        """Return mean and variance of min(X, cap) under the law; `cap` may be inf."""
        raise NotImplementedError

    def draws(self, rng: np.random.Generator, n: int) -> Draws:
        """Return `n` independent draws of the law, shape (n,)."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _cap_fits(self) -> Self:
        key = self.lower_bound
        if key and self.cap is not None and self.cap < getattr(self, key):
            allowed = f"at least {key}, which is {getattr(self, key)}"
            raise mistake_at("cap", f"is below {key}", repr(str(self.cap)), allowed)
        return self

    @property
    def mean(self) -> float:
        """The expected value of a draw, with the cap."""
        return self.moments(math.inf if self.cap is None else float(self.cap))[0]

    @property
    def variance(self) -> float:
        """The variance of a draw, with the cap."""
        return self.moments(math.inf if self.cap is None else float(self.cap))[1]

    @property
    def can_be_zero(self) -> bool:
        """Whether all draws are zero; a cap is above zero, so it does not matter."""
        return self.moments(math.inf)[0] == 0

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        """Return `n` independent draws, none above the cap."""
        draws = self.draws(rng, n)
        return draws if self.cap is None else np.minimum(draws, self.cap)


class Exponential(UnboundedDistribution):
    """Memoryless with the given mean: the slowdown of the MU-SplitFed paper."""

    kind: Literal["exponential"] = "exponential"
    mean_value: ZeroOrMore = Field(alias="mean")
    cap: Cap = None

    def moments(self, cap: float) -> Moments:
        return _gamma_moments(1.0, float(self.mean_value), cap)

    def draws(self, rng: np.random.Generator, n: int) -> Draws:
        return rng.exponential(self.mean_value, n)


class ShiftedExponential(UnboundedDistribution):
    """`shift` plus an exponential part; the key `mean` is the mean of that part alone, without a cap."""

    lower_bound: ClassVar[str] = "shift"
    kind: Literal["shifted-exponential"] = "shifted-exponential"
    shift: ZeroOrMore
    mean_value: ZeroOrMore = Field(alias="mean")
    cap: Cap = None

    def moments(self, cap: float) -> Moments:
        mean, variance = _gamma_moments(1.0, float(self.mean_value), cap - self.shift)
        return self.shift + mean, variance

    def draws(self, rng: np.random.Generator, n: int) -> Draws:
        return self.shift + rng.exponential(self.mean_value, n)


class Lognormal(UnboundedDistribution):
    """exp(normal): `sigma` is the standard deviation of the logarithm."""

    kind: Literal["lognormal"] = "lognormal"
    median: AboveZero
    sigma: Sigma
    cap: Cap = None

    def moments(self, cap: float) -> Moments:
        square = self.sigma * self.sigma
        if math.isinf(cap):
            variance = self.median * self.median * math.expm1(square) * math.exp(square)
            return self.median * math.exp(square / 2), variance
        if not self.sigma:
            return min(float(self.median), cap), 0.0
        from scipy.special import ndtr

        log = math.log(cap / self.median)
        above = float(ndtr(-log / self.sigma))
        first, second = (
            math.exp(power * (power * square / 2 - log)) * float(ndtr((log - power * square) / self.sigma))
            for power in (1, 2)
        )
        return _of_capped(cap, first + above, second + above)

    def draws(self, rng: np.random.Generator, n: int) -> Draws:
        return self.median * rng.lognormal(0.0, self.sigma, n)


class Pareto(UnboundedDistribution):
    """Heavy tail: P(X > x) = (scale / x) ^ shape above `scale`; draws beyond `cap` become `cap`."""

    lower_bound: ClassVar[str] = "scale"
    kind: Literal["pareto"] = "pareto"
    scale: AboveZero
    shape: Shape
    cap: Cap = None

    def moments(self, cap: float) -> Moments:
        mean = 1 + self._tail(1, cap)
        if math.isinf(cap) and self.shape > 2:  # (1 + tail 2) - mean^2 would cancel for a large shape
            variance = self.shape / ((self.shape - 1) ** 2 * (self.shape - 2))
        else:
            second = 1 + self._tail(2, cap)
            variance = math.inf if math.isinf(second) else max(second - mean * mean, 0.0)
        return self.scale * mean, self.scale * self.scale * variance

    def _tail(self, moment: int, cap: float) -> float:
        """Return E[X^m] / scale^m - 1, the integral of m y^(m - 1 - shape) dy from 1 to cap / scale."""
        power = moment - self.shape
        if math.isinf(cap):
            return math.inf if power >= 0 else -moment / power
        log = math.log(cap / self.scale)
        return moment * (log if power == 0 else float(np.expm1(power * log)) / power)

    def draws(self, rng: np.random.Generator, n: int) -> Draws:
        return self.scale * (1.0 + rng.pareto(self.shape, n))


class Weibull(UnboundedDistribution):
    """scale * E ^ (1 / shape) with E exponential: a shape below 1 has a heavy tail."""

    kind: Literal["weibull"] = "weibull"
    scale: AboveZero
    shape: Shape
    cap: Cap = None

    def moments(self, cap: float) -> Moments:
        first, second = (math.gamma(1 + power / self.shape) for power in (1, 2))
        if math.isinf(cap):
            return self.scale * first, self.scale * self.scale * (second - first * first)
        from scipy.special import gammainc

        ratio = cap / self.scale
        at_cap = math.exp(min(self.shape * math.log(ratio), 700.0))  # E there, within the floats' range
        above = math.exp(-at_cap)
        first *= float(gammainc(1 + 1 / self.shape, at_cap)) / ratio
        second *= float(gammainc(1 + 2 / self.shape, at_cap)) / (ratio * ratio)
        return _of_capped(cap, first + above, second + above)

    def draws(self, rng: np.random.Generator, n: int) -> Draws:
        return self.scale * rng.weibull(self.shape, n)


class Gamma(UnboundedDistribution):
    """Gamma with the given mean; `shape` 1 is exponential, a larger one more regular."""

    kind: Literal["gamma"] = "gamma"
    mean_value: ZeroOrMore = Field(alias="mean")
    shape: Shape
    cap: Cap = None

    def moments(self, cap: float) -> Moments:
        return _gamma_moments(self.shape, float(self.mean_value), cap)

    def draws(self, rng: np.random.Generator, n: int) -> Draws:
        return rng.gamma(self.shape, self.mean_value / self.shape, n)


def _gamma_moments(shape: float, mean: float, cap: float) -> Moments:
    """Return mean and variance of min(X, cap), X gamma with this shape and mean."""
    if math.isinf(cap) or not mean or not cap:
        return (mean, mean * mean / shape) if cap else (0.0, 0.0)
    from scipy.special import gammainc, gammaincc

    scaled = cap / mean * shape
    above = float(gammaincc(shape, scaled))
    first = shape / scaled * float(gammainc(shape + 1, scaled))
    second = shape / scaled * ((shape + 1) / scaled) * float(gammainc(shape + 2, scaled))
    return _of_capped(cap, first + above, second + above)


def _of_capped(cap: float, first: float, second: float) -> Moments:
    """Return mean and variance from the first two moments of min(X, cap) / cap."""
    return cap * first, cap * cap * max(second - first * first, 0.0)
