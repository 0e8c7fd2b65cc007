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
        work = _work(self.costs)
        self._limit_s = rule.within * min(work / fleet.device(index).rate for index in range(len(fleet)))

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
        return self._rule.by == "memory" or _work(costs) / device.rate <= self._limit_s


def _work(costs: Costs) -> float:
    """Return a client's work for one batch, forward and backward."""
    return costs.client_forward_flop + costs.client_backward_flop
