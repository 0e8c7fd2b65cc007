"""The first-order exchange that split learning is built on: protocol and math, said once.

Activations and labels go up, the cut gradient comes down; each side steps its own part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sflsim.algorithms.simulation import Simulation
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.errors import Problem, ScenarioError
from sflsim.learning.optimizers import Optimizer, OptimizerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.task import Task


def exchange_gradients(
    sim: Simulation,
    client: Client,
    exclusive: str | None = None,
    on_arrival: Callable[[], None] | None = None,
) -> Protocol:
    """Train one batch with the server: forward, activations up, server step, gradient down, backward.

    `exclusive` names a server model that serves one batch at a time; `on_arrival` is called when
    the batch takes its place in the server's queue.
    """
    costs = client.costs
    yield client.compute(costs.client_forward_flop)
    yield client.send_up(costs.activation_bytes + costs.labels_bytes)
    if on_arrival is not None:
        on_arrival()
    step_flop = costs.server_forward_flop + costs.server_backward_flop
    yield sim.server.serve(step_flop, client.name, client.round, exclusive)
    yield client.send_down(costs.activation_bytes)
    yield client.compute(costs.client_backward_flop)


class FirstOrder:
    """Client and server parts of C lanes under training, each with its optimizer.

    `exchange` changes the flat vectors it was made from in place.
    """

    def __init__(
        self, task: Task, client: tuple[list[Tensor], Optimizer], server: tuple[list[Tensor], Optimizer]
    ) -> None:
        self.task = task
        self.client_leaves, self.client_optimizer = client
        self.server_leaves, self.server_optimizer = server

    def exchange(self, x: Tensor, y: Tensor) -> None:
        """Take one step of both parts on inputs [C, B, ...] and labels [C, B]."""
        import torch

        task = self.task
        z = task.client.forward(self.client_leaves, x)  # [C, B, ...]
        received = z.detach().requires_grad_()
        losses = task.loss(task.server.forward(self.server_leaves, received), y)  # [C]
        cut_gradient, *server_gradients = torch.autograd.grad(losses.sum(), [received, *self.server_leaves])
        client_gradients = torch.autograd.grad(z, self.client_leaves, cut_gradient)
        self.server_optimizer.step(server_gradients)
        self.client_optimizer.step(client_gradients)


def local_iterations(
    task: Task, x_c: Tensor, x_s: Tensor, client_optimizer: dict[str, Any], server_optimizer: dict[str, Any]
) -> FirstOrder:
    """Return client parts [C, d_c] and server parts [C, d_s], ready to be trained in place."""
    lanes = x_c.shape[0]
    client = [view.detach().requires_grad_() for view in task.client.views(x_c)]
    server = [view.detach().requires_grad_() for view in task.server.views(x_s)]
    return FirstOrder(
        task,
        (client, Optimizer(client, lanes, client_optimizer)),
        (server, Optimizer(server, lanes, server_optimizer)),
    )


def check_optimizer(field: str, config: OptimizerConfig) -> None:
    """Refuse arguments that torch's optimizer of that name does not take."""
    unknown, taken = config.unknown_arguments()
    if unknown:
        raise ScenarioError(
            [
                Problem(f"{field}.{name}", f"{name!r}", f"name, lr, {', '.join(taken)} for {config.name}")
                for name in unknown
            ]
        )
