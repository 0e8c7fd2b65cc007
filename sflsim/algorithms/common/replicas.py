"""Rounds in which the server holds a replica of its part per participant, or for some at a time.

A replica exists from a participant's first job to its `last`, or until the participant is dropped.
It is then added to the round's running mean at once. With enough memory for all, the server holds
its model and the replicas (the first that is done becomes the mean). With less, it holds its model,
the mean and as many replicas as fit, and the other participants wait. Gradients and optimizer state
are not counted.
"""

from __future__ import annotations

from math import floor

from sflsim.learning.costs import Costs
from sflsim.simulation.synchronous import Synchronous


class ServerReplicas(Synchronous):
    """A round whose participants are each served by their own replica."""

    def server_memory_bytes(self, costs: Costs, participants: int) -> float:
        """Return the server model and a replica for every selected client."""
        return (1 + self._sampled(participants)) * costs.server_model_bytes

    def server_replicas(self, costs: Costs, participants: int, memory_bytes: float | None) -> int | None:
        """Return how many replicas fit in addition to the model and the mean; None if all do."""
        if memory_bytes is None or self.server_memory_bytes(costs, participants) <= memory_bytes:
            return None
        return max(floor(memory_bytes / costs.server_model_bytes) - 2, 0)

    def server_least_bytes(self, costs: Costs, participants: int) -> float:
        """Return model, mean and one replica; with one participant its replica becomes the mean."""
        return min(3, 1 + self._sampled(participants)) * costs.server_model_bytes

    def server_peak_bytes(self, costs: Costs, participants: int, memory_bytes: float | None) -> float:
        """Return the memory of the models held at once."""
        places = self.server_replicas(costs, participants, memory_bytes)
        if places is None:
            return self.server_memory_bytes(costs, participants)
        return (2 + places) * costs.server_model_bytes

    def _sampled(self, participants: int) -> int:
        sampled: int = participants + self.config.over_selection
        return sampled
