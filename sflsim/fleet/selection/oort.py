"""Oort (Lai et al., OSDI 2021, arXiv 2010.06081): clients whose samples have large losses, if not too slow.

A client that has taken part has the utility n sqrt(mean of its samples' squared losses), clipped at the 98th
percentile, plus sqrt(0.1 ln r / l) in round r if it last took part in round l. Where its last round time t is
above the preferred T, that is multiplied by (T / t)^2. T is a percentile of the last round times, the 10th
at first. Every 20 rounds a pacer compares the utilities of the last 20 rounds with those of the 20 before:
within 10 % of these, T's percentile rises by 5 points; if they differ by five times or more, it falls by 5,
to 5 at least. A share of each round, 0.9 at first and 0.95 times as large in each round down to 0.2, is for
clients that have not taken part, uniformly, rounded up. The others are drawn with probability proportional to
score among those with at least 0.7 of the k-th best score, if k are drawn. Percentiles are linear between two
clients.

The pacer's thresholds are those of the authors' code; its utilities are the sums of each round's clients.
Utilities are added to the bonus as they are, as in the paper; the authors' code first scales them to [0, 1],
which gives the bonus more weight. A client that was dropped reports no loss: it counts as not having taken
part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sflsim.fields import Count
from sflsim.fleet.selection.by_samples import race
from sflsim.fleet.selection.policy import (
    Candidates,
    Fact,
    Facts,
    Floats,
    Indices,
    Policy,
    Report,
    SelectionConfig,
)

CLIPPED, BONUS, CUTOFF = 98.0, 0.1, 0.7
NEW, NEW_DECAY, LEAST_NEW = 0.9, 0.95, 0.2
FIRST_PERCENTILE, STEP, FLAT, SHARP = 10.0, 5.0, 0.1, 5.0


class Oort(Policy):
    """By utility and speed."""

    class Config(SelectionConfig):
        """By the losses and round times that clients have shown, beside some that are new."""

        kind: Literal["oort"] = "oort"
        penalty: float = Field(default=2.0, ge=0, le=100, description="exponent of T / t for a slow client")
        pacer: Count = Field(default=20, description="rounds between two looks of the pacer")

        def reads(self) -> frozenset[Fact]:
            """Return that it reads losses and times."""
            return frozenset({"losses", "times"})

    def __init__(self, config: Config, facts: Facts) -> None:
        super().__init__(config, facts)
        self._utility: dict[int, float] = {}
        self._duration_s: dict[int, float] = {}
        self._last_round: dict[int, int] = {}
        self._gained: list[float] = []  # the utilities of each round's clients, summed
        self.percentile = FIRST_PERCENTILE
        """The percentile of round times that is T."""

    def choose(self, round: int, k: int, candidates: Candidates) -> Indices:
        """Return new clients, and others by score; where there are too few of one kind, more of the other."""
        known = np.array([client in self._utility for client in candidates.indices.tolist()])
        new, old = candidates.indices[~known], candidates.indices[known]
        best = min(math.floor(k * (1 - new_share(round)) + 1e-9), len(old))
        best = max(best, k - len(new))
        best_clients = self._best(round, best, old, candidates.draws[known])
        return np.concatenate([new[: k - best], best_clients])

    def _best(self, round: int, k: int, clients: Indices, draws: Floats) -> Indices:
        """Return `k` clients, drawn by score among those near the k-th best or above."""
        if not k:
            return clients[:0]
        scores = self.scores(round, clients)
        near = scores >= CUTOFF * np.sort(scores)[-k]
        order = np.argsort(race(draws[near], scores[near]), kind="stable")
        best: Indices = clients[near][order[:k]]
        return best

    def scores(self, round: int, clients: Indices) -> Floats:
        """Return the scores of clients that have taken part, shape (n,)."""
        everybody = np.array(list(self._utility.values()))
        preferred_s = np.percentile(list(self._duration_s.values()), self.percentile)
        utility = np.array([self._utility[client] for client in clients.tolist()])
        times_s = np.array([self._duration_s[client] for client in clients.tolist()])
        last = np.array([self._last_round[client] for client in clients.tolist()])
        clipped = np.minimum(utility, np.percentile(everybody, CLIPPED))
        scores: Floats = clipped + np.sqrt(BONUS * math.log(round) / last)
        slow = times_s > preferred_s
        scores[slow] *= (preferred_s / times_s[slow]) ** self.config.penalty
        return scores

    def heard(self, reports: Sequence[Report]) -> None:
        """Take in the losses and times of a round; let the pacer look."""
        gained = 0.0
        for report in reports:
            if report.counted and math.isfinite(report.loss):
                utility = self.facts.samples(report.client) * report.loss
                self._utility[report.client] = utility
                self._duration_s[report.client] = report.duration_s
                self._last_round[report.client] = report.round
                gained += utility
        self._gained.append(gained)
        self._pace()

    def _pace(self) -> None:
        """Prefer slower clients where the utilities have become flat, faster ones where they jump."""
        rounds: int = self.config.pacer
        if len(self._gained) % rounds or len(self._gained) < 2 * rounds:
            return
        before, now = sum(self._gained[-2 * rounds : -rounds]), sum(self._gained[-rounds:])
        if abs(now - before) <= FLAT * before:
            self.percentile = min(self.percentile + STEP, 100.0)
        elif abs(now - before) >= SHARP * before:
            self.percentile = max(self.percentile - STEP, STEP)


def new_share(round: int) -> float:
    """Return the share of a round's participants that have not taken part before."""
    return max(LEAST_NEW, NEW * NEW_DECAY ** (round - 1))
