"""FedAvg (McMahan et al., AISTATS 2017, arXiv 1602.05629): the unsplit baseline, in rounds.

Every participant downloads x, takes E local first-order steps and uploads the result; the next x is
the weighted mean of the uploads. A round ends with its slowest participant.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sflsim.algorithms.common.unsplit import Unsplit, UnsplitConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import average
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.base import Weighting
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig


class FedAvgConfig(UnsplitConfig, SynchronousConfig):
    """Local training and the weights of the average."""

    weighting: Weighting = Field(default="samples", description="how participants count in the average")


class Averaging(Unsplit, Synchronous):
    """Rounds of local training and averaging, of all parameters of the model that are trained."""

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Train the round's model on the client's own samples."""
        start = sim.pulled(client, model)
        batches = yield from self.train_locally(sim, client)
        return self.contribution(start, client, batches)

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Return the mean of the participants' models."""
        trained = self.record_training(sim, contributions)
        clients = [contribution["client"] for contribution in contributions]
        args = {"model": model, "models": trained, "clients": clients}
        return sim.learn(average, [args], weighting=self.config.weighting)[0]


class FedAvg(Averaging):
    """Federated averaging."""

    class Config(FedAvgConfig):
        """The fields of `FedAvgConfig`."""

        algorithm: Literal["fedavg"] = "fedavg"
