"""Zeroth-order GAS: GAS whose two sides step along two-sided differences of their own losses, by plain SGD.

``g = 1/P sum_p (F(x + lam u_p) - F(x - lam u_p)) / (2 lam) u_p`` with u on the sphere of radius sqrt(d): the
client's F is the logit-adjusted loss of the whole model at the current x_s, the server's the plain loss of
the topped-up buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from oracle.references import gas
from oracle.references.common import (
    Batch,
    Params,
    Result,
    Split,
    axpy,
    cross_entropy,
    shaped_direction,
)
from torch import Tensor

Direction = Callable[[int, int], Params]  # (arrival from 0 or server step from 1, p)


@dataclass(frozen=True)
class Settings:
    """GAS's settings with plain SGD on both sides, the smoothing radius and the directions per step."""

    gas: gas.Settings
    lam: float
    P: int


def reference(
    split: Split,
    course: gas.Course,
    settings: Settings,
    normal: gas.Normal,
    u_c: Direction,
    u_s: Direction,
) -> Result:
    """Return what is learned; ``losses`` and ``extra`` as of GAS."""

    def estimate(loss: Callable[[Params], float], x: Params, u: Direction, j: int) -> tuple[float, Params]:
        g = [torch.zeros_like(t) for t in x]
        for p in range(settings.P):
            u_p = shaped_direction(u(j, p), "sphere")
            moved = loss(axpy(x, settings.lam, u_p)) - loss(axpy(x, -settings.lam, u_p))
            g = axpy(g, moved / (2.0 * settings.lam) / settings.P, u_p)
        return loss(x), g

    def client_gradient(
        j: int, x_c: Params, x_s: Params, batch: Batch, offset: Tensor | None
    ) -> tuple[float, Params]:
        def adjusted(x: Params) -> float:
            logits = split.server(x_s, split.client(x, batch[0]))
            return float(cross_entropy(logits, batch[1], offset).detach())

        return estimate(adjusted, x_c, u_c, j)

    def server_gradient(n: int, x_s: Params, zs: Tensor, ys: Tensor) -> tuple[float, Params]:
        def plain(x: Params) -> float:
            return float(cross_entropy(split.server(x, zs), ys).detach())

        return estimate(plain, x_s, u_s, n)

    return gas.buffered(split, course, settings.gas, normal, client_gradient, server_gradient)
