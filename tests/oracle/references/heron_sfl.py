"""HERON-SFL (AL 70): CSE-FSL with zeroth-order client steps on the auxiliary loss; server first order.

``g = 1/P sum_p (F(x + mu u_p) - F(x)) / mu u_p``.

Reading: one direction over client part and head together, on the sphere of radius sqrt(d_c + d_a); the
head too is trained without gradients. Reading: the estimate goes through the client's optimizer.
Reading: the page names neither the step mu nor P; P = 1 by default. The rest as in CSE-FSL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from oracle.references import cse_fsl
from oracle.references.common import (
    Batch,
    Params,
    Result,
    Rounds,
    Split,
    axpy,
    loss_at,
    shaped_direction,
    whole,
)
from oracle.references.cse_fsl import Head, Order

Direction = Callable[[int, int, int, int], Params]  # (round, position, iteration, p)


@dataclass(frozen=True)
class Settings:
    """CSE-FSL's settings, the smoothing radius, directions per step and their kind."""

    local: cse_fsl.Settings
    mu: float
    P: int = 1
    direction: str = "sphere"


def reference(
    split: Split,
    head: Head,
    rounds: Rounds,
    settings: Settings,
    order: Order,
    u: Direction,
) -> Result:
    """Return what is learned, the head in ``extra["x_a"]``.

    ``u`` gives a raw Gaussian list shaped like ``x_c + x_a`` (client tensors
    first).
    """
    model = whole(split.client, head.part, len(split.x_c))

    def zeroth_order(r: int, m: int, i: int, both: Params, batch: Batch) -> tuple[float, Params]:
        base = loss_at(model, both, batch[0], batch[1])
        g = [torch.zeros_like(t) for t in both]
        for p in range(settings.P):
            u_p = shaped_direction(u(r, m, i, p), settings.direction)
            moved = loss_at(model, axpy(both, settings.mu, u_p), batch[0], batch[1])
            g = axpy(g, (moved - base) / settings.mu / settings.P, u_p)
        return base, g

    return cse_fsl.local_loss(split, head, rounds, settings.local, order, zeroth_order)
