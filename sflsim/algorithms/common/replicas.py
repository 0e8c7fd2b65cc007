"""Rounds in which the server holds a replica of its part for every participant, or for some at a time.

A replica exists from a participant's first job to its `last`, or until the participant is dropped.
One that is done is folded into the round's running mean at once. So with room for everybody the
server holds its model and their replicas (the first that is done becomes the mean); with less room,
its model, the mean and as many replicas as fit, and participants wait for a place. Gradients and
optimizer state are not counted.
"""

from __future__ import annotations

from math import floor

from sflsim.learning.costs import Costs
from sflsim.simulation.synchronous import Synchronous


class ServerReplicas(Synchronous):
    """A round whose participants are each served by a replica of their own."""

    def server_memory_bytes(self, costs: Costs, participants: int) -> float:
        """Return the server model and a replica for everybody who is asked."""
        return (1 + self._asked(participants)) * costs.server_model_bytes

    def server_replicas(self, costs: Costs, participants: int, memory_bytes: float | None) -> int | None:
        """Return how many replicas fit beside the model and the mean; None where all do."""
        if memory_bytes is None or self.server_memory_bytes(costs, participants) <= memory_bytes:
            return None
        return max(floor(memory_bytes / costs.server_model_bytes) - 2, 0)

    def server_least_bytes(self, costs: Costs, participants: int) -> float:
        """Return model, mean and one replica; with one participant its replica becomes the mean."""
        return min(3, 1 + self._asked(participants)) * costs.server_model_bytes

    def server_peak_bytes(self, costs: Costs, participants: int, memory_bytes: float | None) -> float:
        """Return the models held at once where no more than the places are taken."""
        places = self.server_replicas(costs, participants, memory_bytes)
        if places is None:
            return self.server_memory_bytes(costs, participants)
        return (2 + places) * costs.server_model_bytes

    def _asked(self, participants: int) -> int:
        asked: int = participants + self.config.over_selection
        return asked
