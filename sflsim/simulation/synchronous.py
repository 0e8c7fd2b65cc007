"""The synchronous round: draw participants, let each take part, wait at the barrier, aggregate.

What a round does about stragglers is said here, once, for every algorithm that is made of
rounds: ask more clients than needed and take the first, or drop who is late.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import count
from typing import Annotated, cast

from pydantic import Field

from sflsim.clock.client import Client
from sflsim.clock.engine import AnyOf, Condition, Event, Process, Protocol
from sflsim.fields import Period
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.base import Algorithm, AlgorithmConfig
from sflsim.simulation.simulation import Lane, Simulation


class SynchronousConfig(AlgorithmConfig):
    """Fields of every algorithm that is made of rounds: what it does about stragglers."""

    over_selection: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=0, description="clients asked beyond 'participants'; the first to finish count"
    )
    deadline: Period | None = Field(
        default=None, description="time from a round's start after which the late are dropped"
    )


class Synchronous(Algorithm):
    """A round with a barrier.

    A subclass says what one participant does (`participate`, a protocol that returns the lane of
    its math) and how the round's lanes become the next model (`aggregate`).

    A participant that is dropped (over-selection, deadline) sends nothing more and its lane does
    not count; what it was computing or sending ends, as waste. A round goes on with one
    participant at least: if none has met the deadline, it waits for the first. One that vanishes
    does not count either, and what it was doing is cut; if all have vanished, the round is drawn
    anew among those that are there.
    """

    def protocol(self, sim: Simulation) -> Protocol:
        """Run round after round."""
        model = sim.initial_model()
        for round in count(1):
            lanes: list[Lane] = []
            while not lanes:
                asked = yield from sim.assemble(round, self.config.over_selection)
                self.open_round(sim, model, asked, min(len(asked), sim.participants))
                jobs = [self._start(sim, client, model, round) for client in asked]
                yield from self._barrier(sim, jobs)
                lanes = self._close(sim, asked, jobs)
            yield from self.after_barrier(sim, lanes)
            for client in asked:
                client.rest()
            steps = self.round_steps(lanes)
            model = self.aggregate(sim, model, lanes)
            sim.finish_round(model, steps)

    def _start(self, sim: Simulation, client: Client, model: Handle, round: int) -> Process:
        client.begin(round)
        droppable = bool(self.config.over_selection) or self.config.deadline is not None
        job = sim.take_part(self.participate(sim, client, model), client, droppable)
        job.callbacks.append(client.note_end)
        return job

    def _barrier(self, sim: Simulation, jobs: Sequence[Process]) -> Protocol:
        """Wait for all, or for the first `participants`, or for the deadline and at least one."""
        wanted = sim.participants
        if self.config.deadline is None and len(jobs) <= wanted:
            yield from sim.wait_for(jobs)
            return
        one, enough = _whole(sim, jobs, 1), _whole(sim, jobs, min(wanted, len(jobs)))
        if self.config.deadline is None:
            yield enough
            return
        now = sim.env.now
        yield AnyOf(sim.env, [enough, sim.agenda.at(now + self.config.deadline, since_s=now)])
        if not one.triggered:
            yield one

    def _close(self, sim: Simulation, asked: Sequence[Client], jobs: Sequence[Process]) -> list[Lane]:
        """Return the lanes that count, in the order of the fleet; drop the other participants."""
        members = zip(asked, jobs, strict=True)
        ended = [(client, job) for client, job in members if job.callbacks is None and job.value is not None]
        ended.sort(key=lambda one: (one[0].ended_s, one[0].index))
        counted = {client.index: cast(Lane, job.value) for client, job in ended[: sim.participants]}
        for client in asked:
            if client.index in counted:
                client.waited(client.ended_s)
                sim.release(client)
            else:
                sim.drop(client)
        return [counted[client.index] for client in asked if client.index in counted]

    def open_round(self, sim: Simulation, model: Handle, asked: list[Client], wanted: int) -> None:
        """Prepare what the participants of one round share; `wanted` of those asked will count."""

    def after_barrier(self, sim: Simulation, lanes: list[Lane]) -> Protocol:
        """Do what those that count still do together (hear of a mean, say) before the round ends."""
        yield from ()

    @abstractmethod
    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Take part in a round as `client`, starting from `model`; return the lane of the math."""

    @abstractmethod
    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Return the global model that the round's lanes make."""

    def round_steps(self, lanes: list[Lane]) -> int:
        """Return the number of server steps of a round; asked once, before `aggregate`."""
        return sum(self.server_steps(lane) for lane in lanes)

    def server_steps(self, lane: Lane) -> int:
        """Return the number of server steps that a participant caused."""
        return len(lane["batches"])


def _whole(sim: Simulation, jobs: Sequence[Process], wanted: int) -> Condition:
    """Return the event that `wanted` participants have done their part, or that nobody is left to do it."""
    whole = 0

    def count_whole(job: Event) -> None:
        nonlocal whole
        whole += job.value is not None

    for job in jobs:
        job.callbacks.append(count_whole)
    return Condition(sim.env, lambda jobs, ended: whole >= wanted or ended == len(jobs), jobs)
