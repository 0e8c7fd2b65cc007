"""The frozen-client control: only the server part learns, from the untrained client part's activations.

This is SplitFed V1 without cut gradients and without messages that hold client parts: x_c never
changes. The accuracy by which another algorithm exceeds it is what that algorithm's clients have
learned. Every client holds x_c from the start and never waits for the server. Costs per iteration:
client forward, up |z| + |y|, server forward and backward (including the gradient of z, which is not used).
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sflsim.algorithms.common.first_order import check_optimizer, train_part
from sflsim.algorithms.common.kept import StateConfig, check_replicas, with_states
from sflsim.algorithms.common.replicas import ServerReplicas
from sflsim.clock.client import Client
from sflsim.clock.engine import Event, Protocol
from sflsim.fields import Passes
from sflsim.learning.calls import add_deltas, by_cut, stack
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.learning.optimizers import OptimizerConfig
from sflsim.simulation.base import AveragingConfig, Weighting
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import SynchronousConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.task import Task


class FrozenClient(ServerReplicas):
    """A server part that learns on the activations of clients that do not learn."""

    class Config(StateConfig, AveragingConfig, SynchronousConfig):
        """The server's optimizer starts afresh in every round, on every replica.

        With `keep_state` its states are averaged as the replicas are, and resume from the mean.
        """

        averaged: ClassVar[tuple[str, ...]] = ("server",)
        algorithm: Literal["frozen-client"] = "frozen-client"
        server_optimizer: OptimizerConfig = OptimizerConfig()
        local_iterations: Passes = Field(default=1, description="batches per participant and round")
        weighting: Weighting = Field(default="samples", description="how participants count in the average")

    per_client_cuts = ""
    sends = ("activation",)
    reports = frozenset({"times", "losses", "accuracy"})  # its clients never get a model

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Send the activations of one batch after another; the server steps the participant's replica."""
        costs, batches, steps = client.costs, [], []
        arrivals = count(1)  # jitter lets messages arrive in another order than they were sent in
        for exchange in range(self.config.local_iterations):
            client.begin(client.round, exchange)
            batches.append(client.next_batch())
            yield client.forward(costs.client_forward_flop)
            arrival = client.send_up(client.sent.activation_bytes + costs.labels_bytes)
            steps.append(sim.process(self._serve(sim, client, arrival, arrivals), client))
        yield sim.all_of(steps)
        return {"start": model, "client": client.index, "cut": client.cut, "batches": batches}

    def _serve(self, sim: Simulation, client: Client, arrival: Event, arrivals: Iterator[int]) -> Protocol:
        """Step the participant's replica, which takes one batch at a time."""
        yield arrival
        step_flop = client.costs.server_forward_flop + client.costs.server_backward_flop
        last = next(arrivals) == self.config.local_iterations
        yield sim.server.serve(step_flop, client.name, client.round, f"replica of {client.name}", last)

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Average the server replicas; the client part keeps every bit."""
        clients = [contribution["client"] for contribution in contributions]
        samples = [sim.samples(client) if self.config.weighting == "samples" else 1 for client in clients]
        optimizer = self.config.server_optimizer.plain()
        keep = self.config.keep_state
        shared = {"server_optimizer": optimizer, **({"keep_state": True} if keep else {})}
        args = {
            "model": model,
            "models": sim.learn(train, contributions, **shared),
            "starts": [model] * len(contributions),
            "weights": [size / sum(samples) for size in samples],
        }
        return sim.learn(add_deltas, [args], **({"states": "server_optimizer"} if keep else {}))[0]

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: forward passes only."""
        return costs.zeroth_order_memory_bytes()

    def check(self, costs: Costs) -> None:
        """Refuse arguments that the optimizer does not take."""
        check_optimizer("server_optimizer", self.config.server_optimizer)
        check_replicas(self.config)


def train(
    task: Task, arguments: list[Args], *, server_optimizer: dict[str, Any], keep_state: bool = False
) -> list[Model]:
    """Train server replicas from `start` over `batches` (the same number for each participant)."""
    return by_cut(
        task, arguments, lambda task, arguments: _train(task, arguments, server_optimizer, keep_state)
    )


def _train(
    task: Task, arguments: list[Args], server_optimizer: dict[str, Any], keep_state: bool
) -> list[Model]:
    import torch

    x_c, x_s = stack(arguments, "start", "client"), stack(arguments, "start", "server")  # [C, d_c], [C, d_s]

    def activations(names: Sequence[BatchName]) -> tuple[Tensor, Tensor]:
        x, y = task.batch(names)
        with torch.no_grad():
            return task.received(task.activation(x_c, x), names), y

    names = list(zip(*(args["batches"] for args in arguments), strict=True))
    before = [args["start"] for args in arguments]
    optimizer = train_part(task, task.server, x_s, names, map(activations, names), server_optimizer, before)
    models = [{"client": x_c[i], "server": x_s[i]} for i in range(len(arguments))]
    return with_states(models, keep_state, server_optimizer=optimizer)
