"""Local training of the whole model, as FedAvg, FedAsync and FedBuff have it: protocol and math.

Nothing is cut: a client downloads x, takes E first-order steps on its own samples and uploads x.
Values stay {"client", "server"} like everybody's, the two halves of one flat vector. Per
contribution: |x_c| + |x_s| down and up, E times the forward and backward passes of both halves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from sflsim.algorithms.common.first_order import check_optimizer, train_part
from sflsim.algorithms.common.kept import KeptStates, StateConfig, steps_before, with_states
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import in_groups, stack
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Handle, Lane
from sflsim.learning.optimizers import OptimizerConfig
from sflsim.mistakes import mistake
from sflsim.simulation.base import Algorithm, Count
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.task import Task


class UnsplitConfig(StateConfig):
    """How long a client trains and with what; its optimizer starts afresh each time it takes the model.

    With `keep_state` it goes on from the client's last contribution.
    """

    epochs: Count | None = Field(
        default=None,
        description="passes over the client's samples, of ceil(samples / batch size) batches each; "
        "1 where local_iterations is not given either",
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
    """What algorithms whose clients train the whole model have in common."""

    per_client_cuts = "its clients train the whole model"
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

        The training is one computation, and with its two transfers one exchange, whatever E is.
        """
        costs = client.costs
        model_bytes = costs.client_model_bytes + costs.server_model_bytes
        forward_flop = costs.client_forward_flop + costs.server_forward_flop
        backward_flop = costs.client_backward_flop + costs.server_backward_flop
        batches = [client.next_batch() for _ in range(self._iterations(sim, client))]
        yield client.pull(model_bytes)
        yield client.compute(len(batches) * (forward_flop + backward_flop))
        yield client.push(model_bytes)
        return batches

    def name_training(self, sim: Simulation, lanes: list[Lane]) -> list[Handle]:
        """Name the training of several lanes; their optimizers' states stay with the clients."""
        trained = sim.learn(train, lanes, optimizer=self.config.optimizer.plain(), **self.kept.shared)
        self.kept.keep(lanes, trained)
        return trained

    def lane(self, start: Handle, client: Client, batches: list[BatchName]) -> Lane:
        """Return the lane of one local training."""
        lane = {"start": start, "client": client.index, "batches": batches}
        return lane | self.kept.of(client.index)

    def _iterations(self, sim: Simulation, client: Client) -> int:
        """Return the number of batches (E) of one local training."""
        config: UnsplitConfig = self.config
        if config.local_iterations is not None:
            return config.local_iterations
        return (config.epochs or 1) * -(-sim.samples(client.index) // sim.batch_size)

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
    task: Task, lanes: list[Lane], *, optimizer: dict[str, Any], keep_state: bool = False
) -> list[Model]:
    """Train the whole model from `start` over each lane's own `batches`, however many it has."""

    def as_long(lanes: list[Lane]) -> list[Model]:
        return in_groups(lanes, steps_before, lambda lanes: _train(task, lanes, optimizer, keep_state))

    return in_groups(lanes, lambda lane: len(lane["batches"]), as_long)


def _train(task: Task, lanes: list[Lane], optimizer: dict[str, Any], keep_state: bool) -> list[Model]:
    import torch

    x = torch.cat([stack(lanes, "start", "client"), stack(lanes, "start", "server")], dim=1)  # [C, d]
    names = list(zip(*(lane["batches"] for lane in lanes), strict=True))
    states = [lane["state"] for lane in lanes if "state" in lane]
    steps = train_part(task, task.whole, x, names, map(task.batch, names), optimizer, states, "optimizer")
    n_c = task.client.size
    models = [{"client": x[lane, :n_c], "server": x[lane, n_c:]} for lane in range(len(lanes))]
    return with_states(models, keep_state, optimizer=steps)
