"""Stragglers: the random slowdown of a device, beyond what its rates explain.

A slowdown is additive (seconds before the first compute of its scope) or multiplicative (a
factor on every compute time in it), and drawn once per client (a persistent straggler), per round
or per exchange, from a stream keyed by the device's name. Devices of a group may be slow together
(`correlation`), and slow rounds may come in bursts (`bursts`: Markov-modulated straggling).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sflsim.errors import refused
from sflsim.fleet.distributions.base import DistributionConfig, Draws, as_mapping, one_kind
from sflsim.mistakes import mistake, mistakes
from sflsim.streams import Stream

MAX_EXCHANGES = 4096  # per round; each round has as many draw indices

Redraw = Literal["client", "round", "exchange"]


MeanRounds = Annotated[float, Field(ge=1, le=1e6)]


class BurstsConfig(BaseModel):
    """A device is slow for `slow` rounds on average, then normal for `normal` rounds, and so on.

    A two-state Markov chain over the rounds, stationary from round 0: the fraction of slow rounds
    is slow / (slow + normal). Mean burst lengths must be at least those of an i.i.d. process with
    the same slow fraction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slow: MeanRounds
    normal: MeanRounds

    @model_validator(mode="after")
    def _at_least_independent(self) -> Self:
        if self.redraw_probability > 1 + 1e-9:
            allowed = "lengths with 1 / slow + 1 / normal at most 1, e.g. both at least 2"
            found = f"{self.slow:g}, with normal {self.normal:g}"
            error = mistake("is shorter than in independent draws", found, allowed)
            raise mistakes([(("slow",), error)])
        return self

    @property
    def slow_fraction(self) -> float:
        """The fraction of rounds in which a device is slow."""
        return self.slow / (self.slow + self.normal)

    @property
    def redraw_probability(self) -> float:
        """The probability, in each round, that the state is redrawn from the stationary distribution."""
        return 1 / self.slow + 1 / self.normal


class StragglerConfig(DistributionConfig):
    """A distribution of slowdowns, what they do and how long one draw holds.

    The unit must be time where the effect is additive and none where it is multiplicative.
    """

    effect: Literal["additive", "multiplicative"] = "additive"
    redraw: Redraw = Field(default="round", description="'client': persistent, a slow device stays slow")
    correlation: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="of the slowdowns of any two devices of a group"
    )
    bursts: BurstsConfig | None = Field(
        default=None, description="mean number of consecutive rounds that are slow (as drawn) and normal"
    )

    def needed_unit(self) -> str:
        """Return the unit that the effect needs: seconds if additive, none if multiplicative."""
        return "s" if self.effect == "additive" else ""


Straggler = Annotated[StragglerConfig, one_kind(StragglerConfig), BeforeValidator(as_mapping)]


def _uniform(rng: np.random.Generator, n: int) -> Draws:
    return rng.random(n)


class CorrelatedDraws:
    """Draws of one device, correlated with those of its group: `self[i]` is draw i.

    With probability sqrt(correlation) a device uses the group's draw, otherwise its own. The marginal
    distribution is unchanged, and the Pearson correlation between two devices is `correlation`
    (where the variance is finite).
    """

    __slots__ = ("_coins", "_device", "_group", "_probability")

    def __init__(self, device: Stream, group: Stream, coins: Stream, correlation: float) -> None:
        self._device = device
        self._group = group
        self._coins = coins
        self._probability = correlation**0.5

    @property
    def mean(self) -> float:
        """The expected value of a draw."""
        return self._device.mean

    def __getitem__(self, index: int) -> float:
        return self._group[index] if self._coins[index] < self._probability else self._device[index]


