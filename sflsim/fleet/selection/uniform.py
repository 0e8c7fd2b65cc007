"""Uniform selection: every available client is equally likely to take part."""

from __future__ import annotations

from typing import Literal

from sflsim.fleet.selection.policy import Candidates, Indices, Policy, SelectionConfig


class Uniform(Policy):
    """Drawn uniformly without replacement."""

    class Config(SelectionConfig):
        """Every available client is equally likely to take part."""

        kind: Literal["uniform"] = "uniform"

    def looks_at(self, k: int) -> int:
        """Return `k`: the choice is the first candidates."""
        return k

    def choose(self, round: int, k: int, candidates: Candidates) -> Indices:
        """Return the first `k` candidates."""
        return candidates.indices[:k]
