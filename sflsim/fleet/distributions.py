"""The kinds of random distribution that come with sflsim (`kind: exponential`, ...).

Each declares its mean and variance and draws whole blocks with numpy; scipy.stats is the tests'
oracle and is not needed at run time. Imports the distributions' base and amounts.
"""

# ruff: noqa: D102 -- DistributionConfig documents mean, variance and sample for all kinds
from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sflsim.fleet.amounts import AmountOf
from sflsim.fleet.distribution import Distribution, DistributionConfig, Draws
from sflsim.fleet.empirical import Empirical
from sflsim.fleet.mistakes import mistake, mistakes

__all__ = [
    "Constant", "Distribution", "DistributionConfig", "Draws", "Empirical", "Exponential", "Gamma",
    "Lognormal", "Pareto", "ShiftedExponential", "Uniform", "Weibull",
]  # fmt: skip

AboveZero = Annotated[float, AmountOf()]
ZeroOrMore = Annotated[float, AmountOf(positive=False)]
Shape = Annotated[float, Field(strict=True, ge=0.1, le=1000)]  # beyond, draws leave the floats' range
Sigma = Annotated[float, Field(strict=True, ge=0, le=10)]


class Constant(DistributionConfig):
    """Always `value`."""

    kind: Literal["constant"] = "constant"
    value: ZeroOrMore

    @property
    def mean(self) -> float:
        return float(self.value)

    @property
    def variance(self) -> float:
        return 0.0

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return np.full(n, float(self.value))


class Uniform(DistributionConfig):
    """Anywhere between `low` and `high`, all equally likely."""

    kind: Literal["uniform"] = "uniform"
    low: ZeroOrMore
    high: ZeroOrMore

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise mistakes([(("high",), _below("low", self.low, self.high))])
        return self

    @property
    def mean(self) -> float:
        return self.low + (self.high - self.low) / 2

    @property
    def variance(self) -> float:
        return (self.high - self.low) * (self.high - self.low) / 12

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return rng.uniform(self.low, self.high, n)


class Exponential(DistributionConfig):
    """Memoryless with the given mean: the slowdown of the MU-SplitFed paper."""

    kind: Literal["exponential"] = "exponential"
    scale: ZeroOrMore = Field(alias="mean")

    @property
    def mean(self) -> float:
        return float(self.scale)

    @property
    def variance(self) -> float:
        return self.scale * self.scale

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return rng.exponential(self.scale, n)


class ShiftedExponential(DistributionConfig):
    """`shift` plus an exponential part; the key `mean` is the mean of that part alone."""

    kind: Literal["shifted-exponential"] = "shifted-exponential"
    shift: ZeroOrMore
    scale: ZeroOrMore = Field(alias="mean")

    @property
    def mean(self) -> float:
        return self.shift + self.scale

    @property
    def variance(self) -> float:
        return self.scale * self.scale

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return self.shift + rng.exponential(self.scale, n)


class Lognormal(DistributionConfig):
    """exp(normal): `sigma` is the standard deviation of the logarithm."""

    kind: Literal["lognormal"] = "lognormal"
    median: AboveZero
    sigma: Sigma

    @property
    def mean(self) -> float:
        return self.median * math.exp(self.sigma * self.sigma / 2)

    @property
    def variance(self) -> float:
        square = self.sigma * self.sigma
        return self.median * self.median * math.expm1(square) * math.exp(square)

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return self.median * rng.lognormal(0.0, self.sigma, n)


class Pareto(DistributionConfig):
    """Heavy tail: P(X > x) = (scale / x) ^ shape above `scale`; draws beyond `cap` become `cap`."""

    kind: Literal["pareto"] = "pareto"
    scale: AboveZero
    shape: Shape
    cap: AboveZero | None = None

    @model_validator(mode="after")
    def _cap_above_scale(self) -> Self:
        if self.cap is not None and self.cap < self.scale:
            raise mistakes([(("cap",), _below("scale", self.scale, self.cap))])
        return self

    @property
    def mean(self) -> float:
        return self.scale + self.scale * self._tail(1)

    @property
    def variance(self) -> float:
        if self.shape <= 2 and self.cap is None:
            return math.inf
        if self.cap is None:  # (1 + tail 2) - mean^2 would cancel for a large shape
            return self.scale * self.scale * self.shape / ((self.shape - 1) ** 2 * (self.shape - 2))
        relative_mean = 1 + self._tail(1)
        return max(self.scale * self.scale * (1 + self._tail(2) - relative_mean * relative_mean), 0.0)

    def _tail(self, moment: int) -> float:
        """Return E[X^m] / scale^m - 1, the integral of m y^(m - 1 - shape) dy from 1 to cap / scale."""
        power = moment - self.shape
        if self.cap is None:
            return math.inf if power >= 0 else -moment / power
        log = math.log(self.cap / self.scale)
        return moment * (log if power == 0 else float(np.expm1(power * log)) / power)

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        draws = self.scale * (1.0 + rng.pareto(self.shape, n))
        return draws if self.cap is None else np.minimum(draws, self.cap)


class Weibull(DistributionConfig):
    """scale * E ^ (1 / shape) with E exponential: a shape below 1 has a heavy tail."""

    kind: Literal["weibull"] = "weibull"
    scale: AboveZero
    shape: Shape

    @property
    def mean(self) -> float:
        return self.scale * math.gamma(1 + 1 / self.shape)

    @property
    def variance(self) -> float:
        mean = math.gamma(1 + 1 / self.shape)
        return self.scale * self.scale * (math.gamma(1 + 2 / self.shape) - mean * mean)

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return self.scale * rng.weibull(self.shape, n)


class Gamma(DistributionConfig):
    """Gamma with the given mean; `shape` 1 is exponential, a larger one more regular."""

    kind: Literal["gamma"] = "gamma"
    expected: ZeroOrMore = Field(alias="mean")
    shape: Shape

    @property
    def mean(self) -> float:
        return float(self.expected)

    @property
    def variance(self) -> float:
        return self.expected * self.expected / self.shape

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return rng.gamma(self.shape, self.expected / self.shape, n)


def _below(name: str, floor: float, found: float) -> PydanticCustomError:
    return mistake(f"is below {name}", repr(str(found)), f"at least {name}, which is {floor}")
