"""A scenario with this machine's rates, as `calibrate` measured them, each slowed as its emulation is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import sflsim
from sflsim.learning.profiling.calibration import Measured

SLOWDOWNS = {"slow": 30.0, "fast": 15.0, "near": 5.0, "far": 5.0, "weak": 15.0}
"""By group: how much slower its devices are than this machine with one thread."""
SERVER_SLOWDOWN = 15.0


class Works(NamedTuple):
    """What an algorithm's rates are measured by: works that are done as often as each other."""

    compute: tuple[str, ...] = ("backward",)
    forward: tuple[str, ...] = ("forward",)
    serve: tuple[str, ...] = ("backward", "forward")
    part: str = ""
    """Of the network, that a client computes; its side of the cut by default."""


WHOLE = Works(compute=("backward", "forward"), part="whole")
WORKS = {
    "mu-splitfed": Works(forward=("zeroth-order step",), serve=("zeroth-order step",)),
    "ho-sfl": Works(forward=("forward", "zeroth-order step")),
    "fedavg": WHOLE,
    "fedbuff": WHOLE,
}
"""Of algorithms that are not first-order: one batch forward, served, and backward."""


def predicted(scenario: sflsim.Scenario, measured: sflsim.Calibration, variant: int) -> sflsim.Scenario:
    """Return the scenario of one variant with the rates that were measured of its parts."""
    works = WORKS.get(scenario.variants[variant].algorithm, Works())
    part = works.part or f"client {measured.cut}"
    compute, forward = rate(measured, part, works.compute), rate(measured, part, works.forward)
    served = rate(measured, f"server {measured.cut}", works.serve)
    return _slowed(
        scenario,
        variant,
        lambda slowdown: {"compute": per_s(compute / slowdown), "forward": per_s(forward / slowdown)},
        per_s(served / SERVER_SLOWDOWN),
    )


def by_kind(scenario: sflsim.Scenario, measured: sflsim.Calibration, variant: int) -> sflsim.Scenario:
    """Return the scenario of one variant with rates by kind that were fitted to other networks."""

    def figures(slowdown: float) -> Any:
        return measured.by_kind(1).slowed(slowdown).figures()

    return _slowed(
        scenario, variant, lambda slowdown: {"compute": figures(slowdown)}, figures(SERVER_SLOWDOWN)
    )


def by_one_rate(scenario: sflsim.Scenario, measured: sflsim.Calibration, variant: int) -> sflsim.Scenario:
    """Return the same with one rate, least squares on relative errors over the same measurements."""
    rates = [one.flop_per_s for one in measured.of_networks]
    found = sum(one**2 for one in rates) / sum(rates)
    served = per_s(found / SERVER_SLOWDOWN)
    return _slowed(scenario, variant, lambda slowdown: {"compute": per_s(found / slowdown)}, served)


def _slowed(
    scenario: sflsim.Scenario, variant: int, device: Callable[[float], dict[str, Any]], server: Any
) -> sflsim.Scenario:
    """Return the scenario of one variant with each group's `device` by its slowdown, and the server."""
    content = scenario.model_dump(mode="json", exclude_unset=True)
    content["variants"] = [content["variants"][variant]]
    for group in content["fleet"]["groups"]:
        group["device"] = device(SLOWDOWNS[group["name"]])
    content["server"]["compute"] = server
    return sflsim.Scenario.model_validate(content)


def rate(measured: sflsim.Calibration, part: str, works: tuple[str, ...]) -> float:
    """Return the rate in FLOP/s of several kinds of work done after each other."""
    found = [measured.find(part, work) for work in works]
    return sum(one.flop for one in found) / sum(one.median_s for one in found)


def per_s(flop_per_s: float) -> str:
    """Return a rate as a scenario has it."""
    return f"{flop_per_s} FLOP/s"


Predict = Callable[[sflsim.Scenario, sflsim.Calibration, int], sflsim.Scenario]
OF_PARTS: Mapping[str, Predict] = {"measured parts": predicted}
OF_KINDS: Mapping[str, Predict] = {"rates by kind": by_kind, "one rate": by_one_rate}
"""Ways to predict a variant, by name."""


def calibrated(scenario: sflsim.Scenario, repeat: int, kinds: bool = False) -> sflsim.Calibration:
    """Measure this machine, in processor time: that is what the emulated devices are slowed by."""
    return sflsim.calibrate(scenario, repeat=repeat, clock="cpu", every_part=False, by_kind=kinds)


def pooled(before: sflsim.Calibration, after: sflsim.Calibration) -> tuple[sflsim.Calibration, float]:
    """Return both as one, and how much a work's median time has changed at most between them."""
    both = replace(
        before,
        measured=_together(before.measured, after.measured),
        of_networks=_together(before.of_networks, after.of_networks),
    )
    pairs = zip(before.measured, after.measured, strict=True)
    return both, max(abs(again.median_s / one.median_s - 1) for one, again in pairs)


def _together(before: Sequence[Measured], after: Sequence[Measured]) -> tuple[Measured, ...]:
    both = zip(before, after, strict=True)
    return tuple(replace(one, seconds=one.seconds + again.seconds) for one, again in both)
