"""Where the network is cut: at one layer for all clients, or deeper for stronger devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sflsim.fleet.devices import Device
from sflsim.fleet.population import Fleet
from sflsim.learning.costs import Costs
from sflsim.simulation.base import PerClientCut

CostsAt = Callable[[int], Costs]


class OneCut:
    """The same cut for every client; `costs_of` gives the costs of batches of so many samples."""

    def __init__(
        self, cut: int, costs: Costs, sizes: int | Sequence[int], costs_of: Callable[[int], Costs]
    ) -> None:
        self.cut = cut
        self.costs = costs
        self._sizes = () if isinstance(sizes, int) else sizes
        self._costs_of = costs_of
        self._of_all = costs_of(sizes) if isinstance(sizes, int) else costs

    def of(self, device: Device) -> tuple[int, Costs]:
        """Return the cut and its costs, for the batches of a device."""
        return self.cut, self._costs_of(self._sizes[device.index]) if self._sizes else self._of_all


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
