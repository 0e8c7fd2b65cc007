"""What the oracles share: the inputs of a run, losses, directions, optimizers, averages; each as a loop.

Source: ALGORITHMS.md and MECHANISMS.md only, digests of the papers that are not part of the repository (the
first is cited as "AL <line>"). No oracle imports the package under test. All chance and all orders are
arguments; other modules are an algorithm each, `Settings` and `reference`, or a mechanism that several share.

Conventions: a part's parameters are a list of tensors; every function is pure (returns new lists);
scalars that travel (losses, ZO differences) are Python floats. Compare in float64.

Reading: batch-norm running statistics (AL 14) are outside these oracles: both parts are pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Params = list[Tensor]
Part = Callable[[Params, Any], Tensor]  # client(params_c, x) -> z ; server(params_s, z) -> logits
Batch = tuple[Any, Tensor]


@dataclass(frozen=True)
class Split:
    """A split model: its two parts, and the parameters from which they start."""

    client: Part
    server: Part
    x_c: Params
    x_s: Params


@dataclass(frozen=True)
class Rounds:
    """Who takes part in each round and on which batches.

    Reading: ``batches[round][position][iteration] = (x, y)`` where position counts the round's participants
    in the order of ``participants[round]``; injected directions get the position, not the client's id.
    Reading: "weighted by sample count" (AL 12) is the caller's ``weights[round][position]``, any positive
    scale, divided by their sum; None is uniform.
    """

    participants: Sequence[Sequence[int]]
    batches: Sequence[Sequence[Sequence[Batch]]]
    weights: Sequence[Sequence[float]] | None = None

    def __len__(self) -> int:
        return len(self.participants)

    def weights_of(self, r: int) -> Sequence[float] | None:
        """The weights of one round's participants; None is uniform."""
        return None if self.weights is None else self.weights[r]


@dataclass(frozen=True)
class Arrivals:
    """What reaches a server without rounds: ``order[j] = (client id, version it started from)``.

    ``batches[j][iteration]`` are the batches of arrival j's local steps (indexed by arrival, not by client).
    Version 0 is the starting model.
    """

    order: Sequence[tuple[int, int]]
    batches: Sequence[Sequence[Batch]]


@dataclass
class Result:
    """What a run learned: final parts, the parts after every round (or version), and extras by name."""

    x_c: Params
    x_s: Params
    x_c_rounds: list[Params] = field(default_factory=list)
    x_s_rounds: list[Params] = field(default_factory=list)
    losses: list[Any] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Opt:
    """An optimizer's settings: kind "sgd", "adam" or "adamw".

    Reading: the page names SGD (momentum, weight decay, clip), Adam and AdamW but not their formulas; these
    are torch's. SGD and Adam add ``weight_decay * x`` to the (clipped) gradient, AdamW shrinks x by
    ``1 - lr * weight_decay`` first. SGD's momentum buffer starts as the first gradient, no dampening.
    ``clip`` (AL 64, "clip 10") scales the whole part's gradient by ``min(1, clip / (norm + 1e-6))``, the
    norm being the L2 norm over the part, as torch.nn.utils.clip_grad_norm_ does.
    """

    kind: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    clip: float | None = None


@dataclass
class OptState:
    """An optimizer's memory: steps taken, first moments (or momentum), second moments."""

    t: int = 0
    m: Params | None = None
    v: Params | None = None


def opt_step(opt: Opt, x: Params, g: Params, state: OptState) -> tuple[Params, OptState]:
    """One step of the optimizer: new parameters and new memory; nothing is changed in place."""
    if opt.clip is not None:
        norm = math.sqrt(squared_norm(g))
        factor = min(1.0, opt.clip / (norm + 1e-6))
        g = [factor * g_i for g_i in g]
    t = state.t + 1
    new_x: Params = []
    new_m: Params = []
    new_v: Params = []
    for i in range(len(x)):
        x_i = x[i].detach()
        g_i = g[i].detach()
        if opt.kind == "sgd":
            g_i = g_i + opt.weight_decay * x_i
            m_i = g_i if state.m is None else opt.momentum * state.m[i] + g_i
            new_m.append(m_i)
            new_v.append(torch.zeros_like(x_i))
            new_x.append(x_i - opt.lr * (m_i if opt.momentum != 0.0 else g_i))
        elif opt.kind in ("adam", "adamw"):
            if opt.kind == "adam":
                g_i = g_i + opt.weight_decay * x_i
            else:
                x_i = x_i * (1.0 - opt.lr * opt.weight_decay)
            m_old = torch.zeros_like(x_i) if state.m is None else state.m[i]
            v_old = torch.zeros_like(x_i) if state.v is None else state.v[i]
            m_i = opt.beta1 * m_old + (1.0 - opt.beta1) * g_i
            v_i = opt.beta2 * v_old + (1.0 - opt.beta2) * g_i * g_i
            m_hat = m_i / (1.0 - opt.beta1**t)
            v_hat = v_i / (1.0 - opt.beta2**t)
            new_m.append(m_i)
            new_v.append(v_i)
            new_x.append(x_i - opt.lr * m_hat / (torch.sqrt(v_hat) + opt.eps))
        else:
            raise ValueError(f"unknown optimizer {opt.kind!r}")
    return new_x, OptState(t=t, m=new_m, v=new_v)


