"""Power-of-choice (Cho et al., AISTATS 2022, arXiv 2010.01243): the candidates with the largest losses.

Before a round, d candidates are drawn by samples. Each gets the global model and finds the mean loss of its
samples under it, with the server's part in split learning; that takes its time and its bytes. Those with the
largest losses then take part. A participant pulls the model as it always does, although it has just had it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sflsim.errors import refused
from sflsim.fields import Count, Held
from sflsim.fleet.selection.by_samples import race
from sflsim.fleet.selection.policy import Candidates, Fact, Indices, Policy, SelectionConfig


class PowerOfChoice(Policy):
    """The largest losses of some candidates."""

    class Config(SelectionConfig):
        """Candidates are drawn by samples and asked for their loss; those with the largest take part."""

        kind: Literal["power-of-choice"] = "power-of-choice"
        candidates: Annotated[Held | None, Field()] = Field(
            default=None, description="clients asked in a round (d); twice as many as take part by default"
        )
        samples: Count | None = Field(
            default=None, description="of a candidate, drawn anew in each round; all of them by default"
        )

        def reads(self) -> frozenset[Fact]:
            """Return that it asks clients for losses."""
            return frozenset({"probes"})

        def check(self, *, participants: int, clients: int) -> None:
            """Refuse fewer candidates than take part."""
            if self.candidates is not None and self.candidates < participants:
                allowed = f"at least as many as take part, {participants}"
                raise refused("fleet.selection.candidates", self.candidates, allowed)

    def asked(self, k: int) -> int:
        """Return how many candidates are asked for their losses, so that `k` of them take part."""
        return max(self.config.candidates or 2 * k, k)

    def choose(self, round: int, k: int, candidates: Candidates) -> Indices:
        """Return `k` candidates, drawn by samples."""
        samples = np.array(
            [self.facts.samples(client) for client in candidates.indices.tolist()], dtype=float
        )
        return candidates.indices[np.argsort(race(candidates.draws, samples), kind="stable")[:k]]

    def probed_samples(self, client: int) -> int:
        """Return how many of a client's samples it finds the loss of."""
        held = self.facts.samples(client)
        return min(self.config.samples or held, held)

    def best(self, k: int, clients: Sequence[int], losses: Sequence[float]) -> list[int]:
        """Return the `k` of the clients that were asked with the largest losses; of equal ones the first."""
        order = np.argsort(-np.array(losses), kind="stable")[:k]
        return [clients[place] for place in order.tolist()]
