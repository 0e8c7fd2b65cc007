"""The server on the clock: a compute rate, a number of slots, one queue in order of arrival.

A job occupies one slot from start to end. Jobs that name the same `exclusive` thing (one server
model that all clients share) run one at a time, whatever the number of slots. Where the memory holds
fewer replicas than there are participants, a job waits first for a place.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sflsim.clock.engine import NORMAL, Activity, Environment
from sflsim.clock.replica_slots import Places
from sflsim.clock.spans import Recorder, Totals
from sflsim.fields import COMPUTE, Bytes, ServerCompute
from sflsim.fleet.links.links import LinkConfig, SharedLink
from sflsim.rows import Span


class FedServerConfig(BaseModel):
    """`server.fed`: a Fed Server that is reached by a link of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    link: SharedLink = Field(description="shared by all transfers of client parts and whole models")


class ServerConfig(BaseModel):
    """`server:` of a scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    compute: ServerCompute = Field(
        default=COMPUTE.read("10 TFLOP/s"),
        description="sustained rate of one slot; 'unlimited': it takes no time",
    )
    slots: int = Field(default=1, ge=1, description="jobs served at the same time")
    discipline: Literal["fifo", "fair"] = Field(
        default="fifo",
        description="in order of arrival, or all at once, sharing the slots equally (one each at most)",
    )
    memory: Bytes | None = Field(
        default=None,
        description="for the models it holds: where not every participant's replica fits, some wait",
    )
    link: SharedLink = Field(
        default_factory=lambda: LinkConfig.model_validate({"up": "unlimited", "down": "unlimited"}),
        description="shared by all transfers: 'down' is what it receives with, 'up' what it sends with",
    )
    fed: FedServerConfig | None = Field(
        default=None, description="the Fed Server, where it is not reached through the server's link"
    )


class Job(Activity):
    """One piece of server work; fires when it is done, or `withdrawn`."""

    __slots__ = ("arrival_s", "client", "exclusive", "flop", "last", "number", "round", "slot", "withdrawn")

    def __init__(
        self, server: Server, flop: float, client: str, round: int, exclusive: str | None, last: bool
    ) -> None:
        self.env = server.env
        self.callbacks = [server.recorder.ended, server.job_ended]
        self.flop = flop
        self.client = client
        self.round = round
        self.exclusive = exclusive
        self.last = last
        self.arrival_s = self.env.now
        self.number = server.arrivals
        self.slot = -1
        self.withdrawn = False

    def start(self, seconds: float, span: Span) -> None:
        """Let the job end `seconds` from now; its span must end exactly then."""
        self.span = span
        self.env.schedule(self, NORMAL, seconds)


class Server:
    """Slots that serve jobs first come, first served.

    Recorded: `serve` (actor "server:<slot>") and, where a job had to wait, `queue` (actor "server"),
    that for a place in memory with the outcome "memory".
    """

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        compute_flop_per_s: float,
        slots: int,
        places: Places[Job] | None = None,
    ) -> None:
        self.env = env
        self.recorder = recorder
        self.compute_flop_per_s = compute_flop_per_s
        self.places = places
        self._free = list(range(slots))
        heapify(self._free)
        self._names = [f"server:{slot}" for slot in range(slots)]
        self._ready: list[tuple[int, Job]] = []
        self._blocked: dict[str, deque[Job]] = {}
        self.arrivals = 0

    def serve(
        self,
        flop: float,
        client: str = "",
        round: int = 0,
        exclusive: str | None = None,
        last: bool = False,
    ) -> Job:
        """Hand in a job of `flop`; the event returned fires when it is done.

        Where places are short, the client's first job of a round takes one and its `last` gives it back.
        """
        job = Job(self, flop, client, round, exclusive, last)
        self.arrivals += 1
        if self.places is None or self.places.admit(job):
            self._enter(job)
        return job

    def leave(self, client: str, round: int) -> None:
        """Give back the place of a participation that ends before its last job, if it has or awaits one.

        A place is free when the jobs under way on it are done; jobs that wait for one are taken back.
        """
        if self.places is not None:
            for job in self.places.waiting(client, round):
                self.withdraw(job)
            self._enter_all(self.places.leave(client, round))

    def busy_s(self, totals: Totals) -> float:
        """Return the seconds of slots that the finished jobs took."""
        return totals.server_busy_s

    def _enter_all(self, jobs: list[Job]) -> None:
        """Let jobs go on that have waited for a place until now."""
        now = self.env.now
        for job in jobs:
            self._record_wait(job, "memory")
            job.arrival_s = now
            self._enter(job)

    def _enter(self, job: Job) -> None:
        """Let a job wait for its exclusive thing, or for a slot."""
        if job.exclusive is not None:
            if job.exclusive in self._blocked:
                self._blocked[job.exclusive].append(job)
                return
            self._blocked[job.exclusive] = deque()
        self._admit(job)

    def _admit(self, job: Job) -> None:
        """Serve a job, or let it wait for a slot."""
        if self._free and not self._ready:
            self._start(job)
        else:
            heappush(self._ready, (job.number, job))

    def withdraw(self, job: Job) -> None:
        """Take back a job that still waits for a slot; its event fires now. One that is served goes on."""
        if job.slot >= 0 or job.withdrawn:
            return
        job.withdrawn = True
        job.callbacks.remove(self.job_ended)
        placed = self.places is None or not self.places.withdraw(job)
        if placed and job.exclusive is not None:
            waiting = self._blocked[job.exclusive]
            if job in waiting:
                waiting.remove(job)
            else:
                self._pass_on(job.exclusive)
        now = self.env.now
        job.start(
            0.0,
            Span("server", "queue", job.arrival_s, now, job.round, job.client, outcome="withdrawn"),
        )
        if placed and self.places is not None:
            self._enter_all(self.places.ended(job))

    def forget(self, client: str, round: int) -> None:
        """Take back every job of a client's part of a round that still waits."""
        blocked = (job for jobs in self._blocked.values() for job in jobs)
        for job in [*(job for _, job in self._ready), *blocked]:
            if job.client == client and job.round == round:
                self.withdraw(job)
        self.leave(client, round)

    def _record_wait(self, job: Job, outcome: str = "done") -> None:
        now = self.env.now
        if now > job.arrival_s:
            self.recorder.add(
                Span("server", "queue", job.arrival_s, now, job.round, job.client, outcome=outcome)
            )

    def _start(self, job: Job) -> None:
        job.slot = slot = heappop(self._free)
        now = self.env.now
        if now > job.arrival_s:  # most jobs have not waited: that spares them a call
            self._record_wait(job)
        actor, seconds = self._names[slot], job.flop / self.compute_flop_per_s
        job.start(seconds, Span(actor, "serve", now, now + seconds, job.round, job.client, 0.0, job.flop))

    def job_ended(self, job: Any) -> None:
        """Give the slot of a job to the next one."""
        heappush(self._free, job.slot)
        if job.exclusive is not None:
            self._pass_on(job.exclusive)
        if self.places is not None:
            self._enter_all(self.places.ended(job))
        while self._free and self._ready:
            _, following = heappop(self._ready)
            if not following.withdrawn:
                self._start(following)

    def _pass_on(self, exclusive: str) -> None:
        """Let the next job that needs `exclusive` have it."""
        waiting = self._blocked[exclusive]
        if waiting:
            self._admit(waiting.popleft())
        else:
            del self._blocked[exclusive]
