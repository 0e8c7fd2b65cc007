"""Where the network is cut: at one layer for all clients, or deeper for stronger devices."""

from __future__ import annotations

from collections.abc import Callable

from sflsim.fleet.devices import Device
from sflsim.fleet.population import Fleet
from sflsim.learning.costs import Costs
from sflsim.simulation.base import PerClientCut

CostsAt = Callable[[int], Costs]


class OneCut:
    """The same cut for every client."""

    def __init__(self, cut: int, costs_at: CostsAt) -> None:
        self.cut = cut
        self.costs = costs_at(cut)

    def of(self, device: Device) -> tuple[int, Costs]:
        """Return the cut and its costs."""
        return self.cut, self.costs


class CutByDevice:
    """The deepest cut that a device can hold (see `PerClientCut`)."""

    def __init__(
        self,
        rule: PerClientCut,
        deepest: int,
        costs_at: CostsAt,
        memory_bytes: Callable[[Costs], float],
        fleet: Fleet,
    ) -> None:
        self.cut = deepest
        self.costs = costs_at(deepest)
        self._rule = rule
        self._costs_at = costs_at
        self._memory_bytes = memory_bytes
        fastest = max(fleet.device(index).flop_per_s for index in range(len(fleet)))
        self._limit_s = rule.within * _work_flop(self.costs) / fastest

    def of(self, device: Device) -> tuple[int, Costs]:
        """Return the cut of one device and its costs."""
        for cut in range(self.cut, 1, -1):
            costs = self._costs_at(cut)
            if self._fits(device, costs):
                return cut, costs
        return 1, self._costs_at(1)

    def _fits(self, device: Device, costs: Costs) -> bool:
        if device.memory_bytes is not None and self._memory_bytes(costs) > device.memory_bytes:
            return False
        return self._rule.by == "memory" or _work_flop(costs) / device.flop_per_s <= self._limit_s


def _work_flop(costs: Costs) -> float:
    """Return a client's FLOP for one batch, forward and backward."""
    return costs.client_forward_flop + costs.client_backward_flop
