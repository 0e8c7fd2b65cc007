"""SplitFed V1 (Thapa et al., AAAI 2022, arXiv 2004.12088): a server replica for every client.

All participants train in parallel; each has its own server replica, stepped on each batch. At the
round's end the replicas are averaged on the Split Server and the client parts on the Fed Server.
Costs are those of the first-order exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.common.client_parts import ClientPartsConfig, check_cuts, client_parts
from sflsim.algorithms.common.first_order import FirstOrder, FirstOrderAlgorithm, FirstOrderConfig
from sflsim.algorithms.common.kept import check_replicas, resume, steps_before, with_states
from sflsim.algorithms.common.proximal import ProximalConfig
from sflsim.algorithms.common.replicas import ServerReplicas
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import average, by_cut, in_groups, stack
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.base import AveragingConfig, Weighting
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import SynchronousConfig

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task


class SplitFedV1(FirstOrderAlgorithm, ServerReplicas):
    """SplitFed with one server replica per participant."""

    class Config(FirstOrderConfig, ClientPartsConfig, ProximalConfig, AveragingConfig, SynchronousConfig):
        """Both optimizers start afresh in every round, unless `keep_state` is set.

        Then each client keeps its own state, and the states of the replicas are averaged as the
        replicas are: all replicas of the next round resume from the mean.
        """

        algorithm: Literal["splitfed-v1"] = "splitfed-v1"
        weighting: Weighting = Field(default="samples", description="how participants count in the averages")

    per_client_cuts = ""

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Train the client part with a server replica."""
        own = self.parts.of(sim, client, model)
        batches = yield from self.take_turn(sim, client)
        args = {"start": model, "client": client.index, "cut": client.cut, "batches": batches}
        return args | self.kept.of(client.index) | own

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Average the client parts and the server replicas."""
        trained = sim.learn(train, contributions, **self.optimizers(), **self.kept.shared)
        self.kept.keep(contributions, trained)
        clients = [contribution["client"] for contribution in contributions]
        pushed = self.parts.pushed(
            sim, trained, [contribution["batches"][-1] for contribution in contributions]
        )
        args = {"model": model, "models": pushed, "clients": clients}
        after = sim.learn(average, [args], weighting=self.config.weighting, **self.kept.of_replicas)[0]
        self.parts.keep(sim.round + 1, clients, trained, after)
        return after

    def optimizers(self) -> dict[str, Any]:
        """Return both optimizers, which hold client part and replica near the round's start, if wanted."""
        return {name: self.config.held(settings) for name, settings in super().optimizers().items()}

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take, and states that cannot be averaged."""
        super().check(costs)
        check_replicas(self.config)
        check_cuts(self.config)


def train(
    task: Task,
    arguments: list[Args],
    *,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool = False,
) -> list[Model]:
    """Train client parts and server replicas from `start` over `batches`, equally many for each."""

    def train_at_cut(task: Task, arguments: list[Args]) -> list[Model]:
        settings = (client_optimizer, server_optimizer, keep_state)
        return in_groups(arguments, steps_before, lambda arguments: _train(task, arguments, *settings))

    return by_cut(task, arguments, train_at_cut)


def _train(
    task: Task,
    arguments: list[Args],
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool,
) -> list[Model]:
    x_c, x_s = client_parts(arguments), stack(arguments, "start", "server")  # [C, d_c], [C, d_s]
    steps = FirstOrder(task, x_c, x_s, client_optimizer, server_optimizer)
    resume(arguments, client_optimizer=steps.client.optimizer)
    steps.server.optimizer.resume("server_optimizer", [args["start"] for args in arguments])
    for names in zip(*(args["batches"] for args in arguments), strict=True):
        steps.exchange(names)
    models = [{"client": x_c[i], "server": x_s[i]} for i in range(len(arguments))]
    return with_states(models, keep_state, **steps.optimizers)
