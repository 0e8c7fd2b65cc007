"""TiFL (Chai et al., HPDC 2020, arXiv 2001.09249): the clients of a round are of one tier of round times.

Tiers hold equally many clients, the fastest in tier 0: their borders are quantiles of the round times of up
to `candidates` clients of the fleet. A round draws one tier, then participants of it, uniformly; if fewer of
the tier are available, those take part. Tiers are equally likely or, if `adaptive`, weighed by accuracy:
every `every` rounds, if the accuracy of the last round's tier has not risen since the look before, the D
tiers that have credits are ranked, and the i-th worst gets the weight D - i. A tier's accuracy is that of the
global model on held-out samples in the mix of labels that its clients hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sflsim.errors import refused
from sflsim.fields import Count
from sflsim.fleet.selection.policy import Candidates, Fact, Facts, Floats, Indices, Policy, Report
from sflsim.fleet.selection.round_times import RoundTimes, TimesConfig
from sflsim.mistakes import mistake_at
from sflsim.streams import generator


class TiFL(Policy):
    """One tier in each round."""

    class Config(TimesConfig):
        """Clients in `tiers` by round time; each round draws one tier, and participants of it."""

        kind: Literal["tifl"] = "tifl"
        tiers: Count = Field(default=5, description="of equally many clients each")
        adaptive: bool = Field(
            default=False, strict=True, description="draw tiers of low accuracy more often"
        )
        every: Count = Field(default=20, description="adaptive: rounds between two looks at the accuracies")
        credits: Count | None = Field(
            default=None,
            description="adaptive: rounds that each tier is drawn for at most, until all have had theirs",
        )

        @model_validator(mode="after")
        def _is_adaptive(self) -> Self:
            """Refuse settings that do nothing."""
            for key in ("every", "credits"):
                if not self.adaptive and getattr(self, key) != type(self).model_fields[key].default:
                    found, remedy = (
                        f"{getattr(self, key)}, and the tiers are equally likely",
                        "add 'adaptive: true'",
                    )
                    raise mistake_at(key, "does nothing", found, "beside 'adaptive: true'", remedy)
            return self

        def reads(self) -> frozenset[Fact]:
            """Return that it reads times and, if adaptive, the accuracy."""
            return frozenset({"times", "accuracy"}) if self.adaptive else frozenset({"times"})

        def check(self, *, participants: int, clients: int) -> None:
            """Refuse tiers that hold fewer clients than take part."""
            if clients // self.tiers < participants:
                found = f"{self.tiers} tiers of {clients} clients, for {participants} participants"
                allowed = f"1 to {clients // participants} tiers, so that each holds a round's participants"
                raise refused("fleet.selection.tiers", found, allowed, "take fewer tiers or participants")

    def __init__(self, config: Config, facts: Facts) -> None:
        super().__init__(config, facts)
        self._times = RoundTimes(config, facts)
        self._sample = facts.sample(config.looked_at(1))
        self._weights = np.ones(config.tiers)
        self._rounds = np.zeros(config.tiers)  # that each tier was drawn for since credits were last given
        self._drawn = 0  # the tier of the present round
        self._before: Floats | None = None  # the accuracies at the last look

    def looks_at(self, k: int) -> int:
        """Return how many candidates' tiers are looked at."""
        looked_at: int = self.config.looked_at(k)
        return looked_at

    def tiers_of(self, clients: Indices) -> Indices:
        """Return the tier of each client, shape (n,); on a border it is the faster one."""
        times_s, tiers = np.sort(self._times.of(self._sample)), self.config.tiers
        borders = [-(-len(times_s) * tier // tiers) - 1 for tier in range(1, tiers)]
        return np.searchsorted(times_s[borders], self._times.of(clients), side="left")

    def choose(self, round: int, k: int, candidates: Candidates) -> Indices:
        """Return the first `k` candidates of the tier that is drawn for the round."""
        tiers = self.tiers_of(candidates.indices)
        there = np.isin(np.arange(self.config.tiers), tiers).astype(float)
        wanted = (self.weights() * there, self._have_credits() * there, there)
        weights = next(each for each in wanted if each.any())
        rng = generator(self.facts.seed, "selection", "tifl", round)
        self._drawn = int(rng.choice(len(weights), p=weights / weights.sum()))
        members: Indices = candidates.indices[tiers == self._drawn]
        return members[:k]

    def weights(self) -> Floats:
        """Return what the tiers are drawn in proportion to, shape (tiers,)."""
        return self._weights * self._have_credits()

    def _have_credits(self) -> Floats:
        return np.ones_like(self._rounds) * (self._rounds < (self.config.credits or np.inf))

    def heard(self, reports: Sequence[Report]) -> None:
        """Take in observed times, and charge the round to its tier."""
        self._times.heard(reports)
        self._rounds[self._drawn] += 1
        if not self._have_credits().any():
            self._rounds[:] = 0

    def wants_accuracy(self, round: int) -> bool:
        """Tell whether the accuracies are looked at after this round."""
        return bool(self.config.adaptive and round % self.config.every == 0)

    def evaluated(self, accuracy: Floats) -> None:
        """Take in the accuracy of the global model on each label, shape (labels,); change the weights."""
        now = self._accuracies(accuracy)
        if self._before is not None and now[self._drawn] <= self._before[self._drawn]:
            ranked = [tier for tier in np.argsort(now, kind="stable") if self._have_credits()[tier]]
            self._weights[ranked] = np.arange(len(ranked) - 1, -1, -1) if len(ranked) > 1 else 1.0
        self._before = now

    def _accuracies(self, accuracy: Floats) -> Floats:
        """Return the accuracy of each tier, shape (tiers,), by the labels of its clients."""
        labels = np.zeros((self.config.tiers, len(accuracy)))
        for tier, client in zip(self.tiers_of(self._sample), self._sample.tolist(), strict=True):
            labels[tier] += self.facts.labels(client)
        accuracies: Floats = labels @ accuracy / np.maximum(labels.sum(axis=1), 1.0)
        return accuracies
