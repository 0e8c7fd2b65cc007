"""HERON-SFL (arXiv 2601.09076): local losses with zeroth-order steps at the client.

The round is that of `local_loss`, as in CSE-FSL; the server is first-order. Client part and head
step together along g = 1/P sum_p (F(x + mu u_p) - F(x)) / mu u_p, F being the head's loss. Costs per
iteration: 1 + P forward passes of the client part and of the head, and no backward pass.

The client's learning rate is 0.005 by default, but at most 100 / d, with d the parameters of part and head:
on Fashion-MNIST the mlp of width 64 (d = 50,890) collapses to one class at 0.005, and not at 100 / d. The
bound is MU-SplitFed's, and was chosen without looking at any accuracy (analysis/default_rates.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.common.local_loss import LocalLoss, LocalLossConfig, train_with, with_head
from sflsim.fields import Passes, StepSize
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.learning.optimizers import OptimizerConfig
from sflsim.learning.schedules import Rate
from sflsim.learning.zeroth_order import MAX_RATE_TIMES_DIMENSION, Direction, one_sided, rate
from sflsim.simulation.simulation import Simulation
from sflsim.work import moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.network.split import Part
    from sflsim.learning.task import Task


LR = 0.005


class EstimateOptimizer(OptimizerConfig):
    """An optimizer that takes a zeroth-order estimate as its gradient."""

    lr: Rate | None = Field(  # type: ignore[assignment]
        default=None, description="by default 0.005, at most 100 / d"
    )


class HeronSfl(LocalLoss):
    """Local losses, zeroth-order client steps."""

    class Config(LocalLossConfig):
        """The client's optimizer takes the estimate as its gradient."""

        algorithm: Literal["heron-sfl"] = "heron-sfl"
        client_optimizer: EstimateOptimizer = EstimateOptimizer()
        perturbations: Passes = Field(default=1, description="estimates averaged in each step (P)")
        mu: StepSize = Field(default=1e-3, description="size of the perturbation")
        direction: Direction = Field(
            default="sphere", description="uniform on the sphere of radius sqrt(d), or standard normal"
        )

    def step_flop(self, costs: Costs) -> float:
        """Return the FLOP of the head's forward pass and of P further forward passes of both."""
        both_flop = moved(costs.client_forward_flop) + moved(costs.auxiliary_forward_flop)
        perturbations: int = self.config.perturbations
        return costs.auxiliary_forward_flop + perturbations * both_flop

    def train_locally(self, sim: Simulation, arguments: list[Args], **shared: Any) -> list[Handle]:
        """Record zeroth-order training."""
        settings = {name: getattr(self.config, name) for name in ("perturbations", "mu", "direction")}
        return sim.learn(train, arguments, **shared, **settings)

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: forward passes only, and the optimizer's state."""
        states: int = self.config.client_optimizer.state_copies
        states_bytes = states * (costs.client_model_bytes + costs.auxiliary_model_bytes)
        return costs.zeroth_order_memory_bytes() + costs.auxiliary_model_bytes + states_bytes


def train(
    task: Task,
    arguments: list[Args],
    *,
    client_optimizer: dict[str, Any],
    perturbations: int,
    mu: float,
    direction: Direction,
    **settings: Any,
) -> list[Model]:
    """Train client parts and heads on one-sided estimates of the heads' mean cross entropy."""
    import torch

    def step(
        both: Part, x_CD: Tensor, names: Sequence[BatchName], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]:
        def loss(x_CD: Tensor) -> Tensor:
            return task.loss(both.forward(both.views(x_CD), x), y)

        views = both.views(x_CD)
        size = len(task.client.shapes)
        z = task.client.forward(views[:size], x)
        losses = task.loss(task.auxiliary.forward(views[size:], z), y)  # [C]
        g_CD = torch.zeros_like(x_CD)
        for p in range(perturbations):
            u = task.directions([("heron-sfl", *name, p) for name in names], both, direction)
            rises = one_sided(loss, losses, x_CD, u, mu)  # [C]
            u.add_(g_CD, rises / (perturbations * mu))
        return z, both.parameters(both.views(g_CD))

    lr = rate(None, LR, MAX_RATE_TIMES_DIMENSION, with_head(task).dimension)
    client_optimizer = {"lr": lr, **client_optimizer}
    with torch.no_grad():
        return train_with(task, arguments, step, client_optimizer=client_optimizer, **settings)
