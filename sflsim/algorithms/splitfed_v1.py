"""SplitFed V1 (Thapa et al., AAAI 2022, arXiv 2004.12088): a server replica for every client.

All participants train in parallel; each has a server replica of its own, stepped on each batch.
At the round's end the replicas are averaged on the Split Server, the client parts on the Fed
Server. Costs are those of the first-order exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.common.first_order import FirstOrderAlgorithm, FirstOrderConfig, local_iterations
from sflsim.algorithms.common.kept import check_replicas, resume, steps_before, with_states
from sflsim.algorithms.common.replicas import ServerReplicas
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import average, by_cut, in_groups, stack
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.base import Weighting
from sflsim.simulation.simulation import Lane, Simulation
from sflsim.simulation.synchronous import SynchronousConfig

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task


class SplitFedV1(FirstOrderAlgorithm, ServerReplicas):
    """SplitFed with one server replica per participant."""

    class Config(FirstOrderConfig, SynchronousConfig):
        """Both optimizers start afresh in every round, or go on with `keep_state`.

        Then each client keeps the state of its own, and the states of the replicas are averaged as the
        replicas are: the next round's all go on from the mean.
        """

        algorithm: Literal["splitfed-v1"] = "splitfed-v1"
        weighting: Weighting = Field(default="samples", description="how participants count in the averages")

    per_client_cuts = ""

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Train the client part with a server replica."""
        batches = yield from self.take_turn(sim, client)
        lane = {"start": model, "client": client.index, "cut": client.cut, "batches": batches}
        return lane | self.kept.of(client.index)

    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Average the client parts and the server replicas."""
        trained = sim.learn(train, lanes, **self.optimizers(), **self.kept.shared)
        self.kept.keep(lanes, trained)
        together = {"model": model, "models": trained, "clients": [lane["client"] for lane in lanes]}
        return sim.learn(average, [together], weighting=self.config.weighting, **self.kept.of_replicas)[0]

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take, and states that cannot be averaged."""
        super().check(costs)
        check_replicas(self.config)


def train(
    task: Task,
    lanes: list[Lane],
    *,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool = False,
) -> list[Model]:
    """Train client parts and server replicas from `start` over `batches` (the same number in each lane)."""

    def train_there(task: Task, lanes: list[Lane]) -> list[Model]:
        settings = (client_optimizer, server_optimizer, keep_state)
        return in_groups(lanes, steps_before, lambda lanes: _train(task, lanes, *settings))

    return by_cut(task, lanes, train_there)


def _train(
    task: Task,
    lanes: list[Lane],
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool,
) -> list[Model]:
    x_c, x_s = stack(lanes, "start", "client"), stack(lanes, "start", "server")  # [C, d_c], [C, d_s]
    steps = local_iterations(task, x_c, x_s, client_optimizer, server_optimizer)
    resume(lanes, client_optimizer=steps.client_optimizer)
    steps.server_optimizer.resume("server_optimizer", [lane["start"] for lane in lanes])
    for names in zip(*(lane["batches"] for lane in lanes), strict=True):
        steps.exchange(names)
    models = [{"client": x_c[lane], "server": x_s[lane]} for lane in range(len(lanes))]
    return with_states(models, keep_state, **steps.optimizers)
