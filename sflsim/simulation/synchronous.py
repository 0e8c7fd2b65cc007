"""The synchronous round: sample participants, let each take part, wait at the barrier, aggregate.

Two measures against stragglers are defined here for all synchronous algorithms: over-selection (sample more
clients than needed and count the first) and a deadline (drop late participants).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import count
from typing import Annotated, Any, ClassVar, cast

from pydantic import Field

from sflsim.clock.client import Client
from sflsim.clock.engine import AnyOf, Condition, Event, Process, Protocol
from sflsim.fields import IN_MEMORY, Period
from sflsim.fleet.selection.policy import Fact, Report
from sflsim.learning.figures import batch_losses, probed_losses
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.base import Algorithm, AlgorithmConfig
from sflsim.simulation.simulation import Simulation


class SynchronousConfig(AlgorithmConfig):
    """Fields of every synchronous algorithm: its measures against stragglers."""

    over_selection: Annotated[int, Field(strict=True, ge=0), IN_MEMORY] = Field(
        default=0, description="clients sampled beyond 'participants'; the first to finish count"
    )
    deadline: Period | None = Field(
        default=None, description="time from a round's start after which the late are dropped"
    )


class Synchronous(Algorithm):
    """A round with a barrier.

    A subclass defines what one participant does (`participate`, a protocol that returns its contribution:
    arguments for the math) and how the round's contributions become the next model (`aggregate`).

    A participant that is dropped (over-selection, deadline) does not count: its present activity ends as
    waste, and nothing follows. A round needs at least one participant: if none has met the deadline, it
    waits for the first. A participant that drops out does not count either, and its activities are
    cancelled. If all drop out, the round is repeated with a new sample of the available clients.
    """

    reports: ClassVar[frozenset[Fact]] = frozenset({"times", "losses", "accuracy", "probes"})

    def protocol(self, sim: Simulation) -> Protocol:
        """Run round after round."""
        model = sim.initial_model()
        for round in count(1):
            contributions: list[Args] = []
            while not contributions:
                sampled = yield from self._sample(sim, round, model)
                began_s = sim.env.now
                self.open_round(sim, model, sampled, min(len(sampled), sim.participants))
                processes = [self._start(sim, client, model, round) for client in sampled]
                yield from self._barrier(sim, processes)
                contributions = self._count(sim, sampled, processes)
                self._report(sim, model, sampled, contributions, began_s)
            yield from self.after_barrier(sim, contributions)
            for client in sampled:
                client.release()
            steps = self.round_steps(contributions)
            model = self.next_model(sim, model, self.aggregate(sim, model, contributions))
            sim.finish_round(model, steps)

    def _sample(self, sim: Simulation, round: int, model: Handle) -> Protocol:
        """Return the clients of a round; where the policy asks some for their losses, after they answered."""
        k = sim.participants + self.config.over_selection
        asked = sim.policy.asked(k)
        if not asked:
            return (yield from sim.select_available(round, self.config.over_selection))
        for _ in range(sim.most_lost):
            candidates: list[Client] = yield from sim.select_available(round, asked - sim.participants)
            samples = {client.index: sim.policy.probed_samples(client.index) for client in candidates}
            for client in candidates:
                client.begin(round)
            batches = [samples[client.index] / sim.batch_size(client.index) for client in candidates]
            probes = [
                sim.ask(self.probe(sim, client, count), client)
                for client, count in zip(candidates, batches, strict=True)
            ]
            yield from sim.wait_for(probes)
            for client in candidates:
                client.release()
            clients = [
                client.index
                for client, probe in zip(candidates, probes, strict=True)
                if probe.value is not None and sim.is_available(client)
            ]
            if clients:
                asked_for = [samples[client] for client in clients]
                args = {"model": model, "clients": clients, "round": round, "samples": asked_for}
                losses = sim.figures(probed_losses, args, len(clients))
                return [sim.client(index) for index in sorted(sim.policy.best(k, clients, losses))]
        sim.stall(f"{sim.most_lost} times in a row nobody who was asked for a loss was there at the end")
        return (yield sim.env.event())

    def probe(self, sim: Simulation, client: Client, batches: float) -> Protocol:
        """Find the loss of so many batches (a fraction counts) of a client under the round's model.

        The client part comes down, the activations and labels go up, the server computes the losses.
        """
        costs = client.costs
        yield client.pull(client.sent.model_bytes)
        yield client.forward(costs.client_forward_flop * batches)
        yield client.send_up(batches * (client.sent.activation_bytes + costs.labels_bytes))
        forward_flop = costs.server_forward_flop * batches
        yield sim.server.serve(forward_flop, client.name, client.round, last=True)
        return client.index

    def _start(self, sim: Simulation, client: Client, model: Handle, round: int) -> Process:
        client.begin(round)
        cancellable = bool(self.config.over_selection) or self.config.deadline is not None
        process = sim.take_part(self.participate(sim, client, model), client, cancellable)
        process.callbacks.append(client.note_end)
        return process

    def _barrier(self, sim: Simulation, processes: Sequence[Process]) -> Protocol:
        """Wait for all, for the first `participants`, or for the deadline and at least one participant."""
        needed = sim.participants
        if self.config.deadline is None and len(processes) <= needed:
            yield from sim.wait_for(processes)
            return
        first = _completed(sim, processes, 1)
        enough = _completed(sim, processes, min(needed, len(processes)))
        if self.config.deadline is None:
            yield enough
            return
        now = sim.env.now
        yield AnyOf(sim.env, [enough, sim.agenda.at(now + self.config.deadline, since_s=now)])
        if not first.triggered:
            yield first

    def _count(self, sim: Simulation, sampled: Sequence[Client], processes: Sequence[Process]) -> list[Args]:
        """Return the contributions that count, in the order of the fleet; drop the other participants."""
        ended = [
            (client, cast(Args, process.value))
            for client, process in zip(sampled, processes, strict=True)
            if process.callbacks is None and process.value is not None
        ]
        ended.sort(key=lambda pair: (pair[0].ended_s, pair[0].index))
        counted = {client.index: contribution for client, contribution in ended[: sim.participants]}
        for client in sampled:
            if client.index in counted:
                client.record_wait(client.ended_s)
                sim.complete(client)
            else:
                sim.cancel(client)
        return [counted[client.index] for client in sampled if client.index in counted]

    def open_round(self, sim: Simulation, model: Handle, sampled: list[Client], wanted: int) -> None:
        """Prepare what the participants of one round share; `wanted` of those sampled will count."""

    def after_barrier(self, sim: Simulation, contributions: list[Args]) -> Protocol:
        """Let the participants that count act together before the round ends (receive a mean, say)."""
        yield from ()

    def _report(
        self,
        sim: Simulation,
        model: Handle,
        sampled: Sequence[Client],
        contributions: Sequence[Args],
        began_s: float,
    ) -> None:
        """Tell a policy of selection that reads it how each client did; not of those that dropped out."""
        reads = sim.policy.config.reads()
        if not reads:
            return
        losses = dict.fromkeys((contribution["client"] for contribution in contributions), math.nan)
        if "losses" in reads and contributions:
            args = {"model": model, "of_clients": [self.batches_of(one) for one in contributions]}
            losses = dict(zip(losses, sim.figures(batch_losses, args, len(losses)), strict=True))
        reports = []
        for client in sampled:
            counts = client.index in losses
            if counts or sim.is_connected(client):
                end_s = client.ended_s if counts else sim.env.now
                loss = losses.get(client.index, math.nan)
                reports.append(Report(client.index, client.round, end_s - began_s, loss, counts))
        sim.policy.heard(reports)

    def batches_of(self, contribution: Args) -> Sequence[Any]:
        """Return the names of the batches that a participant has trained on."""
        batches: Sequence[Any] = contribution.get("batches") or [contribution["batch"]]
        return batches

    @abstractmethod
    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Take part in a round as `client`, starting from `model`; return its contribution."""

    @abstractmethod
    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Return the global model made from the round's contributions, before `next_model`."""

    def round_steps(self, contributions: list[Args]) -> int:
        """Return the number of server steps of a round; called once, before `aggregate`."""
        return sum(self.server_steps(contribution) for contribution in contributions)

    def server_steps(self, contribution: Args) -> int:
        """Return the number of server steps that a participant caused."""
        return len(contribution["batches"])


def _completed(sim: Simulation, processes: Sequence[Process], needed: int) -> Condition:
    """Return the event that `needed` participants have completed, or that all processes have ended."""
    completed = 0

    def count_completed(process: Event) -> None:
        nonlocal completed
        completed += process.value is not None

    for process in processes:
        process.callbacks.append(count_completed)
    return Condition(sim.env, lambda events, ended: completed >= needed or ended == len(events), processes)
