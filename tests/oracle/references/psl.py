"""PSL and EPSL (MECHANISMS.md section 4): batches of all participants merged into one at the server.

In each of H iterations all participants send z_i of b_i samples; the server concatenates them, one forward
and backward pass, one step of its one server part; slice i of the cut gradient, scaled by sum(b) / b_i, goes
down and all step. After H iterations client parts are averaged, by b_i unless weights are given.

Reading: the loss is the mean over all samples of the merged batch, and the cut gradients are taken before
the server's step. Client optimizers start fresh in each round; the server's lives over the run, as its one
part does.
EPSL, reading (the source is silent on where the shared backward pass is taken): of each batch the first
n = ceil(phi min_i b_i) samples share. For j < n the gradients by the logits of the j-th samples are averaged
over clients and sent back once through the server part at the mean of their activations; the server counts
the result as M samples, and each client gets it as the cut gradient of its j-th sample (of its own mean loss:
divided by b_i). Logits are those of the merged forward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from oracle.references.client_parts import ClientParts
from oracle.references.codecs import PLAIN, Wire
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
    leaves,
    opt_step,
    weighted_mean,
)
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """Iterations, optimizers, the share phi of EPSL, how often client parts are averaged."""

    E: int
    opt_c: Opt
    opt_s: Opt
    phi: Fraction = Fraction(0)
    every: int = 1


def reference(split: Split, rounds: Rounds, settings: Settings, wire: Wire = PLAIN) -> Result:
    """Return what is learned; weights None: participants count by the samples of their batches."""
    held, x_s = ClientParts(split.x_c, settings.every), clone(split.x_s)
    result = Result(clone(split.x_c), x_s)
    state_s = OptState()
    for r in range(len(rounds)):
        ids, batches = rounds.participants[r], rounds.batches[r]
        M = len(ids)
        parts = [held.start(k, wire) for k in ids]
        states = [OptState() for _ in ids]
        for i in range(settings.E):
            zs = [client_forward(split.client, parts[m], batches[m][i]) for m in range(M)]
            arrived = [wire.up(z) for z in zs]
            ys = [batches[m][i][1] for m in range(M)]
            g_s, cuts = merged_gradients(split.server, x_s, arrived, ys, settings.phi)
            for m in range(M):
                g_c = client_backward(split.client, parts[m], batches[m][i], wire.down(cuts[m], zs[m]))
                parts[m], states[m] = opt_step(settings.opt_c, parts[m], g_c, states[m])
            x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
        parts = held.sent(parts, wire)
        weights = rounds.weights_of(r) or [float(len(batches[m][0][1])) for m in range(M)]
        result.x_c_rounds.append(held.end(ids, parts, weighted_mean(parts, weights)))
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = result.x_c_rounds[-1], x_s
    return result


def merged_gradients(
    server: Part, x_s: Params, zs: list[Tensor], ys: list[Tensor], phi: Fraction
) -> tuple[Params, list[Tensor]]:
    """The gradient by x_s of the merged batch, and what each client gets: that of its own mean loss."""
    M, total = len(zs), sum(len(y) for y in ys)
    n = math.ceil(phi * min(len(y) for y in ys))
    g_s = [torch.zeros_like(t) for t in x_s]
    cuts = [torch.zeros_like(z) for z in zs]

    def by_logits(m: int, j: int) -> Tensor:
        """softmax - 1 at the label: the gradient of one sample's loss."""
        with torch.no_grad():
            g = torch.softmax(server(clone(x_s), zs[m][j : j + 1]), dim=1)
        g[0, int(ys[m][j])] -= 1.0
        return g

    def back(z: Tensor, upstream: Tensor) -> tuple[Params, Tensor]:
        point, cut = leaves(x_s), z.detach().clone().requires_grad_(True)
        g = torch.autograd.grad(torch.sum(upstream * server(point, cut)), [*point, cut])
        return [t.detach() for t in g[:-1]], g[-1].detach()

    def add(g: Params, samples: int) -> None:
        for t in range(len(g_s)):
            g_s[t] = g_s[t] + g[t] * (samples / total)

    for j in range(n):
        mean_z = sum((zs[m][j : j + 1] for m in range(M)), torch.zeros_like(zs[0][:1])) / M
        mean_g = sum((by_logits(m, j) for m in range(M)), torch.zeros_like(by_logits(0, j))) / M
        g, cut = back(mean_z, mean_g)
        add(g, M)
        for m in range(M):
            cuts[m][j] = cut[0] / len(ys[m])
    for m in range(M):
        for j in range(n, len(ys[m])):
            g, cut = back(zs[m][j : j + 1], by_logits(m, j))
            add(g, 1)
            cuts[m][j] = cut[0] / len(ys[m])
    return g_s, cuts
