"""FedBuff (Nguyen et al., AISTATS 2022, arXiv 2106.06639): a buffer of deltas makes one update.

Clients train on their own clocks and start again at once. At every b-th arrival
x <- x + eta_g / b sum_i (1 + staleness_i)^-0.5 delta_i; the divisor is b, not the sum of the weights, so
that stale deltas shorten the step. Staleness counts the updates since the client pulled its x.
Since a client that has contributed goes on at once, a buffer of any size fills in the end, also
one larger than the number of active clients.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sflsim.algorithms.common.unsplit import Unsplit, UnsplitConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import add_deltas
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.asynchronous import Asynchronous
from sflsim.simulation.base import Count
from sflsim.simulation.simulation import Lane, Simulation


class FedBuff(Unsplit, Asynchronous):
    """Federated learning with buffered asynchronous aggregation."""

    class Config(UnsplitConfig):
        """Local training and the buffer; defaults are the paper's settings."""

        algorithm: Literal["fedbuff"] = "fedbuff"
        b: Count = Field(default=10, description="deltas in a full buffer")
        eta_g: float = Field(default=1.0, gt=0, description="learning rate of the server")

    _buffer: list[Lane]
    _trained: list[Handle]
    _weights: list[float]

    def open(self, sim: Simulation) -> None:
        """Begin with an empty buffer."""
        self._buffer, self._trained, self._weights = [], [], []

    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Train the newest model; put the delta into the buffer."""
        start, version = self.model, self.version
        batches = yield from self.train_locally(sim, client)
        self._buffer.append(self.lane(start, client, batches))
        if self.config.keep_state:  # the client may be back before the buffer is full
            self._trained += self.name_training(sim, self._buffer[-1:])
        self._weights.append((1 + self.version - version) ** -0.5)
        if len(self._buffer) == self.config.b:
            self._update(sim)

    def _update(self, sim: Simulation) -> None:
        """Move the model along the buffered deltas and empty the buffer."""
        lanes, share = self._buffer, self.config.eta_g / self.config.b
        moves = {
            "model": self.model,
            "models": self._trained or self.name_training(sim, lanes),
            "starts": [lane["start"] for lane in lanes],
            "weights": [share * weight for weight in self._weights],
        }
        (model,) = sim.learn(add_deltas, [moves])
        self.open(sim)
        self.publish(sim, model, sum(len(lane["batches"]) for lane in lanes))
