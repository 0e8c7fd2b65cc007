"""CSE-FSL: split federated learning on local losses, with backpropagation at the client.

The round is that of `local_loss`: an auxiliary head at the client, activations up every q batches,
no gradient down. Costs per iteration: the forward and backward passes of the client part and the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sflsim.algorithms.common.local_loss import LocalLoss, LocalLossConfig, train_with
from sflsim.algorithms.common.proximal import ProximalConfig
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.network.split import Part
    from sflsim.learning.task import Task


class CseFsl(LocalLoss):
    """Local losses, first-order client steps."""

    class Config(LocalLossConfig, ProximalConfig):
        """The fields of `LocalLossConfig`, and FedProx's term on part and head."""

        algorithm: Literal["cse-fsl"] = "cse-fsl"

    def step_flop(self, costs: Costs) -> float:
        """Return the FLOP of the head, forward and backward, and of the part's backward pass."""
        head_flop = costs.auxiliary_forward_flop + costs.auxiliary_backward_flop
        return head_flop + costs.client_backward_flop

    def train_locally(self, sim: Simulation, arguments: list[Args], **shared: Any) -> list[Handle]:
        """Record first-order training."""
        shared["client_optimizer"] = self.config.held(shared["client_optimizer"])
        return sim.learn(train, arguments, **shared)

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: it trains part and head by backpropagation."""
        states: int = self.config.client_optimizer.state_copies
        return costs.first_order_memory_bytes(states) + (2 + states) * costs.auxiliary_model_bytes


def train(task: Task, arguments: list[Args], **settings: Any) -> list[Model]:
    """Train client parts and heads on the heads' mean cross entropy."""

    def step(
        both: Part, x_CD: Tensor, names: Sequence[BatchName], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]:
        leaves, z = forward(task, both, x_CD, names, x)
        return z.detach(), gradients(task, both, leaves, z, y, names)

    return train_with(task, arguments, step, **settings)


def forward(
    task: Task, both: Part, x_CD: Tensor, names: Sequence[BatchName], x: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Return the leaves of client parts and heads [C, d_c + d_a], and the activations [C, B, ...]."""
    leaves = both.leaves(x_CD)
    return leaves, task.client.forward(leaves[: len(task.client.shapes)], x, task.training(names))


def gradients(
    task: Task, both: Part, leaves: list[Tensor], z: Tensor, y: Tensor, names: Sequence[BatchName]
) -> Sequence[Tensor]:
    """Return the gradients of the heads' mean cross entropy by all that is trained of both."""
    import torch

    head = leaves[len(task.client.shapes) :]
    losses = task.loss(task.auxiliary.forward(head, z, task.training(names)), y)  # [C]
    return torch.autograd.grad(losses.sum(), both.parameters(leaves))
