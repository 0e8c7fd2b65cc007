"""FSL-SAGE (MECHANISMS 5): CSE-FSL whose heads are fitted to the server's cut gradients every l rounds.

As CSE-FSL; every l rounds the server computes the true dF/dz on buffered activations (at most so many samples
per client) and fits each client's auxiliary head to it: so many epochs on the mean squared difference between
the head's cut gradient and the true one. The client waits for the head, so it trains the round with it.

Reading: the fit stands at the start of rounds l + 1, 2 l + 1, ... (counted from 1), at the server part of
that moment, from the averaged head, with a fresh optimizer; a client of which nothing has arrived keeps the
averaged head. Reading: the buffer holds a client's newest batches, whole, in order of arrival, as many as
have at most so many samples, one at least; an epoch goes over them in that order, a step for each. Reading:
both cut gradients are those of the sum of the batch's sample losses, so that batches of any size weigh alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from oracle.references.common import (
    Opt,
    OptState,
    Params,
    Part,
    Result,
    Rounds,
    Split,
    client_forward,
    clone,
    cross_entropy,
    gradient,
    leaves,
    opt_step,
    server_gradients,
    weighted_mean,
    whole,
)
from oracle.references.cse_fsl import Head, Order, sent_iterations
from torch import Tensor

Buffer = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Settings:
    """Of CSE-FSL, and of the fit."""

    E: int
    q: int
    opt_c: Opt
    opt_s: Opt
    every: int
    epochs: int
    samples: int
    opt_a: Opt


def reference(split: Split, head: Head, rounds: Rounds, settings: Settings, order: Order) -> Result:
    """Return what is learned, the head in ``extra["x_a_rounds"]``."""
    x_c, x_a, x_s = clone(split.x_c), clone(head.x_a), clone(split.x_s)
    n_c = len(x_c)
    model = whole(split.client, head.part, n_c)
    result = Result(x_c, x_s, extra={"x_a_rounds": []})
    state_s = OptState()
    buffers: dict[int, Buffer] = {}
    for r in range(len(rounds)):
        ids = rounds.participants[r]
        parts: list[Params] = []
        heads: list[Params] = []
        sent: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for m in range(len(ids)):
            own = clone(x_a)
            if r > 0 and r % settings.every == 0 and ids[m] in buffers:
                own = fitted(split.server, x_s, head.part, x_a, newest(buffers[ids[m]], settings), settings)
            both, state = clone(x_c) + own, OptState()
            for i in range(settings.E):
                batch = rounds.batches[r][m][i]
                if i in sent_iterations(settings.E, settings.q):
                    sent[(m, i)] = (client_forward(split.client, both[:n_c], batch), batch[1])
                _, g = gradient(model, both, batch)
                both, state = opt_step(settings.opt_c, both, g, state)
            parts.append(both[:n_c])
            heads.append(both[n_c:])
        for m, i in order[r]:
            z, y = sent[(m, i)]
            _, g_s, _ = server_gradients(split.server, x_s, z, y)
            x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
            buffers.setdefault(ids[m], []).append((z, y))
        x_c = weighted_mean(parts, rounds.weights_of(r))
        x_a = weighted_mean(heads, rounds.weights_of(r))
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
        result.extra["x_a_rounds"].append(x_a)
    result.x_c, result.x_s = x_c, x_s
    return result


def newest(buffer: Buffer, settings: Settings) -> Buffer:
    """The newest whole batches that have at most so many samples; one at least."""
    kept = [buffer[-1]]
    samples = len(buffer[-1][1])
    for z, y in reversed(buffer[:-1]):
        samples += len(y)
        if samples > settings.samples:
            break
        kept.insert(0, (z, y))
    return kept


def fitted(server: Part, x_s: Params, head: Part, x_a: Params, buffer: Buffer, settings: Settings) -> Params:
    """The head after the epochs of the fit."""
    true = [cut_gradient(server, clone(x_s), z, y).detach() for z, y in buffer]
    x_a, state = clone(x_a), OptState()
    for _ in range(settings.epochs):
        for (z, y), wanted in zip(buffer, true, strict=True):
            point = leaves(x_a)
            difference = cut_gradient(head, point, z, y) - wanted
            g = torch.autograd.grad((difference * difference).mean(), point)
            x_a, state = opt_step(settings.opt_a, x_a, list(g), state)
    return x_a


def cut_gradient(part: Part, x: Params, z: Tensor, y: Tensor) -> Tensor:
    """The gradient by z of the sum of the samples' losses; it can be differentiated by x."""
    cut = z.detach().clone().requires_grad_(True)
    loss = cross_entropy(part(x, cut), y) * len(y)
    return torch.autograd.grad(loss, cut, create_graph=True)[0]
