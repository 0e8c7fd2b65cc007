"""The same mathematics as a competent person writes it for one experiment: no clock, no keys.

One `nn.Sequential` that is loaded for client after client, torch.optim, running sums, directions
held in memory. What sflsim draws by key (initial weights, participants, batches, seeds of
directions) is handed in ready-made, so that both sides compute the same thing and this side pays
nothing for it. Shapes: B samples, d parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Evaluations = list[tuple[float, float]]


@dataclass(frozen=True)
class Experiment:
    """What is given: a model whose first `cut` layers are the client's, data, and every draw.

    `participants[r]` are (client, batch number) pairs of round r, several per client for several
    iterations; `batches[client, number]` the sample indices [B]; `weights[client]` its samples.
    """

    model: nn.Sequential
    cut: int
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    participants: Sequence[Sequence[tuple[int, Sequence[int]]]]
    batches: dict[tuple[int, int], Tensor]
    weights: Sequence[int]
    every_rounds: int


def evaluate(model: nn.Module, given: Experiment) -> tuple[float, float]:
    """Return (accuracy, mean loss) on the held-out samples."""
    with torch.no_grad():
        logits = model(given.test_x)
        right = int((logits.argmax(dim=1) == given.test_y).sum())
        return right / len(given.test_y), float(F.cross_entropy(logits, given.test_y))


def splitfed_v1(given: Experiment, lr: float) -> Evaluations:
    """Train by SplitFed V1; return the evaluations.

    A client part and a server replica trained on the same batch, the cut gradient passed back, are
    one network trained on it.
    """
    model = given.model
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=lr)
    start = [parameter.detach().clone() for parameter in parameters]
    found = [evaluate(model, given)]
    for number, participants in enumerate(given.participants, 1):
        total = sum(given.weights[client] for client, _ in participants)
        mean = [torch.zeros_like(parameter) for parameter in start]
        for client, numbers in participants:
            with torch.no_grad():
                torch._foreach_copy_(parameters, start)
            for batch in numbers:
                indices = given.batches[client, batch]
                optimizer.zero_grad()
                F.cross_entropy(model(given.train_x[indices]), given.train_y[indices]).backward()
                optimizer.step()
            with torch.no_grad():
                torch._foreach_add_(mean, parameters, alpha=given.weights[client] / total)
        start = mean
        if number % given.every_rounds == 0:
            with torch.no_grad():
                torch._foreach_copy_(parameters, start)
            found.append(evaluate(model, given))
    return found


@dataclass(frozen=True)
class ZerothOrder:
    """The settings of MU-SplitFed; `seed` gives that of a direction by (purpose, client, batch, step)."""

    tau: int
    eta_s: float
    eta_c: float
    eta_g: float
    lam: float
    seed: Callable[[str, int, int, int], int]


def mu_splitfed(given: Experiment, settings: ZerothOrder) -> Evaluations:
    """Train by MU-SplitFed with P = 1 and directions on the sphere; return the evaluations."""
    client, server = given.model[: given.cut], given.model[given.cut :]
    x_c, x_s = flattened(client), flattened(server)
    lam, draws = settings.lam, torch.Generator()
    model_c, model_s = x_c.clone(), x_s.clone()
    found = [evaluate(given.model, given)]

    def direction(size: int, *name: str | int) -> Tensor:
        u = torch.randn(size, generator=draws.manual_seed(settings.seed(*name)))  # type: ignore[arg-type]
        return u.mul_(sqrt(size) / torch.linalg.vector_norm(u))

    for number, participants in enumerate(given.participants, 1):
        sum_c, sum_s = torch.zeros_like(x_c), torch.zeros_like(x_s)
        for index, (batch,) in participants:
            x_c.copy_(model_c)
            x_s.copy_(model_s)
            indices = given.batches[index, batch]
            x, y = given.train_x[indices], given.train_y[indices]
            z = client(x)
            for step in range(settings.tau):
                u = direction(len(x_s), "server", index, batch, step)
                x_s.add_(u, alpha=lam)
                plus = F.cross_entropy(server(z), y)
                x_s.add_(u, alpha=-2 * lam)
                slope = (plus - F.cross_entropy(server(z), y)) / (2 * lam)
                x_s.add_(u, alpha=lam).sub_(settings.eta_s * slope * u)
            u = direction(len(x_c), "client", index, batch, 0)
            x_c.add_(u, alpha=lam)
            plus = F.cross_entropy(server(client(x)), y)
            x_c.add_(u, alpha=-2 * lam)
            slope = (plus - F.cross_entropy(server(client(x)), y)) / (2 * lam)
            x_c.add_(u, alpha=lam).sub_(settings.eta_c * slope * u)
            sum_c += x_c
            sum_s += x_s
        model_c += settings.eta_g * (sum_c / len(participants) - model_c)
        model_s += settings.eta_g * (sum_s / len(participants) - model_s)
        if number % given.every_rounds == 0:
            x_c.copy_(model_c)
            x_s.copy_(model_s)
            found.append(evaluate(given.model, given))
    return found


def flattened(part: nn.Module) -> Tensor:
    """Return all parameters as one vector [d] that they are views of from here on."""
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in part.parameters()])
    pieces = flat.split([parameter.numel() for parameter in part.parameters()])
    for parameter, piece in zip(part.parameters(), pieces, strict=True):
        parameter.requires_grad_(False)
        parameter.data = piece.view(parameter.shape)
    return flat
