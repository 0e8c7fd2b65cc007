"""SplitFed V2 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server model for all clients.

The server's model takes a step on each batch in the order of arrival, so timing changes the learning.
The client parts are averaged at the round's end. Costs are those of SplitFed V1; the steps of the one
server model never run in parallel, whatever the number of slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sflsim.algorithms.common.client_parts import ClientPartsConfig
from sflsim.algorithms.common.first_order import FirstOrder, FirstOrderAlgorithm, FirstOrderConfig
from sflsim.algorithms.common.proximal import ProximalConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import weighted_mean
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.base import AveragingConfig, Weighting
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig

if TYPE_CHECKING:
    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.task import Task


class SplitFedV2(FirstOrderAlgorithm, Synchronous):
    """SplitFed with one server model, stepped in the order of arrival."""

    class Config(FirstOrderConfig, ClientPartsConfig, ProximalConfig, AveragingConfig, SynchronousConfig):
        """Client optimizers start afresh in every round, unless `keep_state` is set.

        The server's optimizer always keeps its state, as its model does.
        """

        averaged: ClassVar[tuple[str, ...]] = ("client",)
        algorithm: Literal["splitfed-v2"] = "splitfed-v2"
        weighting: Weighting = Field(default="samples", description="how participants count in the average")

    _server: Handle

    per_client_cuts = "its one server model begins at one layer"

    def open_round(self, sim: Simulation, model: Handle, sampled: list[Client], wanted: int) -> None:
        """Start from the server model of the last round."""
        self._server = model

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Train the client part with the shared server model."""
        client_model, fresh = self.parts.start(sim, client, model), True
        start = {"start": client_model} if self.config.proximal else {}

        def arrived(batch: BatchName) -> None:
            nonlocal client_model, fresh
            args = {"client_model": client_model, "server": self._server, "batch": batch, "fresh": fresh}
            args |= start
            if fresh:
                args |= self.kept.of(client.index)
            client_model = self._server = sim.learn(step, [args], **self.optimizers())[0]
            fresh = False

        batches = yield from self.take_turn(sim, client, "server model", arrived)
        return {"client": client.index, "trained": client_model, "batches": batches}

    def optimizers(self) -> dict[str, Any]:
        """Return both optimizers; the client's holds its part near the round's start, if wanted."""
        both = super().optimizers()
        return {**both, "client_optimizer": self.config.held(both["client_optimizer"])}

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """Keep the client's batches that have arrived: the server's model has stepped on them."""

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Average the client parts; the server model is the newest."""
        trained = [contribution["trained"] for contribution in contributions]
        self.kept.keep(contributions, trained)
        clients = [contribution["client"] for contribution in contributions]
        pushed = self.parts.pushed(
            sim, trained, [contribution["batches"][-1] for contribution in contributions]
        )
        args = {"models": pushed, "clients": clients, "server": self._server}
        after = sim.learn(merge, [args], weighting=self.config.weighting)[0]
        self.parts.keep(sim.round + 1, clients, trained, after)
        return after


def step(
    task: Task, arguments: list[Args], *, client_optimizer: dict[str, Any], server_optimizer: dict[str, Any]
) -> list[Model]:
    """Train the parts of `client_model` and `server` on one batch, optimizer states included.

    A `fresh` client's optimizer starts from its kept `state`, if there is one. With a proximal term, `start`
    holds the part that the client started the round from.
    """
    return [_step(task, args, client_optimizer, server_optimizer) for args in arguments]


def _step(
    task: Task, args: Args, client_optimizer: dict[str, Any], server_optimizer: dict[str, Any]
) -> Model:
    x_c, x_s = args["client_model"]["client"][None].clone(), args["server"]["server"][None].clone()  # [1, d]
    steps = FirstOrder(task, x_c, x_s, client_optimizer, server_optimizer)
    steps.client.optimizer.restore(
        "client_optimizer", args.get("state", {}) if args["fresh"] else args["client_model"]
    )
    steps.server.optimizer.restore("server_optimizer", args["server"])
    if "start" in args:
        start = task.client.parameters(task.client.views(args["start"]["client"][None]))
        steps.client.optimizer.started_from(start)
    steps.exchange([args["batch"]])
    return {
        "client": x_c[0],
        "server": x_s[0],
        **steps.client.optimizer.state("client_optimizer"),
        **steps.server.optimizer.state("server_optimizer"),
    }


def merge(task: Task, arguments: list[Args], *, weighting: str) -> list[Model]:
    """Return the mean of the clients' parts with the server's part and optimizer state."""
    return [
        {
            "client": weighted_mean(task, args["models"], "client", args["clients"], weighting),
            **{name: tensor for name, tensor in args["server"].items() if name.startswith("server")},
        }
        for args in arguments
    ]
