"""The first-order exchange of split learning: protocol and math.

Activations and labels go up, the cut gradient comes down; each side steps its own part. Costs per
iteration: client forward, up |z| + |y|, server forward and backward, down |z|, client backward.
Per turn of a client: the client part down and up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sflsim.algorithms.common.client_parts import ClientParts
from sflsim.algorithms.common.kept import KeptStates, StateConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.errors import Problem, ScenarioError, refused
from sflsim.fields import Passes
from sflsim.learning.costs import Costs
from sflsim.learning.optimizers import PER_TENSOR, Optimizer, OptimizerConfig
from sflsim.simulation.base import Algorithm
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.network.split import Part
    from sflsim.learning.task import Task


class FirstOrderConfig(StateConfig):
    """The optimizers of both sides, and the batches of a client's turn."""

    client_optimizer: OptimizerConfig = OptimizerConfig()
    server_optimizer: OptimizerConfig = OptimizerConfig()
    local_iterations: Passes = Field(default=1, description="batches per participant and round")


class FirstOrderAlgorithm(Algorithm):
    """Base of the algorithms with a cut gradient: a client's turn, its memory, checks."""

    sends = ("activation", "gradient", "model")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.kept = KeptStates(config)
        self.parts = ClientParts(config)

    def take_turn(
        self,
        sim: Simulation,
        client: Client,
        exclusive: str | None = None,
        on_arrival: Callable[[BatchName], None] | None = None,
    ) -> Protocol:
        """Pull the client part, train it batch by batch, send it back; return the batches' names.

        A client that goes on from its own part neither pulls nor sends it (see `ClientParts`).

        `exclusive` and `on_arrival` are those of `exchange_gradients`; `on_arrival` takes the batch.
        """
        batches: list[BatchName] = []
        if self.parts.are_pulled(client):
            yield client.pull(client.sent.model_bytes)
        for exchange in range(self.config.local_iterations):
            client.begin(client.round, exchange)
            batches.append(client.next_batch())
            arrived = on_arrival and partial(on_arrival, batches[-1])
            yield from exchange_gradients(
                sim, client, exclusive, arrived, exchange + 1 == self.config.local_iterations
            )
        if self.parts.are_pushed(client):
            yield client.push(client.sent.model_bytes)
        return batches

    def optimizers(self) -> dict[str, Any]:
        """Return both optimizers as the shared arguments of the math."""
        return {
            "client_optimizer": self.config.client_optimizer.plain(),
            "server_optimizer": self.config.server_optimizer.plain(),
        }

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: it trains by backpropagation."""
        return costs.first_order_memory_bytes(self.config.client_optimizer.state_copies)

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take."""
        check_optimizer("client_optimizer", self.config.client_optimizer)
        check_optimizer("server_optimizer", self.config.server_optimizer)


def exchange_gradients(
    sim: Simulation,
    client: Client,
    exclusive: str | None = None,
    on_arrival: Callable[[], None] | None = None,
    last: bool = False,
) -> Protocol:
    """Train one batch with the server: forward, activations up, server step, gradient down, backward.

    `exclusive` names a server model that serves one batch at a time. `on_arrival` is called when
    the batch enters the server's queue. `last`: it is the client's last batch of the round.
    """
    costs = client.costs
    yield client.forward(costs.client_forward_flop)
    yield client.send_up(client.sent.activation_bytes + costs.labels_bytes)
    if on_arrival is not None:
        on_arrival()
    step_flop = costs.server_forward_flop + costs.server_backward_flop
    yield sim.server.serve(step_flop, client.name, client.round, exclusive, last)
    yield client.send_down(client.sent.gradient_bytes)
    yield client.compute(costs.client_backward_flop)


class ClientSide:
    """Client parts of C participants in training: forward to the cut, a step from the cut gradient.

    It changes the flat vectors x_c [C, n_c] in place, running statistics included.
    """

    def __init__(self, task: Task, x_c: Tensor, optimizer: dict[str, Any]) -> None:
        self.task = task
        self.leaves = task.client.leaves(x_c)
        self.optimizer = Optimizer(task.client.parameters(self.leaves), len(x_c), optimizer)

    def forward(self, names: Sequence[BatchName], x: Tensor) -> Tensor:
        """Return the activations [C, B, ...] of the named batches' inputs."""
        self._z = self.task.client.forward(self.leaves, x, self.task.training(names))
        return self._z

    def backward(self, cut_gradient: Tensor) -> None:
        """Take the step that the gradient by the last activations [C, B, ...] leads to."""
        import torch

        if self.optimizer.leaves:
            self.optimizer.step(torch.autograd.grad(self._z, self.optimizer.leaves, cut_gradient))


