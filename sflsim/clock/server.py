"""The server on the clock: a compute rate, a number of slots, one queue in order of arrival.

A job occupies one slot from start to end. Jobs that name the same `exclusive` thing (one server
model that all clients share) run one at a time, whatever the number of slots. Imports fleet
(the link's Config), units and the engine.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sflsim.clock.engine import NORMAL, Activity, Environment
from sflsim.clock.spans import Recorder, Span
from sflsim.fleet.links import LinkConfig, SharedLink
from sflsim.units import COMPUTE, ServerCompute


class ServerConfig(BaseModel):
    """`server:` of a scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    compute: ServerCompute = Field(
        default=COMPUTE.read("10 TFLOP/s"),
        description="sustained rate of one slot; 'unlimited': it takes no time",
    )
    slots: int = Field(default=1, ge=1, description="jobs served at the same time")
    link: SharedLink = Field(
        default_factory=lambda: LinkConfig.model_validate({"up": "unlimited", "down": "unlimited"}),
        description="shared by all transfers: 'down' is what it receives with, 'up' what it sends with",
    )


class Job(Activity):
    """One piece of server work; fires when it is done, or `withdrawn`."""

    __slots__ = ("arrival_s", "client", "exclusive", "flop", "number", "round", "slot", "withdrawn")

    def __init__(self, server: Server, flop: float, client: str, round: int, exclusive: str | None) -> None:
        self.env = server.env
        self.callbacks = [server.recorder.ended, server.job_ended]
        self.flop = flop
        self.client = client
        self.round = round
        self.exclusive = exclusive
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

    Recorded: `serve` (actor "server:<slot>") and, where a job had to wait, `queue` (actor "server").
    """

    def __init__(self, env: Environment, recorder: Recorder, compute_flop_per_s: float, slots: int) -> None:
        self.env = env
        self.recorder = recorder
        self.compute_flop_per_s = compute_flop_per_s
        self._free = list(range(slots))
        heapify(self._free)
        self._names = [f"server:{slot}" for slot in range(slots)]
        self._ready: list[tuple[int, Job]] = []
        self._blocked: dict[str, deque[Job]] = {}
        self.arrivals = 0

    def serve(self, flop: float, client: str = "", round: int = 0, exclusive: str | None = None) -> Job:
        """Hand in a job of `flop`; the event returned fires when it is done."""
        job = Job(self, flop, client, round, exclusive)
        self.arrivals += 1
        if exclusive is not None:
            if exclusive in self._blocked:
                self._blocked[exclusive].append(job)
                return job
            self._blocked[exclusive] = deque()
        if self._free and not self._ready:
            self._start(job)
        else:
            heappush(self._ready, (job.number, job))
        return job

    def withdraw(self, job: Job) -> None:
        """Take back a job that still waits for a slot; its event fires now. One that is served goes on."""
        assert job.exclusive is None
        if job.slot >= 0 or job.withdrawn:
            return
        job.withdrawn = True
        job.callbacks.remove(self.job_ended)
        now = self.env.now
        job.start(
            0.0,
            ("server", "queue", job.arrival_s, now, job.round, job.client, 0.0, 0.0, 0.0, "withdrawn"),
        )

    @property
    def idle_slots(self) -> int:
        """Number of slots that serve nobody now."""
        return len(self._free)

    def _start(self, job: Job) -> None:
        job.slot = slot = heappop(self._free)
        now = self.env.now
        if now > job.arrival_s:
            self.recorder.add(
                ("server", "queue", job.arrival_s, now, job.round, job.client, 0.0, 0.0, 0.0, "done")
            )
        actor, seconds = self._names[slot], job.flop / self.compute_flop_per_s
        job.start(
            seconds,
            (actor, "serve", now, now + seconds, job.round, job.client, 0.0, job.flop, 0.0, "done"),
        )

    def job_ended(self, job: Any) -> None:
        """Give the slot of a job to the next one."""
        heappush(self._free, job.slot)
        if job.exclusive is not None:
            waiting = self._blocked[job.exclusive]
            if waiting:
                following = waiting.popleft()
                heappush(self._ready, (following.number, following))
            else:
                del self._blocked[job.exclusive]
        while self._free and self._ready:
            _, following = heappop(self._ready)
            if not following.withdrawn:
                self._start(following)
