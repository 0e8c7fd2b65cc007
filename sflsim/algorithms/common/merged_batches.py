"""Training on merged batches, for PSL and EPSL: the math.

Client parts are trained stacked where that pays; their activations are joined along the batch for one server
part. A merged batch holds sum(b) samples, b_i of participant i. Shapes: C participants of one stack, M of a
merged batch, n samples of each batch that share their gradients.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from sflsim.algorithms.common.client_parts import client_parts
from sflsim.algorithms.common.kept import resume, steps_before, with_states
from sflsim.learning.calls import weighted_mean
from sflsim.learning.graph.lineage import Args
from sflsim.learning.optimizers import Optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task

    Shape = tuple[int, int]
    """Participants of a stack, and samples of each batch."""


def shared_samples(phi: float, sizes: list[int]) -> int:
    """Return how many samples of each batch share their gradients: ceil(phi min b)."""
    return ceil(phi * min(sizes))


def train(
    task: Task,
    arguments: list[Args],
    *,
    share_gradient: float,
    weighting: str,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool = False,
    each: bool = False,
    pushed: bool = True,
) -> list[Model]:
    """Train one server part and all client parts on merged batches; average those of `clients`.

    A participant's `batches` are those that reached the server. With `each` the clients' own parts are there
    under "<client>.", with `keep_state` also the states of their optimizers. Averaged are the parts as they
    arrive, or where they are not `pushed` as they are.
    """
    settings = (share_gradient, weighting, client_optimizer, server_optimizer, keep_state, each, pushed)
    return [_train(task, args, *settings) for args in arguments]


def _train(
    task: Task,
    args: Args,
    phi: float,
    weighting: str,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool,
    each: bool,
    pushed: bool,
) -> Model:
    x_s = args["start"]["server"][None].clone()  # [1, n_s]
    server = task.server.leaves(x_s)
    steps = Optimizer(task.server.parameters(server), 1, server_optimizer)
    steps.restore("server_optimizer", args["start"])
    stacks = [Stack(task, args["start"], members, client_optimizer) for members in _alike(task, args)]
    for iteration in range(max(len(one.names) for one in stacks)):
        live = [one for one in stacks if iteration < len(one.names)]
        sent = [one.forward(iteration) for one in live]
        gradients, cut = _server_gradients(task, server, steps.leaves, live, sent, phi)
        steps.step(gradients)
        for one, slices in zip(live, cut, strict=True):
            one.backward(slices)
    models = {index: model for one in stacks for index, model in one.models(keep_state).items()}
    counted = [models[client] for client in args["clients"]]
    states = {
        f"{client}.{name}": value
        for client, model in zip(args["clients"], counted, strict=True)
        for name, value in model.items()
        if each
    }
    if pushed:
        last = {one["client"]: one["batches"][-1] for one in args["participants"]}
        counted = [
            task.received_model(model, ("client",), "up", "client", *last[client])
            for client, model in zip(args["clients"], counted, strict=True)
        ]
    mean = weighted_mean(task, counted, "client", args["clients"], weighting)
    return {"client": mean, "server": x_s[0], **steps.state("server_optimizer"), **states}


def _server_gradients(
    task: Task,
    server: list[Tensor],
    trained: list[Tensor],
    stacks: list[Stack],
    sent: list[tuple[Tensor, Tensor]],
    phi: float,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients of `trained`, and of each stack's batches the cut gradient, scaled by sum(b) / b.

    `sent` has the activations [C, b, ...] and labels [C, b] of each stack.
    """
    import torch

    z = torch.cat([one.flatten(0, 1) for one, _ in sent])[None].requires_grad_()  # [1, sum(b), ...]
    y = torch.cat([one.flatten() for _, one in sent])[None]
    names = [name for one in stacks for name in one.under_way]
    logits = task.server.forward(server, z, task.training_joined(names))
    loss = task.loss(logits, y).sum()
    shapes: list[Shape] = [(len(one), one.shape[1]) for one, _ in sent]
    shared = shared_samples(phi, [size for _, size in shapes])
    if shared:
        gradients, cut = _shared_gradients(task, server, trained, loss, logits, z, _first(shapes, shared))
    else:
        *gradients, cut = torch.autograd.grad(loss, [*trained, z])
    pieces = cut[0].split([participants * size for participants, size in shapes])
    total = z.shape[1]
    return list(gradients), [
        piece.unflatten(0, shape) * (total / shape[1]) for piece, shape in zip(pieces, shapes, strict=True)
    ]


