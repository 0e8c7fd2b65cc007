"""Which run of a sweep is computed when and where: leaders train, their siblings follow.

Runs with one learning key are a group. Its first run is computed alone, the others when it is
done, where its store is at hand, so that a training runs in one place and nobody repeats it. A
group whose second run had to train all the same (times decide what it learns) is let loose: its
runs go anywhere. Pure bookkeeping: no process, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sflsim.sweeps.runner import Job

MAX_DEATHS = 3
"""A run during which this many workers have died is not tried again: it is likely to have killed them."""


@dataclass
class _Group:
    jobs: deque[Job] = field(default_factory=deque)
    state: str = "new"  # then "led" while the first run is computed, then "known", or "loose"
    place: str = ""


class Schedule:
    """The runs still to be computed; `close` prefers a group that is begun (one worker, one memory)."""

    def __init__(self, jobs: Sequence[Job], close: bool = False) -> None:
        self.close = close
        self.left = len(jobs)
        self._deaths: dict[Job, int] = {}
        self._groups: dict[str, _Group] = {}
        for job in jobs:
            self._groups.setdefault(job.key, _Group()).jobs.append(job)
        self._new = deque(self._groups.values())
        self._known: dict[str, deque[_Group]] = {}  # by place
        self._loose: deque[_Group] = deque()
        self._led = 0

    def next(self, place: str) -> Job | None:
        """Return the run that a worker at `place` should compute now; None: it must wait."""
        begun = (self._known.setdefault(place, deque()), self._loose)
        for groups in (*begun, self._new) if self.close else (self._new, *begun):
            while groups and not groups[0].jobs:
                groups.popleft()
            if groups:
                group = groups[0]
                if group.state == "new":
                    groups.popleft()
                    group.state, group.place = "led", place
                    self._led += 1
                return group.jobs.popleft()
        return None

    @property
    def trainings_left(self) -> int:
        """How many of the runs left will train or do so now, as far as one can know."""
        loose = {id(group): len(group.jobs) for group in self._loose}
        return len(self._new) + self._led + sum(loose.values())

    def done(self, job: Job, trained: bool) -> None:
        """Note that a run is computed, and whether that took training."""
        group = self._groups[job.key]
        self.left -= 1
        if group.state == "led":
            self._becomes("known", group)
        elif group.state == "known" and trained:
            self._becomes("loose", group)

    def died(self, job: Job) -> bool:
        """Note that a run's worker died; return whether it is to be tried again."""
        self._deaths[job] = self._deaths.get(job, 0) + 1
        again = self._deaths[job] < MAX_DEATHS
        group = self._groups[job.key]
        if again:
            group.jobs.appendleft(job)
        else:
            self.left -= 1
        self._becomes("new" if group.state == "led" else group.state, group)
        return again

    def lost(self, place: str) -> None:
        """Note that nobody is left at a place: what was learned there is learned anew."""
        for group in self._known.pop(place, ()):
            if group.state == "known":
                self._becomes("new", group)

    def _becomes(self, state: str, group: _Group) -> None:
        self._led -= group.state == "led"
        group.state = state
        if group.jobs:
            known = self._known.setdefault(group.place, deque())
            {"new": self._new, "known": known, "loose": self._loose}[state].append(group)
