"""FedLoRA: FedAvg of low-rank adapters; the base of the model is frozen and never sent.

The clients hold the whole model; only its adapters are trained, sent and averaged (A and B
separately). Everything else is FedAvg. Costs per participation: the adapters down and up, E times the
forward and backward passes of the whole model.
"""

from __future__ import annotations

from typing import Literal

from sflsim.algorithms.fedavg import Averaging, FedAvgConfig
from sflsim.errors import refused
from sflsim.learning.costs import Costs


class FedLora(Averaging):
    """Federated averaging of adapters."""

    class Config(FedAvgConfig):
        """FedAvg's fields; rank and alpha are the model's."""

        algorithm: Literal["fedlora"] = "fedlora"

    def check(self, costs: Costs) -> None:
        """Refuse a model without adapters, and arguments that the optimizer does not take."""
        if not costs.client_frozen_bytes + costs.server_frozen_bytes:
            remedy = "add e.g. 'adapters: {rank: 8, alpha: 16}' to it, or use fedavg, which trains all of it"
            raise refused(
                "workload.model", "a model without adapters", "one with adapters for fedlora", remedy
            )
        super().check(costs)
