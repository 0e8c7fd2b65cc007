"""Selection by samples: clients that hold more samples take part more often."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sflsim.fleet.selection.policy import Candidates, Floats, Indices, Policy, SelectionConfig


class BySamples(Policy):
    """Drawn without replacement, each time with probability proportional to samples."""

    class Config(SelectionConfig):
        """Drawn one after another, each time with probability proportional to samples."""

        kind: Literal["by-samples"] = "by-samples"

    def choose(self, round: int, k: int, candidates: Candidates) -> Indices:
        """Return the `k` that win a race at speeds proportional to their samples."""
        samples = np.array([self.facts.samples(index) for index in candidates.indices.tolist()], dtype=float)
        return candidates.indices[np.argsort(race(candidates.draws, samples), kind="stable")[:k]]


def race(draws: Floats, weights: Floats) -> Floats:
    """Return exponential times at these rates, shape (n,): the k smallest are k weighted draws, one by one.

    With equal weights they are in the order of the uniform `draws`. A weight of 0 is never drawn before
    another (Efraimidis and Spirakis 2006).
    """
    with np.errstate(divide="ignore"):
        return -np.log1p(-draws) / weights