def _first(shapes: list[Shape], shared: int) -> Tensor:
    """Return the places [M, n] of each batch's first n samples in the merged batch."""
    import torch

    starts: list[int] = []
    start = 0
    for participants, size in shapes:
        starts += range(start, start + participants * size, size)
        start += participants * size
    return torch.tensor(starts)[:, None] + torch.arange(shared)


def _shared_gradients(
    task: Task,
    server: list[Tensor],
    trained: list[Tensor],
    loss: Tensor,
    logits: Tensor,
    z: Tensor,
    first: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """Return the gradients of `trained` and the cut gradient where the `first` [M, n] share theirs."""
    import torch

    (by_logits,) = torch.autograd.grad(loss, logits, retain_graph=True)  # [1, sum(b), K]
    of_mean = by_logits[0, first].sum(dim=0)[None]  # [1, n, K]: the mean, counted M times
    by_logits[0, first] = 0.0
    mean_z = z.detach()[0, first].mean(dim=0)[None].requires_grad_()  # [1, n, ...]
    outputs = [logits, task.server.forward(server, mean_z)]
    *gradients, cut, shared = torch.autograd.grad(outputs, [*trained, z, mean_z], [by_logits, of_mean])
    cut[0, first] = (shared[0] / len(first)).expand(len(first), *shared.shape[1:])
    return list(gradients), cut


def of_client(task: Task, arguments: list[Args]) -> list[Model]:
    """Return the part of one client, and its optimizer's state if kept, from the model of a `round`."""
    return [
        {
            name.partition(".")[2]: value
            for name, value in args["round"].items()
            if name.partition(".")[0] == str(args["client"])
        }
        for args in arguments
    ]


def _alike(task: Task, args: Args) -> Iterator[list[Args]]:
    """Yield the participants that can be computed stacked: as many batches, samples and steps before."""
    groups: dict[tuple[int, int, int], list[Args]] = {}
    for one in args["participants"]:
        key = len(one["batches"]), task.batch_size(one["client"]), steps_before(one)
        groups.setdefault(key, []).append(one)
    for members in groups.values():
        for first in range(0, len(members), task.participants_at_once):
            yield members[first : first + task.participants_at_once]


class Stack:
    """Client parts of C participants in training, each with its optimizer."""

    def __init__(self, task: Task, start: Model, members: list[Args], optimizer: dict[str, Any]) -> None:
        self.task = task
        self.clients = [one["client"] for one in members]
        self.names = [
            [tuple(name) for name in of] for of in zip(*(one["batches"] for one in members), strict=True)
        ]
        self.x = client_parts([{"start": start, **one} for one in members])  # [C, n_c]
        self._leaves = task.client.leaves(self.x)
        self._steps = Optimizer(task.client.parameters(self._leaves), len(members), optimizer)
        resume(members, client_optimizer=self._steps)
        self._z: Tensor
        self._sent: Tensor
        self._received: Tensor

    def forward(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the activations [C, b, ...] as they arrive, and labels [C, b], of one iteration."""
        names = self.names[iteration]
        x, y = self.task.batch(names)
        self._z = self.task.client.forward(self._leaves, x, self.task.training(names))
        self.under_way = names
        self._sent = self._z.detach().requires_grad_()
        self._received = self.task.received(self._sent, names)
        return self._received.detach(), y

    def backward(self, cut_gradient: Tensor) -> None:
        """Step along the gradient that the cut gradient [C, b, ...] gives."""
        import torch

        if self._steps.leaves:
            (arrived,) = torch.autograd.grad(self._received, self._sent, cut_gradient)
            self._steps.step(torch.autograd.grad(self._z, self._steps.leaves, arrived))

    def models(self, keep_state: bool) -> dict[int, Model]:
        """Return the client part of each client, with its optimizer's state if that is kept."""
        models: list[Model] = [{"client": x} for x in self.x]
        return dict(
            zip(self.clients, with_states(models, keep_state, client_optimizer=self._steps), strict=True)
        )
