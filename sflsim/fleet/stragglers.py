"""Stragglers: the random slowdown of a device, beyond what its rates explain.

A slowdown is additive (seconds before the first compute of its scope) or multiplicative (a
factor on every compute time in it), and drawn once per client, per round or per exchange, from
a stream keyed by the device's name. Imports the distributions, streams and errors.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from sflsim.errors import Problem, ScenarioError
from sflsim.fleet.distribution import DistributionConfig, as_mapping, one_kind
from sflsim.streams import Stream

EXCHANGES = 4096  # numbers kept free per round for the exchanges in it

Redraw = Literal["client", "round", "exchange"]


class StragglerConfig(DistributionConfig):
    """A distribution of slowdowns, what they do and how long one draw holds.

    The unit must be time where the effect is additive and none where it is multiplicative.
    """

    effect: Literal["additive", "multiplicative"] = "additive"
    redraw: Redraw = "round"

    def needed_unit(self) -> str:
        """Return the unit that the effect needs: seconds are added, a bare factor multiplies."""
        return "s" if self.effect == "additive" else ""


Straggler = Annotated[StragglerConfig, one_kind(StragglerConfig), BeforeValidator(as_mapping)]


class Slowdown:
    """The slowdowns of one device; equal questions get equal answers, in any order.

    Without a straggler every delay is 0 s and every factor 1.
    """

    __slots__ = ("_delays_s", "_factors", "_redraw")

    def __init__(self, draws: Stream | None = None, additive: bool = True, redraw: Redraw = "round") -> None:
        self._delays_s = draws if additive else None
        self._factors = None if additive else draws
        self._redraw = redraw

    def delay_s(self, round: int, exchange: int = 0) -> float:
        """Return the seconds before the first compute of exchange `exchange` (from 0) of `round`.

        A delay drawn per client or per round falls on the round's exchange 0 alone.
        """
        if self._delays_s is None or (exchange and self._redraw != "exchange"):
            return 0.0
        return self._delays_s[self._number(round, exchange)]

    def factor(self, round: int, exchange: int = 0) -> float:
        """Return the factor on compute times in exchange `exchange` of `round`."""
        return 1.0 if self._factors is None else self._factors[self._number(round, exchange)]

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


def slowdowns(config: StragglerConfig | None, seed: int, device_name: str) -> Slowdown:
    """Return the slowdowns of one device under the scenario seed `seed`."""
    if config is None:
        return NO_SLOWDOWN
    draws = Stream(config.sample, seed, "straggler", device_name)
    return Slowdown(draws, config.effect == "additive", config.redraw)
