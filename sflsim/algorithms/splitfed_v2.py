"""SplitFed V2 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server model for all clients.

The server's model takes a step on each batch in the order in which the batches arrive, so the
timing changes the learning. The client parts are averaged at the round's end. Costs are those
of SplitFed V1; the steps of the one server model cannot run side by side, whatever the slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.common.first_order import FirstOrderAlgorithm, FirstOrderConfig, local_iterations
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import weighted_mean
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.base import Weighting
from sflsim.simulation.simulation import Lane, Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig

if TYPE_CHECKING:
    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.task import Task


class SplitFedV2(FirstOrderAlgorithm, Synchronous):
    """SplitFed with one server model, stepped in the order of arrival."""

    class Config(FirstOrderConfig, SynchronousConfig):
        """Client optimizers start afresh in every round, or with `keep_state` go on for each client.

        The server's goes on in any case, as its model does.
        """

        algorithm: Literal["splitfed-v2"] = "splitfed-v2"
        weighting: Weighting = Field(default="samples", description="how participants count in the average")

    _server: Handle

    per_client_cuts = "its one server model begins at one layer"

    def open_round(self, sim: Simulation, model: Handle, asked: list[Client], wanted: int) -> None:
        """Let the one server model go on from the last round's."""
        self._server = model

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Train the client part with the shared server model."""
        own, fresh = model, True

        def arrived(batch: BatchName) -> None:
            nonlocal own, fresh
            lane = {"own": own, "server": self._server, "batch": batch, "fresh": fresh}
            if fresh:
                lane |= self.kept.of(client.index)
            own = self._server = sim.learn(step, [lane], **self.optimizers())[0]
            fresh = False

        batches = yield from self.take_turn(sim, client, "server model", arrived)
        return {"client": client.index, "own": own, "batches": batches}

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """Keep what has arrived: the server's model steps on it, whoever it came from."""

    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Average the client parts; the server model is the last one."""
        self.kept.keep(lanes, [lane["own"] for lane in lanes])
        together = {
            "models": [lane["own"] for lane in lanes],
            "clients": [lane["client"] for lane in lanes],
            "server": self._server,
        }
        return sim.learn(merge, [together], weighting=self.config.weighting)[0]


def step(
    task: Task, lanes: list[Lane], *, client_optimizer: dict[str, Any], server_optimizer: dict[str, Any]
) -> list[Model]:
    """Train one client part (`own`) and the `server` model on one batch, optimizer states included.

    A `fresh` client's optimizer starts from the lane's state, if it has one.
    """
    return [_step(task, lane, client_optimizer, server_optimizer) for lane in lanes]


def _step(
    task: Task, lane: Lane, client_optimizer: dict[str, Any], server_optimizer: dict[str, Any]
) -> Model:
    x_c, x_s = lane["own"]["client"][None].clone(), lane["server"]["server"][None].clone()  # [1, d]
    steps = local_iterations(task, x_c, x_s, client_optimizer, server_optimizer)
    steps.client_optimizer.restore(
        "client_optimizer", lane.get("state", {}) if lane["fresh"] else lane["own"]
    )
    steps.server_optimizer.restore("server_optimizer", lane["server"])
    steps.exchange([lane["batch"]])
    return {
        "client": x_c[0],
        "server": x_s[0],
        **steps.client_optimizer.state("client_optimizer"),
        **steps.server_optimizer.state("server_optimizer"),
    }


def merge(task: Task, lanes: list[Lane], *, weighting: str) -> list[Model]:
    """Return the mean of the clients' parts with the server's part and optimizer state."""
    return [
        {
            "client": weighted_mean(task, lane["models"], "client", lane["clients"], weighting),
            **{name: tensor for name, tensor in lane["server"].items() if name.startswith("server")},
        }
        for lane in lanes
    ]