class Bursts:
    """In which rounds one device is slow; rounds may be queried in any order.

    A two-state chain with mean burst lengths s and n is equivalent to one that redraws its state from
    the stationary distribution with probability 1/s + 1/n and otherwise keeps it. Its state is that of
    the last redraw, found by looking back from the round; no chain is run from round 0.
    """

    __slots__ = ("_redraw_probability", "_redraws", "_slow_fraction", "_states")

    def __init__(self, config: BurstsConfig, seed: int, device_name: str) -> None:
        self._redraw_probability = config.redraw_probability
        self._slow_fraction = config.slow_fraction
        self._redraws = Stream(_uniform, seed, "spells", device_name)  # a stream's key never changes
        self._states = Stream(_uniform, seed, "spells", device_name, "state")

    @property
    def slow_fraction(self) -> float:
        """The fraction of rounds in which the device is slow."""
        return self._slow_fraction

    def is_slow(self, round: int) -> bool:
        """Return whether the device is slow in `round` (from 0)."""
        while round > 0 and self._redraws[round] >= self._redraw_probability:
            round -= 1
        return self._states[round] < self._slow_fraction


class Slowdown:
    """The slowdowns of one device; rounds and exchanges may be queried in any order.

    Without a straggler every delay is 0 s and every factor 1.
    """

    __slots__ = ("_bursts", "_delays_s", "_factors", "_redraw")

    def __init__(
        self,
        draws: Stream | CorrelatedDraws | None = None,
        additive: bool = True,
        redraw: Redraw = "round",
        bursts: Bursts | None = None,
    ) -> None:
        self._delays_s = draws if additive else None
        self._factors = None if additive else draws
        self._redraw = redraw
        self._bursts = bursts

    def in_the_mean(self) -> Slowdown:
        """Return the slowdown whose every draw is the mean, over all devices and rounds."""
        draws, normal = self._delays_s, 0.0
        if draws is None:
            draws, normal = self._factors, 1.0
        if draws is None:
            return self
        slow = 1.0 if self._bursts is None else self._bursts.slow_fraction
        mean = slow * draws.mean + (1.0 - slow) * normal
        always = Stream(lambda rng, n: np.full(n, mean), "mean", mean=lambda: mean)
        return Slowdown(always, self._factors is None, self._redraw)

    def delay_s(self, round: int, exchange: int = 0) -> float:
        """Return the seconds before the first compute of exchange `exchange` (from 0) of `round`.

        A delay drawn per client or per round falls on the round's exchange 0 alone.
        """
        if self._delays_s is None or (exchange and self._redraw != "exchange"):
            return 0.0
        if self._bursts is not None and not self._bursts.is_slow(round):
            return 0.0
        return self._delays_s[self._draw_index(round, exchange)]

    def factor(self, round: int, exchange: int = 0) -> float:
        """Return the factor on compute times in exchange `exchange` of `round`."""
        if self._factors is None or (self._bursts is not None and not self._bursts.is_slow(round)):
            return 1.0
        return self._factors[self._draw_index(round, exchange)]

    def _draw_index(self, round: int, exchange: int) -> int:
        if self._redraw == "round":
            return round
        if self._redraw == "client":
            return 0
        if exchange >= MAX_EXCHANGES:
            raise refused(
                "fleet.straggler.redraw",
                f"exchange {exchange} of one round",
                f"up to {MAX_EXCHANGES} exchanges per round with redraw: exchange",
                "use 'redraw: round'",
            )
        return round * MAX_EXCHANGES + exchange


NO_SLOWDOWN = Slowdown()


def slowdowns(config: StragglerConfig | None, seed: int, device_name: str, group_name: str = "") -> Slowdown:
    """Return the slowdowns of one device of a group under the scenario seed `seed`."""
    if config is None:
        return NO_SLOWDOWN
    draws = _draws(config, seed, device_name, group_name)
    bursts = None if config.bursts is None else Bursts(config.bursts, seed, device_name)
    return Slowdown(draws, config.effect == "additive", config.redraw, bursts)


def _draws(config: StragglerConfig, seed: int, device_name: str, group_name: str) -> Stream | CorrelatedDraws:
    device = Stream(config.sample, seed, "straggler", device_name, mean=lambda: config.mean)
    if config.correlation == 0:
        return device
    group = Stream(config.sample, seed, "straggler of group", group_name)
    coins = Stream(_uniform, seed, "straggler shared", device_name)
    return CorrelatedDraws(device, group, coins, config.correlation)
