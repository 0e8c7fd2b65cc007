"""FedBuff (AL 20): ``x <- x + eta_g * (1/b) sum_i (1 + staleness_i)^-0.5 delta_i`` at every b-th arrival.

``delta_i = x_i - x_start``.
Reading: "the mean of a buffer of b deltas, each weighted" is ``sum_i w_i delta_i / b``: divided by the
count b, NOT by the sum of the weights, so stale deltas shrink the step.
Reading: a version is an applied buffer (not an arrival); staleness is the number of buffers applied
between the client's start and its arrival, which is the same at arrival and when the buffer is applied.
Reading: sample counts do not enter. Reading: the server's rate eta_g is not on the page, hence 1.
Reading: a buffer not full at the end is not applied. Reading: a fresh optimizer at every start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from oracle.references.common import Arrivals, Opt, Params, Part, Result, axpy, clone, local_steps


@dataclass(frozen=True)
class Settings:
    """Local iterations, the clients' optimizer, the buffer's size and the server's rate."""

    E: int
    opt: Opt
    b: int
    eta_g: float = 1.0


def reference(model: Part, x: Params, arrivals: Arrivals, settings: Settings) -> Result:
    """Return what is learned, the model in ``x_c``; ``x_c_rounds[v]`` is version v + 1."""
    versions = [clone(x)]
    buffer: list[tuple[float, Params]] = []
    result = Result(versions[0], [], extra={"staleness": []})
    for j in range(len(arrivals.order)):
        _, start = arrivals.order[j]
        now = len(versions) - 1
        assert 0 <= start <= now
        x_k, losses = local_steps(model, versions[start], arrivals.batches[j], settings.E, settings.opt)
        staleness = now - start
        buffer.append(((1.0 + staleness) ** -0.5, axpy(x_k, -1.0, versions[start])))
        result.losses.append(losses)
        result.extra["staleness"].append(staleness)
        if len(buffer) == settings.b:
            total = [torch.zeros_like(t) for t in versions[now]]
            for w, delta in buffer:
                total = axpy(total, w, delta)
            new = axpy(versions[now], settings.eta_g / settings.b, total)
            versions.append(new)
            result.x_c_rounds.append(new)
            buffer = []
    result.x_c = versions[-1]
    result.extra["waiting"] = len(buffer)
    return result
