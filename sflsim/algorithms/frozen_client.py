"""The frozen-client control: only the server part learns, from the untrained client part's activations.

SplitFed V1 without cut gradients and without client parts on the wire: x_c stays what it was, so
whatever an algorithm with clients that learn is better by, its clients have learned. Without it
nobody can tell for a zeroth-order client. Every client holds x_c from the start and never waits
for the server. Per iteration: client forward, up |z| + |y|, server forward and backward (counted
with the gradient of z, which nobody needs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.common.first_order import check_optimizer, train_part
from sflsim.algorithms.common.kept import StateConfig, check_replicas, with_states
from sflsim.algorithms.common.replicas import ServerReplicas
from sflsim.clock.client import Client
from sflsim.clock.engine import Event, Protocol
from sflsim.learning.calls import add_deltas, by_cut, stack
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Handle
from sflsim.learning.optimizers import OptimizerConfig
from sflsim.simulation.base import Weighting
from sflsim.simulation.simulation import Lane, Simulation
from sflsim.simulation.synchronous import SynchronousConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.task import Task


class FrozenClient(ServerReplicas):
    """A server part that learns on the activations of clients that do not."""

    class Config(StateConfig, SynchronousConfig):
        """The server's optimizer starts afresh in every round, on every replica.

        With `keep_state` its states are averaged as the replicas are, and go on from the mean.
        """

        algorithm: Literal["frozen-client"] = "frozen-client"
        server_optimizer: OptimizerConfig = OptimizerConfig()
        local_iterations: int = Field(
            default=1, ge=1, le=4096, description="batches per participant and round"
        )
        weighting: Weighting = Field(default="samples", description="how participants count in the average")

    per_client_cuts = ""

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Send the activations of one batch after another; the server steps the participant's replica."""
        costs, batches, steps = client.costs, [], []
        for exchange in range(self.config.local_iterations):
            client.begin(client.round, exchange)
            batches.append(client.next_batch())
            yield client.forward(costs.client_forward_flop)
            arrival = client.send_up(costs.activation_bytes + costs.labels_bytes)
            steps.append(sim.process(self._serve(sim, client, arrival, exchange), client))
        yield sim.all_of(steps)
        return {"start": model, "client": client.index, "cut": client.cut, "batches": batches}

    def _serve(self, sim: Simulation, client: Client, arrival: Event, exchange: int) -> Protocol:
        """Step the participant's one replica, which takes one batch at a time."""
        yield arrival
        step_flop = client.costs.server_forward_flop + client.costs.server_backward_flop
        last = exchange + 1 == self.config.local_iterations
        yield sim.server.serve(step_flop, client.name, client.round, f"replica of {client.name}", last)

    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Average the server replicas; the client part keeps every bit."""
        samples = [sim.samples(lane["client"]) if self.config.weighting == "samples" else 1 for lane in lanes]
        optimizer = self.config.server_optimizer.plain()
        kept = self.config.keep_state
        shared = {"server_optimizer": optimizer, **({"keep_state": True} if kept else {})}
        moves = {
            "model": model,
            "models": sim.learn(train, lanes, **shared),
            "starts": [model] * len(lanes),
            "weights": [size / sum(samples) for size in samples],
        }
        return sim.learn(add_deltas, [moves], **({"states": "server_optimizer"} if kept else {}))[0]

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: forward passes only."""
        return costs.zeroth_order_memory_bytes()

    def check(self, costs: Costs) -> None:
        """Refuse arguments that the optimizer does not take."""
        check_optimizer("server_optimizer", self.config.server_optimizer)
        check_replicas(self.config)


def train(
    task: Task, lanes: list[Lane], *, server_optimizer: dict[str, Any], keep_state: bool = False
) -> list[Model]:
    """Train server replicas from `start` over `batches` (the same number in each lane)."""
    return by_cut(task, lanes, lambda task, lanes: _train(task, lanes, server_optimizer, keep_state))


def _train(task: Task, lanes: list[Lane], server_optimizer: dict[str, Any], keep_state: bool) -> list[Model]:
    import torch

    x_c, x_s = stack(lanes, "start", "client"), stack(lanes, "start", "server")  # [C, d_c], [C, d_s]

    def activations(names: Sequence[BatchName]) -> tuple[Tensor, Tensor]:
        x, y = task.batch(names)
        with torch.no_grad():
            return task.activation(x_c, x), y

    names = list(zip(*(lane["batches"] for lane in lanes), strict=True))
    before = [lane["start"] for lane in lanes]
    optimizer = train_part(task, task.server, x_s, names, map(activations, names), server_optimizer, before)
    models = [{"client": x_c[lane], "server": x_s[lane]} for lane in range(len(lanes))]
    return with_states(models, keep_state, server_optimizer=optimizer)
