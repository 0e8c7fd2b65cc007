"""How the training samples are partitioned among the clients. Numpy only.

Each partition is a Config with `partition(labels, clients, seed)`, which returns the sample indices of
every client: disjoint, together all samples, none empty.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from sflsim.errors import refused
from sflsim.fields import Alpha
from sflsim.streams import generator

ATTEMPTS = 1000
Indices = npt.NDArray[np.int64]


class IID(BaseModel):
    """Every client gets an equal random share (sizes differ by one at most)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["iid"] = "iid"

    def partition(self, labels: Indices, clients: int, seed: int) -> list[Indices]:
        """Return the sample indices of every client."""
        _enough(len(labels), clients, 1)
        order = generator(seed, "partition", "iid").permutation(len(labels))
        return [np.sort(share) for share in np.array_split(order, clients)]


class Dirichlet(BaseModel):
    """Each class is divided in proportions drawn from a symmetric Dirichlet (Hsu et al., arXiv 1909.06335).

    The smaller `alpha`, the fewer classes a client sees. The draw is repeated until every client
    holds at least `min_samples`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["dirichlet"] = "dirichlet"
    alpha: Alpha
    min_samples: int = Field(default=1, ge=1)

    def partition(self, labels: Indices, clients: int, seed: int) -> list[Indices]:
        """Return the sample indices of every client."""
        _enough(len(labels), clients, self.min_samples)
        for attempt in range(2 * ATTEMPTS):
            rng = generator(seed, "partition", "dirichlet", attempt)
            shares = self._attempt(labels, clients, rng, shifted=attempt >= ATTEMPTS)
            if min(len(share) for share in shares) >= self.min_samples:
                return [np.sort(share) for share in shares]
        raise refused(
            "workload.partition",
            f"alpha {self.alpha} for {clients} clients and {len(labels)} samples",
            f"a split that gives every client at least {self.min_samples} samples",
            f"none came up in {2 * ATTEMPTS} draws: raise alpha, or lower fleet.clients or min_samples",
        )

    def _attempt(
        self, labels: Indices, clients: int, rng: np.random.Generator, shifted: bool
    ) -> list[Indices]:
        """Return a division of each class, with shares rounded to whole samples.

        Where clients are many, shares nearly equal and classes small, rounding leaves the same clients
        without a sample in every class. `shifted` moves the rounding of each class at random, by less than
        a sample, so that each client's expected number is its share.
        """
        shares: list[list[Indices]] = [[] for _ in range(clients)]
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            proportions = rng.dirichlet(np.full(clients, self.alpha))
            ends = np.cumsum(proportions)[:-1] * len(members)
            cuts = (np.floor(ends + rng.random()) if shifted else np.round(ends)).astype(np.int64)
            for share, piece in zip(shares, np.split(members, cuts), strict=True):
                share.append(piece)
        return [np.concatenate(share) for share in shares]


def _enough(samples: int, clients: int, each: int) -> None:
    if samples < clients * each:
        raise refused(
            "fleet.clients",
            str(clients),
            f"at most {samples // each} for {samples} training samples",
            "give fewer clients or a larger data set",
        )
