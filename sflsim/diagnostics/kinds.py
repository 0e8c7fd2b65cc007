"""Rates by kind of operation, fitted to what was measured of some networks; how far off they are for others.

Least squares on relative errors, no rate below zero. To say how far off the rates are, every network in turn
is left out of the fit and predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sflsim.fleet.rates import Rates
from sflsim.work import Kinds, WorkByKind

if TYPE_CHECKING:
    from sflsim.learning.profiling.calibration import Measured

UNITS = {"convolution": "GFLOP/s", "depthwise": "GFLOP/s", "matmul": "GFLOP/s", "memory": "GB/s"}
"""Of the rates; what is left of the kinds are counts, each with a time."""
KINDS = [kind for kind in UNITS if kind != "memory"]
"""Of operation, that the small networks consist of."""
TIMES = {"operations": "per_operation", "passes": "per_pass"}


@dataclass(frozen=True)
class FittedRates:
    """Rates by kind, and the networks that they rest on."""

    rates: Rates
    networks: tuple[str, ...]
    errors: tuple[float, ...]
    """Relative, without sign: of every pass of every network, predicted from a fit to the others."""

    @property
    def error(self) -> str:
        """Return how far off the rates are for a network left out of the fit."""
        median, worst = 100 * np.median(self.errors), 100 * np.max(self.errors)
        return f"passes of a network left out of the fit: median {median:.0f} %, worst {worst:.0f} %"

    def slowed(self, factor: float) -> FittedRates:
        """Return the rates of a machine on which all takes `factor` times as long."""
        return replace(self, rates=self.rates * (1 / factor))

    def entry(self, about: str, machine: str) -> dict[str, Any]:
        """Return the catalog's entry of a device with these rates."""
        source = f"sflsim calibrate, fitted to the blocks of {len(self.networks)} small networks; {machine}"
        figures = {
            f"compute.{key}": {"value": value, "status": "derived", "source": source}
            for key, value in self.figures().items()
        }
        resting = {"networks": list(self.networks), "kinds": KINDS, "error": self.error}
        return {"about": about, "fitted": resting, "figures": figures}

    def figures(self) -> dict[str, str]:
        """Return the rates as a scenario's `device.compute` would have them; what is free is left out."""
        seconds = self.rates.seconds._asdict()
        rates = {key: f"{1e-9 / seconds[key]:.3g} {unit}" for key, unit in UNITS.items() if seconds[key]}
        return rates | {key: f"{1e6 * seconds[kind]:.3g} us" for kind, key in TIMES.items() if seconds[kind]}


def fit(works: Sequence[float], seconds: Sequence[float]) -> Rates:
    """Return the rates that predict the seconds of works by kind with the least relative errors."""
    from scipy.optimize import nnls

    amounts = np.array([work.kinds for work in works if isinstance(work, WorkByKind)])
    scale = amounts.max(axis=0)
    scale[scale == 0] = 1.0
    per_unit, _ = nnls(amounts / scale / np.array(seconds)[:, None], np.ones(len(seconds)))
    return Rates(Kinds(*(per_unit / scale).tolist()))


def fitted(measured: Sequence[Measured]) -> FittedRates:
    """Return the rates that fit the medians of what was measured of several networks."""
    networks = tuple(dict.fromkeys(one.network for one in measured))
    errors = []
    for name in networks:
        others = [one for one in measured if one.network != name]
        rates = fit([one.flop for one in others], [one.median_s for one in others])
        errors += [abs(one.flop / rates / one.median_s - 1) for one in measured if one.network == name]
    rates = fit([one.flop for one in measured], [one.median_s for one in measured])
    return FittedRates(rates, networks, tuple(errors))
