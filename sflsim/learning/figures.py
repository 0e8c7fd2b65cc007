"""Figures of a model that a policy of selection reads: losses of clients' samples, accuracy by label.

They are computed with the model as it is used (no dropout, no statistics of the batch), by calls of their
own, so that the numbers are stored apart from models. B samples in a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sflsim.learning.calls import EVALUATION_BATCH, Model
from sflsim.learning.graph.lineage import Args
from sflsim.streams import generator

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.task import Task


def batch_losses(task: Task, arguments: Sequence[Args]) -> list[tuple[float, ...]]:
    """Return the root mean square of the sample losses under `model` of the batches of each client.

    `of_clients` are their names, client by client; they may differ in size.

    In the first batch of a round these are the losses that training starts from; in later ones training has
    moved on, and the model has not.
    """
    return [
        tuple(
            _root_mean_square([_losses(task, args["model"], *_batch(task, name)) for name in names])
            for names in args["of_clients"]
        )
        for args in arguments
    ]


def probed_losses(task: Task, arguments: Sequence[Args]) -> list[tuple[float, ...]]:
    """Return the mean loss of each of `clients` on `samples` of its own, drawn for the `round`."""
    return [
        tuple(
            _mean_loss(task, args, client, samples)
            for client, samples in zip(args["clients"], args["samples"], strict=True)
        )
        for args in arguments
    ]


def _mean_loss(task: Task, args: Args, client: int, samples: int) -> float:
    import torch

    drawn = generator(task.seed, "selection", "probe", client, args["round"])
    order = drawn.permutation(len(task.shards[client]))[:samples]
    indices = task.shards[client][torch.from_numpy(order)].to(task.device)
    parts = indices.split(EVALUATION_BATCH)
    losses = [
        _losses(task, args["model"], task.data.inputs(task.data.train_x[part]), task.data.train_y[part])
        for part in parts
    ]
    return float(torch.cat(losses).mean())


def label_accuracies(task: Task, arguments: Sequence[Args]) -> list[tuple[float, ...]]:
    """Return the accuracy of each `model` on the held-out samples of each label, [K]; 0 where it has none."""
    return [_label_accuracies(task, args["model"]) for args in arguments]


def _label_accuracies(task: Task, model: Model) -> tuple[float, ...]:
    import torch

    classes = task.data.classes
    right, size = torch.zeros(classes), torch.zeros(classes)
    for start in range(0, len(task.data.test_y), EVALUATION_BATCH):
        x = task.data.inputs(task.data.test_x[start : start + EVALUATION_BATCH])
        y = task.data.test_y[start : start + EVALUATION_BATCH]
        hits = _logits(task, model, x).argmax(dim=1) == y
        right += y[hits].bincount(minlength=classes).cpu()
        size += y.bincount(minlength=classes).cpu()
    return tuple((right / size.clamp(min=1.0)).tolist())


def _root_mean_square(losses: Sequence[Tensor]) -> float:
    import torch

    return float(torch.cat(list(losses)).square().mean().sqrt())


def _batch(task: Task, name: Any) -> tuple[Tensor, Tensor]:
    """Return the inputs [B, ...] and labels [B] of a named batch."""
    x, y = task.batch([tuple(name)])
    return x[0], y[0]


def _losses(task: Task, model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Return the cross entropy [B] of each sample."""
    from torch.nn import functional as F

    return F.cross_entropy(_logits(task, model, x), y, reduction="none")


def _logits(task: Task, model: Model, x: Tensor) -> Tensor:
    """Return the logits [B, K] of a model in use."""
    import torch

    client, server = task.client.views(model["client"][None]), task.server.views(model["server"][None])
    with torch.no_grad():
        logits: Tensor = task.server.apply(server, task.client.apply(client, x))
    return logits
