"""Replica slots: the server's memory holds its model and a limited number of replicas of it.

A participation takes a slot with its first job and keeps it until its replica is done. A finished replica
is added to the running mean at once, which frees its slot.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

Participation = tuple[str, int]
"""A client's name and the round."""


class ReplicaJob(Protocol):
    """A job that needs its participation's replica; `last` if no other follows."""

    client: str
    round: int
    last: bool


J = TypeVar("J", bound=ReplicaJob)


class ReplicaSlots(Generic[J]):
    """`count` slots, taken in order of arrival; jobs of participations without a slot wait here."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._running: dict[Participation, int] = {}  # jobs under way, of those with a slot
        self._finishing: set[Participation] = set()
        self._waiting: dict[Participation, deque[J]] = {}

    def admit(self, job: J) -> bool:
        """Tell whether the job's participation has a slot or gets a free one; if not, the job waits."""
        key = job.client, job.round
        if key in self._running:
            self._running[key] += 1
            self._finishing.discard(key)
            return True
        if key not in self._waiting and len(self._running) < self._count:
            self._running[key] = 1
            return True
        self._waiting.setdefault(key, deque()).append(job)
        return False

    def job_ended(self, job: J) -> list[J]:
        """Note the end of a job; return the waiting jobs that now have a slot."""
        key = job.client, job.round
        self._running[key] -= 1
        if job.last:
            self._finishing.add(key)
        return self._freed(key)

    def release(self, client: str, round: int) -> list[J]:
        """Free a participation's slot once no job of it runs; return the waiting jobs that now have one."""
        key = client, round
        if key not in self._running:
            return []
        self._finishing.add(key)
        return self._freed(key)

    def waiting(self, client: str, round: int) -> list[J]:
        """Return the jobs of a participation that wait for a slot."""
        return list(self._waiting.get((client, round), ()))

    def cancel(self, job: J) -> bool:
        """Remove a job that waits for a slot; False if it does not."""
        key = job.client, job.round
        jobs = self._waiting.get(key, deque())
        if job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self._waiting[key]
        return True

    def _freed(self, key: Participation) -> list[J]:
        """Free the slot of a participation that is done, for the next one; return the next one's jobs."""
        if key not in self._finishing or self._running[key]:
            return []
        self._finishing.discard(key)
        del self._running[key]
        if not self._waiting:
            return []
        following = next(iter(self._waiting))
        jobs = self._waiting.pop(following)
        self._running[following] = len(jobs)
        return list(jobs)
