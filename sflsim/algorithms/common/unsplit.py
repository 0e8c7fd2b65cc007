"""Local training of the whole model, for FedAvg, FedAsync and FedBuff: protocol and math.

The model is not cut: a client downloads x, takes E first-order steps on its own samples and uploads x.
Values are {"client", "server"} as in all algorithms, the two halves of one flat vector. Costs per
contribution: |x_c| + |x_s| down and up, E times the forward and backward passes of both halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from sflsim.algorithms.common.first_order import check_optimizer, train_part
from sflsim.algorithms.common.kept import KeptStates, StateConfig, steps_before, with_states
from sflsim.algorithms.common.proximal import ProximalConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.fields import Count
from sflsim.learning.calls import in_groups, stack
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, BatchNames, Handle
from sflsim.learning.optimizers import OptimizerConfig
from sflsim.learning.schedules import rate_at
from sflsim.mistakes import mistake
from sflsim.simulation.base import Algorithm, AveragingConfig
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task


class UnsplitConfig(StateConfig, ProximalConfig, AveragingConfig):
    """Length and optimizer of a client's training; the optimizer starts afresh in each contribution.

    With `keep_state` it resumes from the client's last contribution.
    """

    epochs: Count | None = Field(
        default=None,
        description="passes over the client's samples, of ceil(samples / batch size) batches each; "
        "default: 1, unless local_iterations is given",
    )
    local_iterations: Count | None = Field(default=None, description="batches, in place of epochs")
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _one_length(self) -> UnsplitConfig:
        if self.epochs is not None and self.local_iterations is not None:
            found = f"epochs {self.epochs} and local_iterations {self.local_iterations}"
            raise mistake("is said twice", found, "one of the two", "drop one")
        return self


class Unsplit(Algorithm):
    """Base of the algorithms whose clients train the whole model."""

    per_client_cuts = "its clients train the whole model"
    sends = ("model",)
    model_parts = ("client", "server")
    unread = (
        "workload.cut", "variants.cut", "server.compute", "server.slots",
        *(f"workload.costs.{name}" for name in ("activation", "labels", "client_saved", "client_live",
          "client_step", "auxiliary_forward", "auxiliary_backward", "auxiliary_model")),
    )  # fmt: skip

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.kept = KeptStates(config)

    def train_locally(self, sim: Simulation, client: Client) -> Protocol:
        """Download the model, train it, upload it; return the names of the batches.

        The training is one computation and, with its two transfers, one exchange for any E.
        """
        costs = client.costs
        forward_flop = costs.client_forward_flop + costs.server_forward_flop
        backward_flop = costs.client_backward_flop + costs.server_backward_flop
        batches = BatchNames(client.index, client.next_batches(self._iterations(sim, client)))
        yield client.pull(client.sent.model_bytes)
        yield client.compute(len(batches) * (forward_flop + backward_flop))
        yield client.push(client.sent.model_bytes)
        return batches

    def record_training(
        self, sim: Simulation, contributions: list[Args], rounds: Sequence[int] | None = None
    ) -> list[Handle]:
        """Record the training of several contributions; return the models as they arrive.

        `rounds` are those, from 0, in which they pulled their models, and with it the learning rate; this one
        by default.
        """
        optimizer, rate = self.config.held(self.config.optimizer.plain()), self.config.optimizer.lr
        of_rate: dict[float, list[int]] = {}
        for place in range(len(contributions)):
            of_rate.setdefault(rate_at(rate, rounds[place] if rounds else sim.round), []).append(place)
        trained: dict[int, Handle] = {}
        for lr, places in of_rate.items():
            shared = {"optimizer": {**optimizer, "lr": lr}, **self.kept.shared}
            handles = sim.learn(train, [contributions[place] for place in places], **shared)
            trained.update(zip(places, handles, strict=True))
        in_order = [trained[place] for place in range(len(contributions))]
        self.kept.keep(contributions, in_order)
        return sim.pushed(in_order, [contribution["batches"][-1] for contribution in contributions])

    def probe(self, sim: Simulation, client: Client, batches: float) -> Protocol:
        """Download the model, find the loss of so many batches, send it back."""
        costs = client.costs
        yield client.pull(client.sent.model_bytes)
        yield client.forward((costs.client_forward_flop + costs.server_forward_flop) * batches)
        yield client.push(costs.scalar_bytes)
        return client.index

    def contribution(self, start: Handle, client: Client, batches: BatchNames) -> Args:
        """Return the arguments of one local training."""
        args = {"start": start, "client": client.index, "batches": batches}
        return args | self.kept.of(client.index)

    def _iterations(self, sim: Simulation, client: Client) -> int:
        """Return the number of batches (E) of one local training."""
        config: UnsplitConfig = self.config
        if config.local_iterations is not None:
            return config.local_iterations
        return (config.epochs or 1) * -(-sim.samples(client.index) // sim.batch_size(client.index))

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: backpropagation through the whole model."""
        return costs.whole_memory_bytes(self.config.optimizer.state_copies)

    def server_memory_bytes(self, costs: Costs, participants: int) -> float:
        """Return the whole model, once."""
        return costs.client_model_bytes + costs.server_model_bytes

    def check(self, costs: Costs) -> None:
        """Refuse arguments that the optimizer does not take."""
        check_optimizer("optimizer", self.config.optimizer)


def train(
    task: Task, arguments: list[Args], *, optimizer: dict[str, Any], keep_state: bool = False
) -> list[Model]:
    """Train the whole model from `start` over `batches`, whose number may differ by participant."""

    def of_one_length(arguments: list[Args]) -> list[Model]:
        return in_groups(
            arguments, steps_before, lambda arguments: _train(task, arguments, optimizer, keep_state)
        )

    return in_groups(arguments, lambda args: len(args["batches"]), of_one_length)


def _train(task: Task, arguments: list[Args], optimizer: dict[str, Any], keep_state: bool) -> list[Model]:
    import torch

    x = torch.cat([stack(arguments, "start", "client"), stack(arguments, "start", "server")], dim=1)  # [C, d]
    names = list(zip(*(args["batches"] for args in arguments), strict=True))
    states = [args["state"] for args in arguments if "state" in args]
    steps = train_part(task, task.whole, x, names, map(task.batch, names), optimizer, states, "optimizer")
    n_c = task.client.size
    models = [{"client": x[i, :n_c], "server": x[i, n_c:]} for i in range(len(arguments))]
    return with_states(models, keep_state, optimizer=steps)
