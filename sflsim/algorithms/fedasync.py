"""FedAsync (Xie et al., 2019, arXiv 1903.03934): each client model is mixed into the global one at once.

x <- (1 - a) x + a x_k with a = alpha s(staleness). Staleness is the number of versions published
since the client pulled its own. s(t) is (t + 1)^-0.5 (polynomial), 1 up to t = b and then
1 / (a (t - b) + 1) (hinge; the paper's a = 10, b = 4), or 1 (constant). The paper's proximal term
is the field `proximal`, zero by default.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sflsim.algorithms.common.unsplit import Unsplit, UnsplitConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import average
from sflsim.simulation.asynchronous import Asynchronous
from sflsim.simulation.simulation import Simulation


class FedAsync(Unsplit, Asynchronous):
    """Asynchronous federated optimization."""

    class Config(UnsplitConfig):
        """Local training and the weight of a client model; defaults are the paper's settings."""

        algorithm: Literal["fedasync"] = "fedasync"
        alpha: float = Field(
            default=0.6, gt=0, le=1, description="weight of a client model that is not stale"
        )
        s: Literal["polynomial", "hinge", "constant"] = Field(
            default="polynomial", description="how the weight falls with staleness"
        )
        exponent: float = Field(default=0.5, ge=0, description="polynomial: s(t) = (t + 1)^-exponent")
        hinge_a: float = Field(default=10.0, gt=0, description="hinge: slope of 1 / s beyond hinge_b")
        hinge_b: float = Field(
            default=4.0, ge=0, description="hinge: largest staleness that leaves the weight unchanged"
        )

    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Train the newest model; mix the result into the global model of that time."""
        start, version = sim.pulled(client, self.model), self.version
        batches = yield from self.train_locally(sim, client)
        (trained,) = self.record_training(sim, [self.contribution(start, client, batches)], [version])
        args = {"model": self.model, "models": [trained], "clients": [client.index]}
        a = self.config.alpha * self._s(self.version - version)
        (model,) = sim.learn(average, [args], weighting="uniform", eta=a)
        self.publish(sim, self.next_model(sim, self.model, model), len(batches))

    def _s(self, staleness: int) -> float:
        config = self.config
        if config.s == "polynomial":
            return float((staleness + 1) ** -config.exponent)
        if config.s == "hinge" and staleness > config.hinge_b:
            return float(1 / (config.hinge_a * (staleness - config.hinge_b) + 1))
        return 1.0
