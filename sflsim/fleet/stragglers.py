"""Stragglers: the random slowdown of a device, beyond what its rates explain.

A slowdown is additive (seconds before the first compute of its scope) or multiplicative (a
factor on every compute time in it), and drawn once per client (a persistent straggler), per round
or per exchange, from a stream keyed by the device's name. Devices of a group may be slow together
(`correlation`), and a device may be slow for some rounds and normal for others (`spells`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sflsim.errors import Problem, ScenarioError
from sflsim.fleet.distributions.base import DistributionConfig, Draws, as_mapping, one_kind
from sflsim.mistakes import mistake, mistakes
from sflsim.streams import Stream

EXCHANGES = 4096  # numbers kept free per round for the exchanges in it

Redraw = Literal["client", "round", "exchange"]


MeanRounds = Annotated[float, Field(ge=1, le=1e6)]


class SpellsConfig(BaseModel):
    """A device is slow for `slow` rounds on average, then normal for `normal` rounds, and so on.

    A Markov chain over the rounds, stationary from round 0: the share of slow rounds is
    slow / (slow + normal). Mean spells must be at least as long as
    those of an i.i.d. process with the same slow fraction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slow: MeanRounds
    normal: MeanRounds

    @model_validator(mode="after")
    def _last(self) -> Self:
        if self.refresh > 1 + 1e-9:
            allowed = "spells of which 1 / slow + 1 / normal is at most 1, e.g. both at least 2"
            found = f"{self.slow:g}, with normal {self.normal:g}"
            error = mistake("is shorter than independent draws make it", found, allowed)
            raise mistakes([(("slow",), error)])
        return self

    @property
    def share(self) -> float:
        """The share of rounds in which a device is slow."""
        return self.slow / (self.slow + self.normal)

    @property
    def refresh(self) -> float:
        """The chance, each round, that the state is drawn anew from the stationary shares."""
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
    spells: SpellsConfig | None = Field(
        default=None, description="mean rounds of being slow (as drawn) and normal (no slowdown)"
    )

    def needed_unit(self) -> str:
        """Return the unit that the effect needs: seconds are added, a bare factor multiplies."""
        return "s" if self.effect == "additive" else ""


Straggler = Annotated[StragglerConfig, one_kind(StragglerConfig), BeforeValidator(as_mapping)]


def _uniform(rng: np.random.Generator, n: int) -> Draws:
    return rng.random(n)


class Shared:
    """Draws of one device of which a share is the group's: `self[i]` is draw number i.

    With probability sqrt(correlation) a device uses the group's draw, otherwise its own. The marginal
    distribution is unchanged, and the Pearson correlation between two devices is `correlation`
    (where the variance is finite).
    """

    __slots__ = ("_chance", "_coins", "_common", "_own")

    def __init__(self, own: Stream, common: Stream, coins: Stream, correlation: float) -> None:
        self._own = own
        self._common = common
        self._coins = coins
        self._chance = correlation**0.5

    def __getitem__(self, index: int) -> float:
        return self._common[index] if self._coins[index] < self._chance else self._own[index]


class Spells:
    """In which rounds one device is slow; equal questions get equal answers, in any order.

    A two-state chain with mean spells s and n keeps its state but for the chance 1/s + 1/n, with
    which it is drawn anew from the stationary shares: so its state is that of the last such round,
    found by looking back, with nothing kept and no chain run from round 0.
    """

    __slots__ = ("_refresh", "_refreshes", "_share", "_states")

    def __init__(self, config: SpellsConfig, seed: int, device_name: str) -> None:
        self._refresh = config.refresh
        self._share = config.share
        self._refreshes = Stream(_uniform, seed, "spells", device_name)
        self._states = Stream(_uniform, seed, "spells", device_name, "state")

    def slow(self, round: int) -> bool:
        """Return whether the device is slow in `round` (from 0)."""
        while round > 0 and self._refreshes[round] >= self._refresh:
            round -= 1
        return self._states[round] < self._share


class Slowdown:
    """The slowdowns of one device; equal questions get equal answers, in any order.

    Without a straggler every delay is 0 s and every factor 1.
    """

    __slots__ = ("_delays_s", "_factors", "_redraw", "_spells")

    def __init__(
        self,
        draws: Stream | Shared | None = None,
        additive: bool = True,
        redraw: Redraw = "round",
        spells: Spells | None = None,
    ) -> None:
        self._delays_s = draws if additive else None
        self._factors = None if additive else draws
        self._redraw = redraw
        self._spells = spells

    def delay_s(self, round: int, exchange: int = 0) -> float:
        """Return the seconds before the first compute of exchange `exchange` (from 0) of `round`.

        A delay drawn per client or per round falls on the round's exchange 0 alone.
        """
        if self._delays_s is None or (exchange and self._redraw != "exchange"):
            return 0.0
        if self._spells is not None and not self._spells.slow(round):
            return 0.0
        return self._delays_s[self._number(round, exchange)]

    def factor(self, round: int, exchange: int = 0) -> float:
        """Return the factor on compute times in exchange `exchange` of `round`."""
        if self._factors is None or (self._spells is not None and not self._spells.slow(round)):
            return 1.0
        return self._factors[self._number(round, exchange)]

    def _number(self, round: int, exchange: int) -> int:
        if self._redraw == "round":
            return round
        if self._redraw == "client":
            return 0
        if exchange >= EXCHANGES:
            raise ScenarioError(
                Problem(
                    "fleet.straggler.redraw",
                    f"exchange number {exchange} in one round",
                    f"up to {EXCHANGES} exchanges in a round where the straggler is redrawn for each",
                    "use 'redraw: round'",
                )
            )
        return round * EXCHANGES + exchange


NO_SLOWDOWN = Slowdown()


def slowdowns(config: StragglerConfig | None, seed: int, device_name: str, group_name: str = "") -> Slowdown:
    """Return the slowdowns of one device of a group under the scenario seed `seed`."""
    if config is None:
        return NO_SLOWDOWN
    draws = _draws(config, seed, device_name, group_name)
    spells = None if config.spells is None else Spells(config.spells, seed, device_name)
    return Slowdown(draws, config.effect == "additive", config.redraw, spells)


def _draws(config: StragglerConfig, seed: int, device_name: str, group_name: str) -> Stream | Shared:
    own = Stream(config.sample, seed, "straggler", device_name)
    if config.correlation == 0:
        return own
    common = Stream(config.sample, seed, "straggler of group", group_name)
    coins = Stream(_uniform, seed, "straggler shared", device_name)
    return Shared(own, common, coins, config.correlation)
