"""A small split network in float64, its batches and draws: what the oracles are tried on."""

from __future__ import annotations

import torch
from oracle.references import common as ref
from torch import Tensor

DTYPE = torch.float64
FEATURES, CUT, LABELS = 4, 3, 3


def client(x_c: ref.Params, x: Tensor) -> Tensor:
    return torch.tanh(x @ x_c[0] + x_c[1])


def server(x_s: ref.Params, z: Tensor) -> Tensor:
    return torch.tanh(z @ x_s[0]) @ x_s[1] + x_s[2]


def auxiliary(x_a: ref.Params, z: Tensor) -> Tensor:
    return z @ x_a[0] + x_a[1]


MODEL = ref.whole(client, server, 2)


def generator(*key: int) -> torch.Generator:
    seed = 17
    for k in key:
        seed = (seed * 1009 + k + 1) % (2**31)
    return torch.Generator().manual_seed(seed)


def normals(like: ref.Params, *key: int) -> ref.Params:
    g = generator(*key)
    return [torch.randn(t.shape, generator=g, dtype=DTYPE) for t in like]


X_C = [0.7 * t for t in normals([torch.empty(FEATURES, CUT), torch.empty(CUT)], 1)]
X_S = [0.7 * t for t in normals([torch.empty(CUT, 5), torch.empty(5, LABELS), torch.empty(LABELS)], 2)]
X_A = [0.7 * t for t in normals([torch.empty(CUT, LABELS), torch.empty(LABELS)], 3)]
SPLIT = ref.Split(client, server, X_C, X_S)


def batch(*key: int, size: int = 4) -> tuple[Tensor, Tensor]:
    g = generator(99, *key)
    x = torch.randn(size, FEATURES, generator=g, dtype=DTYPE)
    return x, torch.randint(0, LABELS, (size,), generator=g)


def grid(rounds: int, M: int, E: int) -> list[list[list[tuple[Tensor, Tensor]]]]:
    """The batches of `rounds` rounds of M participants with E iterations each."""
    return [[[batch(r, m, i) for i in range(E)] for m in range(M)] for r in range(rounds)]


def everyone(rounds: int, M: int, E: int) -> ref.Rounds:
    """Rounds in which all of M clients take part, on the batches of `grid`."""
    return ref.Rounds([list(range(M))] * rounds, grid(rounds, M, E))


def basis(like: ref.Params, p: int) -> ref.Params:
    """The p-th unit vector; as sphere directions the d of them have mean u u^T = I exactly."""
    flat = torch.zeros(sum(t.numel() for t in like), dtype=DTYPE)
    flat[p] = 1.0
    out, start = [], 0
    for t in like:
        out.append(flat[start : start + t.numel()].reshape(t.shape))
        start += t.numel()
    return out


def close(a: ref.Params, b: ref.Params, tol: float = 1e-12) -> bool:
    return all(torch.allclose(p, q, rtol=tol, atol=tol) for p, q in zip(a, b, strict=True))


def torch_training(x: ref.Params, batches: list[tuple[Tensor, Tensor]], opt: ref.Opt) -> ref.Params:
    """The same model unsplit, with torch's loss, autograd and optimizer."""
    p = [t.clone().requires_grad_(True) for t in x]
    o: torch.optim.Optimizer
    if opt.kind == "sgd":
        o = torch.optim.SGD(p, lr=opt.lr, momentum=opt.momentum, weight_decay=opt.weight_decay)
    elif opt.kind == "adam":
        o = torch.optim.Adam(p, lr=opt.lr, weight_decay=opt.weight_decay)
    else:
        o = torch.optim.AdamW(p, lr=opt.lr, weight_decay=opt.weight_decay)
    for bx, by in batches:
        o.zero_grad()
        torch.nn.functional.cross_entropy(MODEL(p, bx), by).backward()
        if opt.clip is not None:
            torch.nn.utils.clip_grad_norm_(p, opt.clip)
        o.step()
    return [t.detach() for t in p]


SGD = ref.Opt("sgd", lr=0.3, momentum=0.9, weight_decay=5e-3)
ADAM = ref.Opt("adam", lr=0.05, weight_decay=1e-2)
ADAMW = ref.Opt("adamw", lr=0.05, weight_decay=0.1)
PLAIN = ref.Opt("sgd", lr=0.2)
