"""The server's memory as places: so many replicas of its model fit beside the model itself.

A participation takes a place with its first job and keeps it until its replica is done: folded into
the running mean at once, which gives the place back.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

Participation = tuple[str, int]
"""A client's name and the round."""


class Waiting(Protocol):
    """What a place is asked for: a job of one participation."""

    client: str
    round: int
    last: bool


J = TypeVar("J", bound=Waiting)


class Places(Generic[J]):
    """Places in order of arrival; jobs without a place wait here."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._under_way: dict[Participation, int] = {}
        self._leaving: set[Participation] = set()
        self._waiting: dict[Participation, deque[J]] = {}

    @property
    def taken(self) -> int:
        """Number of replicas that are held now."""
        return len(self._under_way)

    def admit(self, job: J) -> bool:
        """Tell whether a job's participation has a place, or gets one now; else the job waits here."""
        key = job.client, job.round
        if key in self._under_way:
            self._under_way[key] += 1
            self._leaving.discard(key)
            return True
        if key not in self._waiting and self.taken < self.number:
            self._under_way[key] = 1
            return True
        self._waiting.setdefault(key, deque()).append(job)
        return False

    def ended(self, job: J) -> list[J]:
        """Count a job as done; return those that now have a place."""
        key = job.client, job.round
        self._under_way[key] -= 1
        if job.last:
            self._leaving.add(key)
        return self._given_back(key)

    def leave(self, client: str, round: int) -> list[J]:
        """Give a participation's place back once no job of it is under way; return who has one now."""
        key = client, round
        if key not in self._under_way:
            return []
        self._leaving.add(key)
        return self._given_back(key)

    def waiting(self, client: str, round: int) -> list[J]:
        """Return the jobs of a participation that wait for a place."""
        return list(self._waiting.get((client, round), ()))

    def withdraw(self, job: J) -> bool:
        """Take a job back that waits for a place; False where it does not."""
        key = job.client, job.round
        jobs = self._waiting.get(key, deque())
        if job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self._waiting[key]
        return True

    def _given_back(self, key: Participation) -> list[J]:
        if key not in self._leaving or self._under_way[key]:
            return []
        self._leaving.discard(key)
        del self._under_way[key]
        if not self._waiting:
            return []
        following = next(iter(self._waiting))
        jobs = self._waiting.pop(following)
        self._under_way[following] = len(jobs)
        return list(jobs)
