"""PSL and EPSL (MECHANISMS 4): batches merged at one server part, client parts averaged by batch size.

In each of H iterations all participants send z_i of b_i samples; the server makes one forward and backward
pass on the concatenation, and one step of its one server part; slice i of the cut gradient, times sum(b)/b_i,
goes down; all step. Afterwards the client parts are averaged, by b_i.

Reading: the loss of the server is the mean over all sum(b) samples, so the scaled slice is the gradient of
client i's own mean loss. Reading: client optimizers start fresh in each round, the server's lives over the
run (as in SL). Reading: the cut gradient is taken before the server's step. With ``every``
client parts are averaged in every so many-th round (see `client_parts`).

Reading of "a share phi of the batch's last-layer gradients is averaged over clients before the server's
backward pass, whose result is broadcast once" (EPSL): of each client the first n = ceil(phi min b) samples.
The gradients of the loss by the outputs of the server part, of the j-th samples of all M clients, are
averaged; the backward pass takes that mean through the server part at the mean of the j-th activations. For
the server's step it counts as often as the M samples that it stands for. Every client gets its cut gradient,
scaled as the mean of the M samples' would be.
"""

from __future__ import annotations

import math
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
    client_backward,
    client_forward,
    clone,
    cross_entropy,
    leaves,
    opt_step,
    server_gradients,
    weighted_mean,
)
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """Iterations of a round (H), optimizers, phi, the weights of the average, and how often it is taken."""

    H: int
    opt_c: Opt
    opt_s: Opt
    phi: float = 0.0
    by_batch: bool = True
    every: int = 1


def reference(split: Split, rounds: Rounds, settings: Settings) -> Result:
    """Return what is learned; ``losses[round][iteration]`` are the server's."""
    x_c, x_s = clone(split.x_c), clone(split.x_s)
    result = Result(x_c, x_s)
    state_s = OptState()
    own: dict[int, Params] = {}
    for r in range(len(rounds)):
        M = len(rounds.participants[r])
        ids = rounds.participants[r]
        parts = [clone(own.get(ids[m], x_c)) for m in range(M)]
        states = [OptState() for _ in range(M)]
        b = [len(rounds.batches[r][m][0][1]) for m in range(M)]
        losses: list[float] = []
        for i in range(settings.H):
            batches = [rounds.batches[r][m][i] for m in range(M)]
            z = [client_forward(split.client, parts[m], batches[m]) for m in range(M)]
            y = [batch[1] for batch in batches]
            n = math.ceil(settings.phi * min(b))
            if n == 0:
                loss, g_s, cut = server_gradients(split.server, x_s, torch.cat(z), torch.cat(y))
                slices = list(torch.split(cut, b))
            else:
                loss, g_s, slices = shared_gradients(split.server, x_s, z, y, n)
            x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
            for m in range(M):
                g_c = client_backward(split.client, parts[m], batches[m], slices[m] * (sum(b) / b[m]))
                parts[m], states[m] = opt_step(settings.opt_c, parts[m], g_c, states[m])
            losses.append(loss)
        mean = weighted_mean(parts, b if settings.by_batch else rounds.weights_of(r))
        if (r + 1) % settings.every == 0:
            x_c, own = mean, {}
        else:
            own.update({ids[m]: parts[m] for m in range(M)})
        result.losses.append(losses)
        result.x_c_rounds.append(mean)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result


def shared_gradients(
    server: Part, x_s: Params, z: list[Tensor], y: list[Tensor], n: int
) -> tuple[float, Params, list[Tensor]]:
    """Loss, gradient by x_s, and each client's slice of the cut gradient; the first n samples share."""
    M, total = len(z), sum(len(labels) for labels in y)
    loss = 0.0
    by_logits: list[Tensor] = []  # of each client, [b_i, K]
    for m in range(M):
        with torch.no_grad():
            logits = server(clone(x_s), z[m])
        logits = logits.detach().requires_grad_(True)
        own = cross_entropy(logits, y[m]) * len(y[m]) / total
        loss += float(own.detach())
        by_logits.append(torch.autograd.grad(own, logits)[0])
    g_s = [torch.zeros_like(t) for t in x_s]
    slices = [torch.zeros_like(one) for one in z]
    for j in range(n):
        mean_gradient = sum(by_logits[m][j] for m in range(M)) / M
        mean_z = sum(z[m][j] for m in range(M)) / M
        g, cut = backward(server, x_s, mean_z[None], mean_gradient[None])
        g_s = [g_s[k] + M * g[k] for k in range(len(g_s))]
        for m in range(M):
            slices[m][j] = cut[0]
    for m in range(M):
        if n < len(z[m]):
            g, cut = backward(server, x_s, z[m][n:], by_logits[m][n:])
            g_s = [g_s[k] + g[k] for k in range(len(g_s))]
            slices[m][n:] = cut
    return loss, g_s, slices


def backward(server: Part, x_s: Params, z: Tensor, by_logits: Tensor) -> tuple[Params, Tensor]:
    """Gradients by x_s and z of <by_logits, server(x_s, z)>."""
    point = leaves(x_s)
    cut = z.detach().clone().requires_grad_(True)
    g = torch.autograd.grad(torch.sum(by_logits * server(point, cut)), [*point, cut])
    return list(g[:-1]), g[-1]
