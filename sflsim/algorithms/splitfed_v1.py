"""SplitFed V1 (Thapa et al., AAAI 2022, arXiv 2004.12088): a server replica for every client.

All participants train in parallel; each has a server replica of its own, stepped on each batch.
At the round's end the replicas are averaged on the Split Server, the client parts on the Fed
Server. Per iteration: client forward, activations and labels up, server forward and backward,
cut gradient down, client backward. Per round: the client part down and up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.base import Weighting
from sflsim.algorithms.first_order import check_optimizer, exchange_gradients, local_iterations
from sflsim.algorithms.simulation import Lane, Simulation
from sflsim.algorithms.synchronous import Synchronous, SynchronousConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import average, by_cut, stack
from sflsim.learning.costs import Costs
from sflsim.learning.lineage import Handle
from sflsim.learning.optimizers import OptimizerConfig

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task


class SplitFedV1(Synchronous):
    """SplitFed with one server replica per participant."""

    class Config(SynchronousConfig):
        """Both optimizers start afresh in every round: averaging leaves no state to go on from."""

        algorithm: Literal["splitfed-v1"] = "splitfed-v1"
        client_optimizer: OptimizerConfig = OptimizerConfig()
        server_optimizer: OptimizerConfig = OptimizerConfig()
        local_iterations: int = Field(
            default=1, ge=1, le=4096, description="batches per participant and round"
        )
        weighting: Weighting = Field(default="samples", description="how participants count in the averages")

    per_client_cuts = ""

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Pull the client part, train it batch by batch with the server, send it back."""
        batches = []
        yield client.send_down(client.costs.client_model_bytes)
        for exchange in range(self.config.local_iterations):
            client.begin(client.round, exchange)
            batches.append(client.next_batch())
            yield from exchange_gradients(sim, client)
        yield client.send_up(client.costs.client_model_bytes)
        return {"start": model, "client": client.index, "cut": client.cut, "batches": batches}

    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Average the client parts and the server replicas."""
        trained = sim.learn(
            train,
            lanes,
            client_optimizer=self.config.client_optimizer.plain(),
            server_optimizer=self.config.server_optimizer.plain(),
        )
        together = {"model": model, "models": trained, "clients": [lane["client"] for lane in lanes]}
        return sim.learn(average, [together], weighting=self.config.weighting)[0]

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: it trains by backpropagation."""
        return costs.first_order_memory_bytes(self.config.client_optimizer.state_copies)

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take."""
        check_optimizer("client_optimizer", self.config.client_optimizer)
        check_optimizer("server_optimizer", self.config.server_optimizer)


def train(
    task: Task, lanes: list[Lane], *, client_optimizer: dict[str, Any], server_optimizer: dict[str, Any]
) -> list[Model]:
    """Train client parts and server replicas from `start` over `batches` (the same number in each lane)."""
    optimizers = (client_optimizer, server_optimizer)
    return by_cut(task, lanes, lambda task, lanes: _train(task, lanes, *optimizers))


def _train(
    task: Task, lanes: list[Lane], client_optimizer: dict[str, Any], server_optimizer: dict[str, Any]
) -> list[Model]:
    x_c, x_s = stack(lanes, "start", "client"), stack(lanes, "start", "server")  # [C, d_c], [C, d_s]
    steps = local_iterations(task, x_c, x_s, client_optimizer, server_optimizer)
    for number in range(len(lanes[0]["batches"])):
        x, y = task.batch([lane["batches"][number] for lane in lanes])
        steps.exchange(x, y)
    return [{"client": x_c[lane], "server": x_s[lane]} for lane in range(len(lanes))]
