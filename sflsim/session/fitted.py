"""Warns of devices whose catalog entry rests on networks of other kinds of operation than the scenario's."""

from __future__ import annotations

from sflsim.fleet.catalog import Entry, entries
from sflsim.scenario.schema import Scenario
from sflsim.session.derived import measured
from sflsim.session.requirements import Requirements
from sflsim.work import WorkByKind

SHARE = 0.05
"""Of a network's FLOP; a MobileNet's depthwise convolutions are 7 to 15 % of them, and most of its time."""


def unlike_networks(scenario: Scenario) -> list[str]:
    """Return a warning for each group whose device rests on networks unlike that of the scenario.

    Where the scenario gives the client's FLOP, the network is not looked at.
    """
    named = [(index, _entry(scenario, index)) for index in range(len(scenario.fleet.groups))]
    resting = [(index, entry) for index, entry in named if entry is not None and entry.fitted is not None]
    if not resting or scenario.workload.costs.client_forward is not None:
        return []
    shares = _shares(scenario)
    told = []
    for index, entry in resting:
        assert entry.fitted is not None
        strange = [f"{share:.0%} {kind}" for kind, share in shares.items() if kind not in entry.fitted.kinds]
        if strange:
            told.append(
                f"fleet.groups[{index}].device: {entry.name} rests on {', '.join(entry.fitted.networks)} "
                f"({', '.join(entry.fitted.kinds)}), but {' and '.join(strange)} is what this network's FLOP "
                f"are: times may be off several times ({entry.fitted.error}); take an entry by kind of "
                "operation, or calibrate the device"
            )
    return told


def _entry(scenario: Scenario, index: int) -> Entry | None:
    own = scenario.catalog.own()["devices"] if scenario.catalog else {}
    known = {**entries("devices"), **own}
    return known.get(scenario.fleet.groups[index].device.catalog_name)


def _shares(scenario: Scenario) -> dict[str, float]:
    """Return the kinds of a client's FLOP, forward and backward, that are more than `SHARE` of them."""
    costs = measured(scenario.workload, Requirements(scenario).cut(0), by_kind=True)
    work = costs.client_forward_flop + costs.client_backward_flop
    assert isinstance(work, WorkByKind)
    flop = {kind: getattr(work.kinds, kind) for kind in ("convolution", "depthwise", "matmul")}
    return {kind: amount / work for kind, amount in flop.items() if work and amount / work > SHARE}
