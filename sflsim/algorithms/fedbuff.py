"""FedBuff (Nguyen et al., AISTATS 2022, arXiv 2106.06639): a full buffer of deltas makes one update.

Clients do not wait for each other and start again at once. At every b-th delta
x <- x + eta_g / b sum_i (1 + staleness_i)^-0.5 delta_i. The divisor is b, not the sum of the weights, so
stale deltas shorten the step. Staleness is the number of updates since the client pulled its x. As
clients start again at once, the buffer may be larger than the number of active clients.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sflsim.algorithms.common.unsplit import Unsplit, UnsplitConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.fields import Held
from sflsim.learning.calls import add_deltas
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.learning.schedules import Rate, rate_at
from sflsim.simulation.asynchronous import Asynchronous
from sflsim.simulation.simulation import Simulation


class FedBuff(Unsplit, Asynchronous):
    """Federated learning with buffered asynchronous aggregation."""

    class Config(UnsplitConfig):
        """Local training and the buffer; defaults are the paper's settings."""

        algorithm: Literal["fedbuff"] = "fedbuff"
        b: Held = Field(default=10, description="deltas in a full buffer")
        eta_g: Rate = Field(default=1.0, description="learning rate of the server")

    _buffer: list[Args]
    _trained: list[Handle]
    _versions: list[int]  # of the models that they started from

    def open(self, sim: Simulation) -> None:
        """Start with an empty buffer."""
        self._buffer, self._trained, self._versions = [], [], []

    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Train the newest model; put the delta into the buffer."""
        start, version = sim.pulled(client, self.model), self.version
        batches = yield from self.train_locally(sim, client)
        self._buffer.append(self.contribution(start, client, batches))
        if self.config.keep_state:  # the client may contribute again before the buffer is full
            self._trained += self.record_training(sim, self._buffer[-1:], [version])
        self._versions.append(version)
        if len(self._buffer) == self.config.b:
            self._update(sim)

    def _update(self, sim: Simulation) -> None:
        """Move the model along the buffered deltas and empty the buffer."""
        contributions, rate = self._buffer, rate_at(self.config.eta_g, sim.round) / self.config.b
        args = {
            "model": self.model,
            "models": self._trained or self.record_training(sim, contributions, self._versions),
            "starts": [contribution["start"] for contribution in contributions],
            "weights": [rate * (1 + self.version - version) ** -0.5 for version in self._versions],
        }
        (model,) = sim.learn(add_deltas, [args])
        model = self.next_model(sim, self.model, model)
        self.open(sim)
        self.publish(sim, model, sum(len(contribution["batches"]) for contribution in contributions))
