"""The runs of a sweep, and the order in which they begin: first those that train.

Runs with one learning key are a group. The first of a group is its leader; the others follow when it has
ended, and find in the store what it learned. This saves waiting and is no guarantee: that nothing is trained
twice, in this sweep or by another process, is up to the locks of the store (`learning.graph.locks`).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from sflsim.scenario.schema import Scenario
from sflsim.sweeps.grid import Point


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a sweep: a point's variant under a seed; `key` is alike for runs that may learn alike."""

    point: Point
    variant: int
    seed: int
    key: str


def jobs_of(points: Iterable[Point]) -> list[Job]:
    """Return the runs of all points, in the order of the table."""
    return [
        Job(point, variant, seed, _learning_key(point.scenario, variant, seed))
        for point in points
        for variant, seed in product(range(len(point.scenario.variants)), point.scenario.seeds)
    ]


def _learning_key(scenario: Scenario, variant: int, seed: int) -> str:
    """Return a hash of what a run learns from, times and costs left out.

    Runs with one key learn the same unless times decide what is learned (who is late, when an
    asynchronous update comes). The store has other keys: those of the values.
    """
    workload = scenario.workload.model_dump(mode="json", exclude={"costs"})
    algorithm = scenario.variants[variant].model_dump(mode="json", exclude={"name"})
    fleet = scenario.fleet
    text = repr((workload, algorithm, fleet.clients, fleet.participants_per_round, seed))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Order:
    """The runs that have not begun; `by_group` finishes a group before the next one begins."""

    def __init__(self, jobs: Sequence[Job], by_group: bool) -> None:
        self._by_group = by_group
        self._groups: dict[str, list[Job]] = {}
        for job in jobs:
            self._groups.setdefault(job.key, []).append(job)
        self._leaders = deque(group.pop(0) for group in self._groups.values())
        self._followers: deque[Job] = deque()

    def next(self) -> Job | None:
        """Return the run that begins now; None: there is none until another has ended."""
        queues = (self._followers, self._leaders) if self._by_group else (self._leaders, self._followers)
        return next((queue.popleft() for queue in queues if queue), None)

    def ended(self, job: Job) -> None:
        """Note that a run has ended: if it led its group, the others may begin."""
        self._followers.extend(self._groups.pop(job.key, ()))
