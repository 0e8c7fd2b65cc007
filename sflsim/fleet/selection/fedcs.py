"""FedCS (Nishio and Yonetani, ICC 2019, arXiv 1804.08333): as many clients as end in time, the fastest first.

Clients work in parallel here, so a round's predicted end is that of its slowest client. Where nobody is fast
enough, the fastest takes part alone. Without `within` everybody is in time, and the draw is uniform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sflsim.fields import Period
from sflsim.fleet.selection.policy import Candidates, Facts, Indices, Policy, Report
from sflsim.fleet.selection.round_times import RoundTimes, TimesConfig
from sflsim.mistakes import mistake_at


class FedCS(Policy):
    """The fastest clients whose rounds end in time."""

    class Config(TimesConfig):
        """Of the available clients the fastest, as long as they end `within` that time."""

        kind: Literal["fedcs"] = "fedcs"
        within: Period | None = Field(
            default=None, description="a round's predicted end; by default there is none: uniform draws"
        )

        @model_validator(mode="after")
        def _has_an_end(self) -> Self:
            """Refuse settings that do nothing."""
            for key in ("times", "candidates"):
                if self.within is None and getattr(self, key) != type(self).model_fields[key].default:
                    found = f"{getattr(self, key)}, and everybody is in time"
                    raise mistake_at(key, "does nothing", found, "beside 'within'", "add 'within: 10 s', say")
            return self

        @property
        def predicts(self) -> bool:
            """Whether known times are looked at."""
            return self.within is not None and super().predicts

    def __init__(self, config: Config, facts: Facts) -> None:
        super().__init__(config, facts)
        self._times = RoundTimes(config, facts)

    def looks_at(self, k: int) -> int:
        """Return how many candidates' times are looked at."""
        return k if self.config.within is None else self.config.looked_at(k)

    def choose(self, round: int, k: int, candidates: Candidates) -> Indices:
        """Return up to `k` candidates that end in time, the fastest; of equal ones those drawn first."""
        if self.config.within is None:
            return candidates.indices[:k]
        times_s = self._times.of(candidates.indices)
        fastest = np.argsort(times_s, kind="stable")[:k]
        in_time = fastest[times_s[fastest] <= self.config.within]
        return candidates.indices[in_time if len(in_time) else fastest[:1]]

    def heard(self, reports: Sequence[Report]) -> None:
        """Take in observed times."""
        self._times.heard(reports)
