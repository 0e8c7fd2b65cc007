"""The port of all policies of selection: what a policy may see, and what it is asked.

A round has candidates: clients that are available, in the order of a uniform draw that is keyed by the
round. The first k of them are the choice of `uniform`. A policy chooses from them by what it knows of the
clients beforehand (`Facts`) and by what it has heard of rounds that are over (`Report`). Asked the same
twice, it gives the same answer until it hears more: a round that waits for clients asks again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Fact = Literal["times", "losses", "accuracy", "probes"]
"""What a policy may read of an algorithm's rounds; probes are losses that it asks for before a round."""
LEARNED: frozenset[Fact] = frozenset({"losses", "accuracy", "probes"})
"""What only training tells; the others are known from the clock alone."""


class SelectionConfig(BaseModel):
    """Base of the Configs of all policies: a policy adds `kind`, its name, and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str

    def reads(self) -> frozenset[Fact]:
        """Return what the policy reads of an algorithm's rounds; an algorithm without it is refused."""
        return frozenset()

    @property
    def predicts(self) -> bool:
        """Whether it asks for predicted times; delays without a finite mean are then refused."""
        return False

    def check(self, *, participants: int, clients: int) -> None:
        """Refuse settings that do not fit the fleet (raises ScenarioError)."""


@dataclass(frozen=True)
class Candidates:
    """Clients that a round may choose from, in the order of its uniform draw."""

    indices: Indices
    """Their indices in the fleet, shape (n,)."""
    draws: Floats
    """The uniform numbers that they are ordered by, from 0 to 1, shape (n,)."""

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Report:
    """What the server knows of one client's part in a round that is over."""

    client: int
    round: int
    duration_s: float
    """From the round's start to the client's end; to its being dropped, where it does not count."""
    loss: float = math.nan
    """Root mean square of the losses of the samples that it trained on, under the model that the round began
    with; NaN where the policy reads no losses, or nothing is learned."""
    counted: bool = True
    """False for a client that was dropped: over-selection or a deadline."""


@dataclass(frozen=True)
class Facts:
    """What is known of the clients before the first round; functions take an index in the fleet."""

    seed: int
    samples: Callable[[int], int]
    """The number of training samples that a client holds."""
    labels: Callable[[int], Floats]
    """How many of them have each label, shape (labels,)."""
    sample: Callable[[int], Indices]
    """Up to so many of the clients that may take part, drawn uniformly (the argument is no index)."""
    predicted_s: Callable[[int], float]
    """How long its part in a round takes alone, with the mean of everything that is drawn anew."""


class Policy(ABC):
    """Chooses the clients of each round; made anew for each run, from its Config."""

    Config: ClassVar[type[SelectionConfig]]

    def __init__(self, config: Any, facts: Facts) -> None:
        self.config = config
        self.facts = facts

    def looks_at(self, k: int) -> int | None:
        """Return how many candidates it wants to choose `k` from; None for all that are available."""
        return None

    @abstractmethod
    def choose(self, round: int, k: int, candidates: Candidates) -> Sequence[int] | Indices:
        """Return up to `k` and at least one of the candidates' indices, in any order.

        `round` is a round of a synchronous algorithm, or numbers the draws of an asynchronous one. `k` is at
        least 1 and at most the number of candidates.
        """

    def asked(self, k: int) -> int:
        """Return how many clients are asked for their losses before `k` of them take part; 0: nobody is."""
        return 0

    def probed_samples(self, client: int) -> int:
        """Return on how many of its samples a client that is asked finds its loss."""
        return self.facts.samples(client)

    def best(self, k: int, clients: Sequence[int], losses: Sequence[float]) -> Sequence[int]:
        """Return up to `k` of the clients that were asked, by their mean losses."""
        return clients[:k]

    def heard(self, reports: Sequence[Report]) -> None:  # noqa: B027 (optional)
        """Take in the reports of a round; called only where the policy reads something."""

    def wants_accuracy(self, round: int) -> bool:
        """Tell whether the model after this round is evaluated by label."""
        return False

    def evaluated(self, accuracy: Floats) -> None:  # noqa: B027 (optional)
        """Take in the accuracy on the held-out samples of each label, shape (labels,)."""