def cross_entropy(logits: Tensor, y: Tensor, offset: Tensor | None = None) -> Tensor:
    """Mean over the batch of ``log sum_k exp(l_k) - l_y``; ``offset`` is added to every row (AL 61).

    Logits are (samples, labels), y the samples' labels. The row's maximum is taken out before exp.
    """
    assert logits.dim() == 2
    total = torch.zeros((), dtype=logits.dtype)
    n = logits.shape[0]
    for i in range(n):
        row = logits[i] if offset is None else logits[i] + offset
        top = row.detach().max()
        log_sum_exp = top + torch.log(torch.sum(torch.exp(row - top)))
        total = total + (log_sum_exp - row[int(y[i])])
    return total / n


def clone(x: Params) -> Params:
    """A copy with no graph and no shared memory."""
    return [x_i.detach().clone() for x_i in x]


def leaves(x: Params) -> Params:
    """A copy autograd may differentiate by."""
    return [x_i.detach().clone().requires_grad_(True) for x_i in x]


def axpy(x: Params, a: float, u: Params) -> Params:
    """``x + a u`` tensor by tensor."""
    return [x[i].detach() + a * u[i].detach() for i in range(len(x))]


def squared_norm(x: Params) -> float:
    """Sum of squares over every entry of every tensor of the part."""
    total = 0.0
    for x_i in x:
        total = total + float(torch.sum(x_i.detach() * x_i.detach()))
    return total


def dimension(x: Params) -> int:
    """d: the number of parameters of the part."""
    d = 0
    for x_i in x:
        d = d + x_i.numel()
    return d


def normalised(w: Sequence[float] | None, count: int) -> list[float]:
    """Weights that sum to one; None means uniform (AL 12)."""
    if w is None:
        return [1.0 / count] * count
    assert len(w) == count
    total = 0.0
    for w_m in w:
        total = total + float(w_m)
    return [float(w_m) / total for w_m in w]


def weighted_mean(parts: Sequence[Params], w: Sequence[float] | None) -> Params:
    """``sum_m w_m x_m`` with the weights scaled to sum to one, added up in the order given."""
    shares = normalised(w, len(parts))
    mean = [torch.zeros_like(t) for t in parts[0]]
    for m in range(len(parts)):
        mean = axpy(mean, shares[m], parts[m])
    return mean


def shaped_direction(raw: Params, direction: str) -> Params:
    """A raw Gaussian vector as the direction asked for (AL 32).

    "sphere": scaled so that its norm over the whole part is sqrt(d); "gaussian": left as it is.
    """
    if direction == "gaussian":
        return clone(raw)
    assert direction == "sphere"
    scale = math.sqrt(dimension(raw)) / math.sqrt(squared_norm(raw))
    return [scale * r.detach() for r in raw]


def whole(client: Part, server: Part, n_c: int) -> Part:
    """The unsplit model: the first ``n_c`` tensors are the client's, the rest the server's."""

    def model(x: Params, batch_x: Any) -> Tensor:
        return server(x[n_c:], client(x[:n_c], batch_x))

    return model


def gradient(model: Part, x: Params, batch: Batch, offset: Tensor | None = None) -> tuple[float, Params]:
    """Loss and gradient of the whole model on one batch."""
    point = leaves(x)
    loss = cross_entropy(model(point, batch[0]), batch[1], offset)
    g = torch.autograd.grad(loss, point, materialize_grads=True, allow_unused=True)
    return float(loss.detach()), [g_i.detach() for g_i in g]


def client_forward(client: Part, x_c: Params, batch: Batch) -> Tensor:
    """The activation at the cut, without a graph."""
    with torch.no_grad():
        return client(clone(x_c), batch[0]).detach()


def server_gradients(
    server: Part, x_s: Params, z: Tensor, y: Tensor, offset: Tensor | None = None
) -> tuple[float, Params, Tensor]:
    """Loss, gradient by x_s, and the cut gradient dF/dz, all at the x_s given (AL 23)."""
    point = leaves(x_s)
    cut = z.detach().clone().requires_grad_(True)
    loss = cross_entropy(server(point, cut), y, offset)
    g = torch.autograd.grad(loss, [*point, cut], materialize_grads=True, allow_unused=True)
    return float(loss.detach()), [g_i.detach() for g_i in g[:-1]], g[-1].detach()


def client_backward(client: Part, x_c: Params, batch: Batch, cut_gradient: Tensor) -> Params:
    """bwd_c: the gradient by x_c of <cut gradient, z(x_c)> (AL 23)."""
    point = leaves(x_c)
    z = client(point, batch[0])
    g = torch.autograd.grad(
        torch.sum(cut_gradient.detach() * z), point, materialize_grads=True, allow_unused=True
    )
    return [g_i.detach() for g_i in g]


def loss_at(server: Part, x_s: Params, z: Tensor, y: Tensor) -> float:
    """F(x_s; z) with no graph, as a Python float."""
    with torch.no_grad():
        return float(cross_entropy(server(clone(x_s), z), y))


def local_steps(
    model: Part, x: Params, batches: Sequence[Batch], E: int, opt: Opt
) -> tuple[Params, list[float]]:
    """E first-order steps from x with a fresh optimizer: new parameters and the loss before each step."""
    x = clone(x)
    state = OptState()
    losses: list[float] = []
    for i in range(E):
        loss, g = gradient(model, x, batches[i])
        x, state = opt_step(opt, x, g, state)
        losses.append(loss)
    return x, losses