class ServerSide:
    """Server parts of C participants in training; it changes the flat vectors x_s [C, n_s] in place."""

    def __init__(self, task: Task, x_s: Tensor, optimizer: dict[str, Any]) -> None:
        self.task = task
        self.leaves = task.server.leaves(x_s)
        self.optimizer = Optimizer(task.server.parameters(self.leaves), len(x_s), optimizer)

    def step(self, z: Tensor, y: Tensor, names: Sequence[BatchName], *by: Tensor) -> tuple[Tensor, ...]:
        """Take a step on activations z [C, B, ...] and labels [C, B]; return the gradients `by` others."""
        losses = self.task.loss(self.task.server.forward(self.leaves, z, self.task.training(names)), y)  # [C]
        own = self.optimizer.leaves
        gradients = gradients_of(losses.sum(), [*own, *by])
        self.optimizer.step(gradients[: len(own)])
        return gradients[len(own) :]


class FirstOrder:
    """Client parts [C, n_c] and server parts [C, n_s], trained in place, each with its optimizer."""

    def __init__(
        self,
        task: Task,
        x_c: Tensor,
        x_s: Tensor,
        client_optimizer: dict[str, Any],
        server_optimizer: dict[str, Any],
    ) -> None:
        self.task = task
        self.client = ClientSide(task, x_c, client_optimizer)
        self.server = ServerSide(task, x_s, server_optimizer)

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """Return both optimizers by the names of their states."""
        return {"client_optimizer": self.client.optimizer, "server_optimizer": self.server.optimizer}

    def exchange(self, names: Sequence[BatchName]) -> None:
        """Take one step of both parts on the named batches, one per participant."""
        x, y = self.task.batch(names)  # [C, B, ...], [C, B]
        z = self.task.received(self.client.forward(names, x), names)  # [C, B, ...]
        # one backward pass through both parts: two take a tenth longer in small networks
        gradients = self.server.step(z, y, names, *self.client.optimizer.leaves)
        self.client.optimizer.step(gradients)


def train_part(
    task: Task,
    part: Part,
    flat_CN: Tensor,
    names: Sequence[Sequence[BatchName]],
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: dict[str, Any],
    states: Sequence[Model] = (),
    name: str = "server_optimizer",
) -> Optimizer:
    """Train a part that ends in logits, in place, on inputs [C, B, ...] and labels [C, B] of each batch.

    The optimizer, which is returned, resumes from the participants' `states` under `name`, if given.
    """
    trained = part.leaves(flat_CN)
    steps = Optimizer(part.parameters(trained), len(flat_CN), optimizer)
    if states:
        steps.resume(name, states)
    for step_names, (inputs, labels) in zip(names, batches, strict=True):
        losses = task.loss(part.forward(trained, inputs, task.training(step_names)), labels)  # [C]
        steps.step(gradients_of(losses.sum(), steps.leaves))
    return steps


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradient of each parameter; an empty tuple if all are frozen."""
    import torch

    return torch.autograd.grad(loss, parameters) if parameters else ()


def check_optimizer(field: str, config: OptimizerConfig) -> None:
    """Refuse arguments that torch's optimizer of that name does not take."""
    if config.name not in PER_TENSOR and not config.arguments:
        return  # nothing to refuse, and a timing-only run goes without torch
    unknown, taken = config.unknown_arguments()
    if unknown:
        raise ScenarioError(
            [
                Problem(f"{field}.{name}", f"{name!r}", f"name, lr, {', '.join(taken)} for {config.name}")
                for name in unknown
            ]
        )
    if wrong := config.misfits():
        raise ScenarioError([replace(problem, path=f"{field}.{problem.path}") for problem in wrong])
    reason = config.wrong_value()
    if reason:
        given = ", ".join(f"{name} {value!r}" for name, value in config.plain().items())
        raise refused(field, given, f"what torch.optim.{config.name} takes", reason)
