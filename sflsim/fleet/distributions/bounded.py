"""The kinds of random distribution that come with sflsim (`kind: exponential`, ...).

Each declares its mean and variance and draws whole blocks with numpy. The bounded kinds are defined
here; `unbounded`, `empirical` and `quantiles` define the others.
"""

# ruff: noqa: D102 -- DistributionConfig documents mean, variance and sample for all kinds
from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from sflsim.fleet.distributions.base import Distribution, DistributionConfig, Draws
from sflsim.fleet.distributions.empirical import Empirical
from sflsim.fleet.distributions.quantiles import Quantiles
from sflsim.fleet.distributions.unbounded import (
    Exponential,
    Gamma,
    Lognormal,
    Pareto,
    ShiftedExponential,
    Weibull,
    ZeroOrMore,
)
from sflsim.mistakes import mistake_at

__all__ = [
    "Constant", "Distribution", "DistributionConfig", "Draws", "Empirical", "Exponential", "Gamma",
    "Lognormal", "Pareto", "Quantiles", "ShiftedExponential", "Uniform", "Weibull",
]  # fmt: skip


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
    """Uniform between `low` and `high`."""

    kind: Literal["uniform"] = "uniform"
    low: ZeroOrMore
    high: ZeroOrMore

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            allowed = f"at least low, which is {self.low}"
            raise mistake_at("high", "is below low", repr(str(self.high)), allowed)
        return self

    @property
    def mean(self) -> float:
        return self.low + (self.high - self.low) / 2

    @property
    def variance(self) -> float:
        return (self.high - self.low) * (self.high - self.low) / 12

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        return rng.uniform(self.low, self.high, n)
