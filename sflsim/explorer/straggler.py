"""A straggler as two settings: its kind, and its mean. A kind's other amounts follow from the mean.

A kind keeps the shape that the scenario gives it; another kind gets a usual one (`SHAPES`). Mean and amounts
are those of the law without a cap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sflsim.errors import refused
from sflsim.explorer.control import Control, Kind
from sflsim.fleet.stragglers import StragglerConfig
from sflsim.units import NoQuantity, bare, split

NONE = "none"
FIRST_MEAN = "1 s"
"""Offered where the scenario has no straggler."""
SHAPES = {"lognormal": 1.0, "gamma": 2.0, "pareto": 2.5, "weibull": 0.7}
"""Sigma of a lognormal, shape of the others."""
SHAPE_KEYS = {"lognormal": "sigma", "gamma": "shape", "pareto": "shape", "weibull": "shape"}
AMOUNTS: dict[str, Callable[[float, float], dict[str, float]]] = {
    "constant": lambda mean, _: {"value": mean},
    "exponential": lambda mean, _: {"mean": mean},
    "gamma": lambda mean, _: {"mean": mean},
    "lognormal": lambda mean, sigma: {"median": mean * math.exp(-sigma * sigma / 2)},
    "pareto": lambda mean, shape: {"scale": mean * (shape - 1) / shape},
    "weibull": lambda mean, shape: {"scale": mean / math.gamma(1 + 1 / shape)},
    "uniform": lambda mean, _: {"low": 0.0, "high": 2 * mean},
}
"""The amounts of each kind that give a mean, under its shape."""
OTHERS = ("effect", "redraw", "correlation", "bursts")
"""Keys of a straggler that say nothing of its law."""


class Straggler:
    """The straggler at a path, as a scenario has it (`config`) and as it was written (`given`)."""

    def __init__(self, path: str, group: str, config: StragglerConfig | None, given: Any) -> None:
        self.path = path
        self._group = group
        self._given: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        self._additive = config is None or config.effect == "additive"
        self.kind = NONE if config is None else str(config.model_dump()["kind"])
        shape_key = SHAPE_KEYS.get(self.kind, "")
        self._shape = float(getattr(config, shape_key)) if shape_key else 0.0
        self._mean = FIRST_MEAN if config is None else self._written_mean(config)

    def _written_mean(self, config: StragglerConfig) -> str:
        """Return the mean as the scenario writes it, or in s; empty where it follows from no such setting."""
        for key in ("mean", "value"):
            if self.kind in ("constant", "exponential", "gamma") and key in self._given:
                return str(self._given[key])
        mean = getattr(config.model_copy(update={"cap": None}), "mean", math.inf)
        if self.kind not in AMOUNTS or not math.isfinite(mean):
            return ""
        return f"{mean:.6g} s" if self._additive else f"{mean:.6g}"

    @property
    def controls(self) -> list[Control]:
        """Its kind and its mean."""
        none = [NONE] if self.path == "fleet.straggler" else []
        kinds = tuple(dict.fromkeys([self.kind, *none, *AMOUNTS]))
        number: Kind = "amount" if self._additive else "text"
        return [
            Control(f"{self.path}.kind", self._group, "straggler", "choice", self.kind, kinds, values=kinds),
            Control(f"{self.path}.mean", self._group, "mean", number, self._mean),
        ]

    def changed(self, settings: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the straggler with new settings, as a scenario writes it; None for none.

        Raises:
            ScenarioError: there is no such kind, or the mean is no amount.
        """
        kind = settings.get(f"{self.path}.kind", self.kind)
        text = settings.get(f"{self.path}.mean", self._mean) or FIRST_MEAN
        if kind == NONE:
            return None
        if kind not in AMOUNTS:
            if kind == self.kind:
                return self._given
            raise refused(f"{self.path}.kind", repr(kind), ", ".join(AMOUNTS))
        shape = self._shape if kind == self.kind and self._shape else SHAPES.get(kind, 0.0)
        given = {SHAPE_KEYS[kind]: shape} if kind in SHAPE_KEYS else {}
        others = {key: self._given[key] for key in OTHERS if key in self._given}
        if "cap" in self._given and kind == self.kind:
            others["cap"] = self._given["cap"]
        return {"kind": kind, **self._amounts(kind, text, shape), **given, **others}

    def _amounts(self, kind: str, text: str, shape: float) -> dict[str, Any]:
        """Return the amounts that give a mean; the mean itself stays as it was typed."""
        try:
            number, unit = split(text) if self._additive else (bare(text), "")
        except NoQuantity as error:
            allowed = "a time, e.g. 2 s" if self._additive else "a factor, e.g. 1.5"
            raise refused(f"{self.path}.mean", repr(text), allowed) from error
        amounts = AMOUNTS[kind](number, shape)
        if not unit:
            return dict(amounts)
        return {key: text if amount == number else f"{amount!r} {unit}" for key, amount in amounts.items()}
