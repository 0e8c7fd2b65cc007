"""FedAvg (McMahan et al., AISTATS 2017, arXiv 1602.05629): the unsplit baseline, in rounds.

Every participant downloads x, takes E local first-order steps and uploads x; the weighted mean of
what is uploaded is the next x. A round ends with its slowest participant.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sflsim.algorithms.common.unsplit import Unsplit, UnsplitConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import average
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.base import Weighting
from sflsim.simulation.simulation import Lane, Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig


class FedAvgConfig(UnsplitConfig, SynchronousConfig):
    """Local training and how its results are averaged."""

    weighting: Weighting = Field(default="samples", description="how participants count in the average")


class Averaging(Unsplit, Synchronous):
    """A round of local training and its mean, of whatever parameters the model has."""

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Train the round's model on the client's own samples."""
        batches = yield from self.train_locally(sim, client)
        return self.lane(model, client, batches)

    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Return the mean of the participants' models."""
        trained = self.name_training(sim, lanes)
        together = {"model": model, "models": trained, "clients": [lane["client"] for lane in lanes]}
        return sim.learn(average, [together], weighting=self.config.weighting)[0]


class FedAvg(Averaging):
    """Federated averaging."""

    class Config(FedAvgConfig):
        """Everything is said in `FedAvgConfig`."""

        algorithm: Literal["fedavg"] = "fedavg"
