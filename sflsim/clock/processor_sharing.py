"""Processor sharing: all jobs advance at the same rate.

With n jobs on c slots each gets min(1, c / n) of a slot. The virtual time is the service that every job
has attained since the server was last idle; a job ends when it reaches the job's deadline. Deadlines lie
in a heap, so a change costs O(log n). Source: Kleinrock, "Time-shared systems: a theoretical treatment",
Journal of the ACM 14 (1967).
"""

from __future__ import annotations

from heapq import heappop, heappush

from sflsim.clock.engine import Environment, Event, Timeout
from sflsim.clock.replica_slots import ReplicaSlots
from sflsim.clock.server import Job, Server
from sflsim.clock.spans import Recorder, Totals
from sflsim.fleet.rates import Rates
from sflsim.rows import Span


class ProcessorSharingServer(Server):
    """A server whose jobs share the slots equally; no job gets more than one slot.

    Recorded: `serve` (actor "server:<index>"; each job served at a time has an index of its own).
    """

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        rate: float | Rates,
        slots: int,
        replica_slots: ReplicaSlots[Job] | None = None,
    ) -> None:
        super().__init__(env, recorder, rate, slots, replica_slots)
        self._slots = slots
        self._served: list[tuple[float, int, Job]] = []  # by deadline
        self._attained_s = 0.0  # the virtual time, in seconds of a whole slot
        self._updated_s = 0.0
        self._busy_s = 0.0
        self._wakeup: Timeout | None = None
        self._scheduled = (-1.0, -1.0)  # first deadline and share for which the wake-up was computed

    def busy_s(self, totals: Totals) -> float:
        """Return the seconds of whole slots that the finished jobs took."""
        return self._busy_s

    @property
    def _share(self) -> float:
        return min(1.0, self._slots / len(self._served)) if self._served else 1.0

    def _admit(self, job: Job) -> None:
        """Serve a job from now on."""
        if not self._free:
            self._free.append(len(self._names))
            self._names.append(f"server:{len(self._names)}")
        job.slot = heappop(self._free)
        self._record_wait(job)
        job.arrival_s = self.env.now
        self._update()
        deadline_s = self._attained_s + job.flop / self.rate
        heappush(self._served, (deadline_s, job.number, job))
        self._schedule_end()

    def _update(self) -> None:
        """Advance the virtual time to now."""
        now = self.env.now
        self._attained_s += (now - self._updated_s) * self._share if self._served else 0.0
        self._updated_s = now

    def _schedule_end(self) -> None:
        """Schedule a wake-up at the end of the next job, if that has changed."""
        scheduled = self._served[0][0], self._share
        if scheduled != self._scheduled:
            self._scheduled = deadline_s, share = scheduled
            self._wakeup = Timeout(self.env, max(deadline_s - self._attained_s, 0.0) / share)
            self._wakeup.callbacks.append(self._end_due)

    def _end_due(self, event: Event) -> None:
        """End the jobs that have reached their deadlines."""
        if event is not self._wakeup:
            return
        self._update()
        self._attained_s = max(self._attained_s, self._served[0][0])  # the first one, despite rounding
        while self._served and self._served[0][0] <= self._attained_s:
            self._finish(heappop(self._served)[2])
        self._scheduled = (-1.0, -1.0)
        if self._served:
            self._schedule_end()
        else:
            self._attained_s = 0.0  # rounding errors end here

    def _finish(self, job: Job) -> None:
        self._busy_s += job.flop / self.rate
        now, actor = self.env.now, self._names[job.slot]
        job.start(0.0, Span(actor, "serve", job.arrival_s, now, job.round, job.client, 0.0, float(job.flop)))
