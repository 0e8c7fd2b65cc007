"""A server that shares its slots fairly: processor sharing, every job advances at the same rate.

With n jobs on c slots each gets min(1, c / n) of a slot. A job is done when the work that every job
has been given since the server was last idle comes to its own mark; the marks lie in a heap, so that
a change costs O(log n).
"""

from __future__ import annotations

from heapq import heappop, heappush

from sflsim.clock.engine import Environment, Event, Timeout
from sflsim.clock.replica_slots import Places
from sflsim.clock.server import Job, Server
from sflsim.clock.spans import Recorder, Totals
from sflsim.rows import Span


class FairServer(Server):
    """Slots that all jobs at hand share equally; none gets more than one.

    Recorded: `serve` (actor "server:<place>", one place for each job served at a time, however many).
    """

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        compute_flop_per_s: float,
        slots: int,
        places: Places[Job] | None = None,
    ) -> None:
        super().__init__(env, recorder, compute_flop_per_s, slots, places)
        self._slots = slots
        self._served: list[tuple[float, int, Job]] = []
        self._given_s = 0.0  # what every job has been given, in seconds of a whole slot
        self._given_at_s = 0.0
        self._busy_s = 0.0
        self._wake: Timeout | None = None
        self._planned = (-1.0, -1.0)

    def busy_s(self, totals: Totals) -> float:
        """Return the seconds of whole slots that the finished jobs took."""
        return self._busy_s

    @property
    def _share(self) -> float:
        return min(1.0, self._slots / len(self._served)) if self._served else 1.0

    def _admit(self, job: Job) -> None:
        """Let a job have its share from now on."""
        if not self._free:
            self._free.append(len(self._names))
            self._names.append(f"server:{len(self._names)}")
        job.slot = heappop(self._free)
        self._record_wait(job)
        job.arrival_s = self.env.now
        self._advance()
        mark_s = self._given_s + job.flop / self.compute_flop_per_s
        heappush(self._served, (mark_s, job.number, job))
        self._plan()

    def _advance(self) -> None:
        """Give every job what it has earned since the last change."""
        now = self.env.now
        self._given_s += (now - self._given_at_s) * self._share if self._served else 0.0
        self._given_at_s = now

    def _plan(self) -> None:
        """Wake when the next job is done, if that has changed."""
        planned = self._served[0][0], self._share
        if planned != self._planned:
            self._planned = planned
            delay_s = max(planned[0] - self._given_s, 0.0) / planned[1]
            self._wake = Timeout(self.env, delay_s)
            self._wake.callbacks.append(self._woken)

    def _woken(self, event: Event) -> None:
        """End the jobs that are done."""
        if event is not self._wake:
            return
        self._advance()
        self._given_s = max(self._given_s, self._served[0][0])  # despite rounding, the first is done
        while self._served and self._served[0][0] <= self._given_s:
            self._finish(heappop(self._served)[2])
        self._planned = (-1.0, -1.0)
        if self._served:
            self._plan()
        else:
            self._given_s = 0.0  # so that rounding errors do not add up

    def _finish(self, job: Job) -> None:
        self._busy_s += job.flop / self.compute_flop_per_s
        now, actor = self.env.now, self._names[job.slot]
        job.start(0.0, Span(actor, "serve", job.arrival_s, now, job.round, job.client, 0.0, job.flop))
