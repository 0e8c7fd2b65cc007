"""How long a client's part in a round takes, as a policy knows it: predicted, or observed in past rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sflsim.fields import Held
from sflsim.fleet.selection.policy import Fact, Facts, Floats, Indices, Report, SelectionConfig

LEAST_CANDIDATES, CANDIDATES_PER_PARTICIPANT = 1000, 10
"""The larger of the two limits is how many clients' times a round looks at by default."""


class TimesConfig(SelectionConfig):
    """Where a policy has round times from, and of how many clients."""

    times: Literal["known", "observed"] = Field(
        default="known",
        description="known: predicted from rates and costs, for each client alone, with the mean of every "
        "distribution; observed: the mean of the rounds that it took part in (unknown: the median)",
    )
    candidates: Annotated[Held | None, Field()] = Field(
        default=None,
        description="clients looked at in a round, drawn uniformly of those available; by default all of up "
        "to 1000, or ten per participant if that is more",
    )

    def reads(self) -> frozenset[Fact]:
        """Return that it reads times."""
        return frozenset({"times"})

    @property
    def predicts(self) -> bool:
        """Whether known times are looked at."""
        return self.times == "known"

    def looked_at(self, k: int) -> int:
        """Return how many candidates to choose `k` from."""
        if self.candidates is None:
            return max(LEAST_CANDIDATES, CANDIDATES_PER_PARTICIPANT * k)
        return max(self.candidates, k)


class RoundTimes:
    """The round times of clients; the observed ones are means over what was heard."""

    def __init__(self, config: TimesConfig, facts: Facts) -> None:
        self._predicted_s = facts.predicted_s if config.times == "known" else None
        self._sums_s: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    def of(self, indices: Indices) -> Floats:
        """Return the round times of these clients in s, shape (n,); all are 0 where none is known."""
        clients = indices.tolist()
        if self._predicted_s is not None:
            return np.array([self._predicted_s(client) for client in clients])
        known = {client: self._sums_s[client] / count for client, count in self._counts.items()}
        median_s = float(np.median(list(known.values()))) if known else 0.0
        return np.array([known.get(client, median_s) for client in clients])

    def heard(self, reports: Sequence[Report]) -> None:
        """Take in what was observed."""
        for report in reports:
            self._sums_s[report.client] = self._sums_s.get(report.client, 0.0) + report.duration_s
            self._counts[report.client] = self._counts.get(report.client, 0) + 1
