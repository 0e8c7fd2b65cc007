"""FedAsync (AL 19): on each arrival ``x <- (1-a) x + a x_k``, ``a = alpha s(staleness)``.

Reading: staleness is the current version when the arrival is applied (before it counts) minus the version
it started from: nobody in between means 0.
Reading: no proximal term and a fresh optimizer at every start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from oracle.references.common import Arrivals, Opt, Params, Part, Result, clone, local_steps


def staleness_weight(
    t: int, s: str = "polynomial", exponent: float = 0.5, hinge_a: float = 10.0, hinge_b: float = 4.0
) -> float:
    """s(t) of FedAsync (AL 19): polynomial ``(t+1)^-exponent``, or hinge.

    Reading: the page names the hinge without its formula; the FedAsync paper's is used: 1 up to t = b, then
    ``1 / (a (t - b) + 1)``, with a = 10, b = 4 as defaults.
    """
    if s == "polynomial":
        return 1.0 / math.pow(t + 1.0, exponent)
    assert s == "hinge"
    if t <= hinge_b:
        return 1.0
    return 1.0 / (hinge_a * (t - hinge_b) + 1.0)


@dataclass(frozen=True)
class Settings:
    """Local iterations, the clients' optimizer, and how much an arrival counts."""

    E: int
    opt: Opt
    alpha: float
    s: str | Callable[[int], float] = "polynomial"


def reference(model: Part, x: Params, arrivals: Arrivals, settings: Settings) -> Result:
    """Return what is learned, the model in ``x_c``; ``extra["a"][j]`` is the mixing weight of arrival j.

    Each arrival makes the next version, so ``x_c_rounds[j]`` is version j + 1.
    """
    versions = [clone(x)]
    result = Result(versions[0], [], extra={"a": [], "staleness": []})
    for j in range(len(arrivals.order)):
        _, start = arrivals.order[j]
        now = len(versions) - 1
        assert 0 <= start <= now
        x_k, losses = local_steps(model, versions[start], arrivals.batches[j], settings.E, settings.opt)
        staleness = now - start
        s = settings.s
        a = settings.alpha * (s(staleness) if callable(s) else staleness_weight(staleness, s))
        old = versions[now]
        new = [(1.0 - a) * old[i] + a * x_k[i] for i in range(len(old))]
        versions.append(new)
        result.losses.append(losses)
        result.extra["a"].append(a)
        result.extra["staleness"].append(staleness)
        result.x_c_rounds.append(new)
    result.x_c = versions[-1]
    return result
