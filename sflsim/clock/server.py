"""The server on the clock: a compute rate, a number of slots, one queue, first come, first served.

A job occupies one slot from start to end. Jobs on the same `exclusive` object (one server model that all
clients share) run one at a time, whatever the number of slots. Where the memory holds fewer replicas than
there are participants, a job first waits for a replica slot.
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heapify, heappop, heappush
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sflsim.clock.engine import NORMAL, Activity, Environment
from sflsim.clock.replica_slots import ReplicaSlots
from sflsim.clock.spans import Recorder, Totals
from sflsim.fields import COMPUTE, SERVER_COMPUTE, Bytes, Held, Power
from sflsim.fleet.links.links import LinkConfig, SharedLink
from sflsim.fleet.rates import Rates, RatesByKind, RatesConfig
from sflsim.rows import Span


class FedServerConfig(BaseModel):
    """`server.fed`: a Fed Server that is reached by a link of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    link: SharedLink = Field(description="shared by all transfers of client parts and whole models")


class ServerConfig(BaseModel):
    """`server:` of a scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    compute: Annotated[float | RatesConfig, RatesByKind(SERVER_COMPUTE)] = Field(
        default=COMPUTE.read("10 TFLOP/s"),
        description="sustained rate of one slot, or its rates by kind; 'unlimited': it takes no time",
    )
    slots: Held = Field(default=1, description="jobs served at the same time")
    discipline: Literal["fifo", "fair"] = Field(
        default="fifo",
        description="in order of arrival, or all at once, sharing the slots equally (one each at most)",
    )
    memory: Bytes | None = Field(
        default=None,
        description="for the models it holds: where not every participant's replica fits, some wait",
    )
    power: Power | None = Field(
        default=None, description="drawn by a slot while it serves: for 'server_energy' in a plan"
    )
    link: SharedLink = Field(
        default_factory=lambda: LinkConfig.model_validate({"up": "unlimited", "down": "unlimited"}),
        description="shared by all transfers: 'down' is what it receives with, 'up' what it sends with",
    )
    fed: FedServerConfig | None = Field(
        default=None, description="the Fed Server, where it is not reached through the server's link"
    )

    @property
    def rate(self) -> float | Rates:
        """What one slot computes: FLOP/s, or by kind."""
        return self.compute.rates() if isinstance(self.compute, RatesConfig) else self.compute

    @property
    def takes_time(self) -> bool:
        """Whether computing takes time."""
        return isinstance(self.compute, RatesConfig) or math.isfinite(self.compute)


class Job(Activity):
    """One piece of server work; the event fires when it is done or `cancelled`."""

    __slots__ = ("arrival_s", "cancelled", "client", "exclusive", "flop", "last", "number", "round", "slot")

    def __init__(
        self, server: Server, flop: float, client: str, round: int, exclusive: str | None, last: bool
    ) -> None:
        self.env = server.env
        self.callbacks = [server.recorder.record, server.job_ended]
        self.flop = flop
        self.client = client
        self.round = round
        self.exclusive = exclusive
        self.last = last
        self.arrival_s = self.env.now
        self.number = server.arrivals
        self.slot = -1
        self.cancelled = False

    def start(self, seconds: float, span: Span) -> None:
        """Let the job end after `seconds`; its span must end exactly then."""
        self.span = span
        self.env.schedule(self, NORMAL, seconds)


class Server:
    """Slots that serve jobs, first come, first served.

    Recorded: `serve` (actor "server:<slot>") and, if a job had to wait, `queue` (actor "server"); the wait
    for a replica slot has the outcome "memory".
    """

    def __init__(
        self,
        env: Environment,
        recorder: Recorder,
        rate: float | Rates,
        slots: int,
        replica_slots: ReplicaSlots[Job] | None = None,
    ) -> None:
        self.env = env
        self.recorder = recorder
        self.rate = rate
        self.replica_slots = replica_slots
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
        """Submit a job of `flop`; the event fires when it is done.

        If replica slots are limited, a client's first job of a round takes one; its `last` job frees it.
        """
        job = Job(self, flop, client, round, exclusive, last)
        self.arrivals += 1
        if self.replica_slots is None or self.replica_slots.admit(job):
            self._enter(job)
        return job

    def release(self, client: str, round: int) -> None:
        """Free the replica slot of a participation that ends early, and cancel its jobs that wait for one.

        The slot is free when the participation's running jobs have ended.
        """
        if self.replica_slots is not None:
            for job in self.replica_slots.waiting(client, round):
                self.cancel(job)
            self._enter_all(self.replica_slots.release(client, round))

    def busy_s(self, totals: Totals) -> float:
        """Return the seconds of slots that the finished jobs took."""
        return totals.server_busy_s

    def _enter_all(self, jobs: list[Job]) -> None:
        """Let jobs continue that have waited for a replica slot until now."""
        now = self.env.now
        for job in jobs:
            self._record_wait(job, "memory")
            job.arrival_s = now
            self._enter(job)

    def _enter(self, job: Job) -> None:
        """Let a job wait for its exclusive object, then for a slot."""
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

    def cancel(self, job: Job) -> None:
        """Cancel a job that waits; its event fires now. A job that is served continues."""
        if job.slot >= 0 or job.cancelled:
            return
        job.cancelled = True
        job.callbacks.remove(self.job_ended)
        has_replica = self.replica_slots is None or not self.replica_slots.cancel(job)
        if has_replica and job.exclusive is not None:
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
        if has_replica and self.replica_slots is not None:
            self._enter_all(self.replica_slots.job_ended(job))

    def cancel_waiting(self, client: str, round: int) -> None:
        """Cancel every waiting job of a client's participation in a round, and free its replica slot."""
        blocked = (job for jobs in self._blocked.values() for job in jobs)
        for job in [*(job for _, job in self._ready), *blocked]:
            if job.client == client and job.round == round:
                self.cancel(job)
        self.release(client, round)

    def _record_wait(self, job: Job, outcome: str = "done") -> None:
        now = self.env.now
        if now > job.arrival_s:
            self.recorder.add(
                Span("server", "queue", job.arrival_s, now, job.round, job.client, outcome=outcome)
            )

    def _start(self, job: Job) -> None:
        job.slot = slot = heappop(self._free)
        now = self.env.now
        if now > job.arrival_s:  # saves most jobs a call
            self._record_wait(job)
        actor, seconds = self._names[slot], job.flop / self.rate
        job.start(
            seconds, Span(actor, "serve", now, now + seconds, job.round, job.client, 0.0, float(job.flop))
        )

    def job_ended(self, job: Any) -> None:
        """Give the slot of a job to the next job (a callback)."""
        heappush(self._free, job.slot)
        if job.exclusive is not None:
            self._pass_on(job.exclusive)
        if self.replica_slots is not None:
            self._enter_all(self.replica_slots.job_ended(job))
        while self._free and self._ready:
            _, following = heappop(self._ready)
            if not following.cancelled:
                self._start(following)

    def _pass_on(self, exclusive: str) -> None:
        """Give the exclusive object to the next job that needs it."""
        waiting = self._blocked[exclusive]
        if waiting:
            self._admit(waiting.popleft())
        else:
            del self._blocked[exclusive]
