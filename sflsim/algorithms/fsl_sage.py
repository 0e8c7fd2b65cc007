"""FSL-SAGE (ICML 2025, arXiv 2505.23182): CSE-FSL whose heads are fitted to the server's cut gradients.

The round is that of CSE-FSL. At the start of a round after every l-th, the server computes the true cut
gradient dF/dz on the activations of each participant that it has buffered, and fits a copy of the head of the
last average to it: some epochs on the mean squared difference between the head's cut gradient and the true
one. The participant waits for its head and trains the round with it; after the round heads are averaged as
ever.

Choices where the source is silent: the buffer holds a client's newest whole batches, one at least, and an
epoch takes a step for each, in order of arrival; both gradients are of the sum of the samples' losses, so
that batches of any size weigh alike; the fit's optimizer starts afresh; the server part is as in use (no
dropout, running statistics).

Costs: those of CSE-FSL. At each fit, for each client: the head down, and for every buffered batch the
server's forward and backward pass and in each epoch three times the head's (its gradient, and the gradient
of that at about twice the price).
"""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.common.first_order import check_optimizer, gradients_of
from sflsim.algorithms.common.local_loss import LocalLossConfig, head
from sflsim.algorithms.common.proximal import ProximalConfig
from sflsim.algorithms.cse_fsl import CseFsl
from sflsim.clock.client import Client
from sflsim.clock.engine import Event, Protocol
from sflsim.fields import Count, Held, Passes
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.learning.optimizers import Optimizer, OptimizerConfig
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.calls import Model
    from sflsim.learning.network.split import Part
    from sflsim.learning.task import Task


HEAD = ("auxiliary",)
"""What the server sends after a fit."""


class FslSage(CseFsl):
    """Local losses at heads that are fitted to the server's cut gradients."""

    class Config(LocalLossConfig, ProximalConfig):
        """The fields of CSE-FSL, and those of the fit; defaults are the source's settings."""

        algorithm: Literal["fsl-sage"] = "fsl-sage"
        fit_every: Count = Field(default=10, description="rounds between two fits of the heads (l)")
        fit_epochs: Passes = Field(default=5, description="passes of a fit over the buffered activations")
        fit_samples: Held = Field(
            default=1000,
            description="most samples per client that the server buffers, in whole batches; one in any case",
        )
        head_optimizer: OptimizerConfig = OptimizerConfig(name="Adam", lr=1e-3)

        @property
        def cycle(self) -> int:
            """The rounds after which fits and averages of client parts coincide again."""
            return lcm(super().cycle, self.fit_every)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._buffers: dict[int, list[Args]] = {}  # of each client, what the server has of it

    def own_heads(self, sim: Simulation, model: Handle, sampled: list[Client]) -> dict[int, Args]:
        """Record the fits of a round that begins with some: an argument of the training of each client."""
        fitted = [client for client in sampled if self._is_fitted(client.index, sim.round)]
        clients = [client.index for client in fitted]
        arguments = [
            {"server": model, "start": self.parts.averaged(model), "sent": list(self._buffers[client])}
            for client in clients
        ]
        shared = {"epochs": self.config.fit_epochs, "head_optimizer": self.config.head_optimizer.plain()}
        heads = sim.learn(fit, arguments, **shared) if clients else []
        return {
            client.index: {"head": sim.pulled(client, handle, HEAD)}
            for client, handle in zip(fitted, heads, strict=True)
        }

    def _is_fitted(self, client: int, rounds: int) -> bool:
        """Tell whether a client gets a head of its own after so many rounds."""
        return rounds % self.config.fit_every == 0 and client in self._buffers

    def await_head(self, sim: Simulation, client: Client) -> Event | None:
        """Let the server fit the client's head and send it, if the round begins with a fit."""
        if not self._is_fitted(client.index, client.round - 1):
            return None
        return sim.process(self._fit(sim, client), client)

    def _fit(self, sim: Simulation, client: Client) -> Protocol:
        costs = client.costs
        gradient_flop = costs.server_forward_flop + costs.server_backward_flop
        epoch_flop = 3 * (costs.auxiliary_forward_flop + costs.auxiliary_backward_flop)
        batch_flop = gradient_flop + self.config.fit_epochs * epoch_flop
        batches = len(self._buffers[client.index])
        yield sim.server.serve(batches * batch_flop, client.name, client.round, "server model")
        yield client.send_down(client.sent.bytes_of(HEAD))

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Buffer what has arrived, then average client parts and heads."""
        for sent in self.arrivals:
            sent["trained"].held = True
            client = sent["batch"][0]
            most = max(1, self.config.fit_samples // sim.batch_size(client))
            buffer = self._buffers.setdefault(client, [])
            buffer.append(sent)
            del buffer[:-most]
        return super().aggregate(sim, model, contributions)

    def check(self, costs: Costs) -> None:
        """Refuse what CSE-FSL does, and arguments that the fit's optimizer does not take."""
        super().check(costs)
        check_optimizer("head_optimizer", self.config.head_optimizer)


def fit(task: Task, arguments: list[Args], *, epochs: int, head_optimizer: dict[str, Any]) -> list[Model]:
    """Return each client's head after its fit to the cut gradients of `server` on what it has `sent`."""
    return [_fit(task, args, epochs, head_optimizer) for args in arguments]


def _fit(task: Task, args: Args, epochs: int, settings: dict[str, Any]) -> Model:
    x_a = head(task, args["start"])[None].clone()  # [1, d_a]
    leaves = task.auxiliary.leaves(x_a)
    optimizer = Optimizer(task.auxiliary.parameters(leaves), 1, settings)
    server = task.server.views(args["server"]["server"][None])
    batches = []
    for sent in args["sent"]:
        z = sent["trained"][f"sent.{sent['exchange']}"][None].detach().requires_grad_()  # [1, B, ...]
        y = task.batch([tuple(sent["batch"])])[1]
        batches.append((z, y, _cut_gradient(task, task.server, server, z, y).detach()))
    for _ in range(epochs):
        for z, y, wanted in batches:
            found = _cut_gradient(task, task.auxiliary, leaves, z, y)
            optimizer.step(gradients_of((found - wanted).square().mean(), optimizer.leaves))
    return {"auxiliary": x_a[0]}


def _cut_gradient(task: Task, part: Part, views: list[Tensor], z: Tensor, y: Tensor) -> Tensor:
    """Return the gradient by z [1, B, ...] of the sum of the samples' losses; differentiable by `views`."""
    import torch

    loss = task.loss(part.forward(views, z), y).sum() * y.shape[1]
    return torch.autograd.grad(loss, z, create_graph=True)[0]
