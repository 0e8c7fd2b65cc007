"""The time plane of a run: clients and server on the clock, availability, and the processes of each client.

If all clients are always available, none ever drops out, and this costs nothing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from sflsim.clock.agenda import Agenda
from sflsim.clock.battery import BatteryClient
from sflsim.clock.client import Client
from sflsim.clock.engine import (
    URGENT,
    AllOf,
    Environment,
    Event,
    Interrupt,
    Process,
    Protocol,
    Timeout,
    call_in,
    delay_to,
)
from sflsim.clock.idle_energy import IdleEnergy
from sflsim.clock.intermittent_client import IntermittentClient
from sflsim.clock.network import Network
from sflsim.clock.pauses import Pauses
from sflsim.clock.processor_sharing import ProcessorSharingServer
from sflsim.clock.replica_slots import ReplicaSlots
from sflsim.clock.server import Job, Server
from sflsim.clock.spans import Recorder
from sflsim.errors import refused
from sflsim.fleet.devices import Device
from sflsim.fleet.instants import settled_s
from sflsim.fleet.links.links import build_link
from sflsim.fleet.selection.policy import Candidates, Policy
from sflsim.formatting import shorten
from sflsim.rows import LinkThroughput
from sflsim.simulation.deployment import Deployment

MAX_LOST, MAX_LOST_PER_PARTICIPANT = 1000, 100
"""Participations lost, or draws without a client, in a row after which a run counts as stalled: the larger
of the two limits."""


class TimePlane(ABC):
    """The clock's half of a simulation; its verbs are these and those of `Client` and `Server`."""

    def __init__(self, deployment: Deployment, policy: Policy, seed: int, recorder: Recorder) -> None:
        server = deployment.server
        self.env = Environment()
        self.agenda = Agenda(self.env)
        self.recorder = recorder
        kind = ProcessorSharingServer if server.discipline == "fair" else Server
        replicas = deployment.server_replicas
        replica_slots: ReplicaSlots[Job] | None = None if replicas is None else ReplicaSlots(replicas)
        self.server = kind(self.env, self.recorder, server.rate, server.slots, replica_slots)
        self.idle_energy = IdleEnergy(self.env)
        self.fleet = deployment.fleet
        self.participants = deployment.participants
        self.policy = policy
        self.cuts = deployment.cuts
        self.costs = deployment.cuts.costs
        self.messages = deployment.messages
        self.status = "completed"
        self.reason = ""
        self._availability = deployment.availability
        self._lost_in_a_row = 0
        self._empty_draws = 0
        self.most_lost = max(MAX_LOST, MAX_LOST_PER_PARTICIPANT * self.participants)
        fed = build_link(server.fed.link, seed, "fed-server") if server.fed else None
        self._network = Network(self.env, self.recorder, build_link(server.link, seed, "server"), fed)
        self._clients: dict[int, Client] = {}
        self._stop = self.env.event()
        self._processes: dict[int, list[Process]] = {}
        """The processes on behalf of each client, by its index."""

    @abstractmethod
    def on_drop_out(self, client: Client) -> None:
        """React to a client that drops out before its participation is complete."""

    @property
    def link_throughput(self) -> list[LinkThroughput]:
        """The throughput of the shared links up to now; none where no span is kept."""
        return self._network.link_throughput

    def client(self, index: int) -> Client:
        """Return the client with this index in the fleet; it is made at the first call."""
        client = self._clients.get(index)
        if client is None:
            client = self._clients[index] = self._new_client(self.fleet.device(index))
            client.sent = self.messages.sent(client.cut, client.costs, client.index)
        return client

    def _new_client(self, device: Device) -> Client:
        pausing = self._availability is not None and self._availability.pauses(device.index)
        channels = self._network.channels(device, may_stop=pausing or device.battery_j is not None)
        setup = (self.env, self.recorder, device, channels, *self.cuts.of(device), self.idle_energy)
        if self._availability is None:
            return Client(*setup)
        timeline = self._availability.timeline(device.index)
        pauses = Pauses(timeline) if pausing else None
        if device.battery_j is None:
            return IntermittentClient(*setup, timeline, pauses)
        return BatteryClient(*setup, timeline, pauses, on_empty=self._on_battery_empty)

    def _on_battery_empty(self, client: BatteryClient) -> None:
        """Let a client drop out for the rest of the run."""
        assert self._availability is not None
        client.timeline = self._availability.remove(client.index, self.env.now)
        self.drop_out(client)

    @property
    def clients(self) -> Iterable[Client]:
        """The clients made so far, in the order of the fleet."""
        return (self._clients[index] for index in sorted(self._clients))

    @property
    def always_available(self) -> bool:
        """Whether all clients are always available, so none ever drops out."""
        return self._availability is None

    def is_available(self, client: Client) -> bool:
        """Tell whether a client is available now or, if it pauses, will be."""
        if not isinstance(client, IntermittentClient):
            return True
        timeline, now_s = client.timeline, settled_s(self.env.now)
        return timeline.available_at(now_s) or (
            client.pauses is not None and timeline.until(now_s) < math.inf
        )

    def is_connected(self, client: Client) -> bool:
        """Tell whether a client has not dropped out since its participation began."""
        return not isinstance(client, IntermittentClient) or client.is_connected

    def select(self, draw: int, k: int, among: Sequence[int] | None = None) -> list[Client]:
        """Return up to `k` clients, of all or `among` these, that the fleet's policy of selection chooses."""
        return self._chosen(draw, k, self.fleet.candidates(draw, self.policy.looks_at(k), among))

    def _chosen(self, draw: int, k: int, candidates: Candidates) -> list[Client]:
        """Return the clients that the policy chooses of the candidates, in the order of the fleet.

        Raises:
            ScenarioError: a user's policy has chosen others, or nobody.
        """
        k = min(k, len(candidates))
        chosen = np.sort(self.policy.choose(draw, k, candidates)).tolist() if k else []
        known = set(candidates.indices.tolist()).intersection(chosen)
        if not min(k, 1) <= len(known) == len(chosen) <= k:
            found = f"{self.policy.config.kind}, which chose {shorten(str(chosen))}"
            raise refused("fleet.selection", found, f"1 to {k} of the candidates, by their indices")
        return [self.client(index) for index in chosen]

    def draw_available(
        self, draw: int, k: int | None = None, among: Sequence[int] | None = None
    ) -> tuple[list[Client], float]:
        """Return up to `k` (default: `participants`) available clients; if there are none, when to retry."""
        assert self._availability is not None
        k = self.participants if k is None else k
        candidates, retry_s = self._availability.draw(
            draw, self.policy.looks_at(k), settled_s(self.env.now), among
        )
        self._empty_draws = 0 if len(candidates) else self._empty_draws + 1
        if self._empty_draws >= self.most_lost:
            self.stall(f"{self._empty_draws} draws in a row found no client: none stays long enough")
        return self._chosen(draw, k, candidates), retry_s

    def select_available(self, round: int, extra: int = 0) -> Protocol:
        """Return the participants of a round and `extra` more, of those available; wait for at least one.

        The run has stalled if none will ever be available.
        """
        if self._availability is None:
            return self.select(round, self.participants + extra)
        while True:
            clients, retry_s = self.draw_available(round, self.participants + extra)
            if clients:
                return clients
            if retry_s == math.inf:
                self.stall()
                yield self.env.event()
            yield Timeout(self.env, delay_to(self.env, retry_s))

    def take_part(self, protocol: Protocol, client: Client, cancellable: bool = False) -> Process:
        """Run a client's participation; its value is None if the client drops out or is cancelled."""
        if isinstance(client, IntermittentClient):
            self.recorder.restart(client.name, client.round, self.env.now)
            self._watch(client)
            self._processes.pop(client.index, None)
            process = self.process(protocol, client)
            process.callbacks.append(lambda process: self._note_end(client))
            return process
        return self.process(protocol, client if cancellable else None)

    def ask(self, protocol: Protocol, client: Client) -> Process:
        """Run what a client does before a round; its value is None if it drops out, and nothing is lost."""
        process = self.take_part(protocol, client)
        if isinstance(client, IntermittentClient):
            client.complete = True
        return process

    def process(self, protocol: Protocol, client: Client | None = None) -> Process:
        """Run a protocol in parallel; if it is on behalf of a client, `cancel` ends it."""
        if client is None:
            return self.env.process(protocol)
        process = self.env.process(_cancellable(protocol))
        self._processes.setdefault(client.index, []).append(process)
        return process

    def cancel(self, client: Client) -> None:
        """Drop a participant: its processes end, and its work in this round is wasted.

        Its present activities and its jobs at the server continue to their ends; nothing follows.
        """
        self.recorder.waste(client.name, client.round)
        for process in self._processes.pop(client.index, []):
            if process.is_alive:
                process.interrupt()
        self.server.release(client.name, client.round)
        client.release()

    def complete(self, client: Client) -> None:
        """Count a client's participation: it can no longer be lost."""
        self._processes.pop(client.index, None)
        if isinstance(client, IntermittentClient):
            client.complete = True

    def _watch(self, client: IntermittentClient) -> None:
        """Let a client drop out or pause at the end of its availability; it may be away already."""
        now_s = settled_s(self.env.now)
        until_s = client.timeline.until(now_s)
        if until_s == math.inf or until_s == client.watched_s:
            return
        client.watched_s = until_s
        if client.pauses is not None and not client.timeline.available_at(now_s):
            self._pause(client, self.env.now, until_s)
        else:
            self.agenda.at(until_s).callbacks.append(lambda event: self._leave(client, until_s))

    def _leave(self, client: IntermittentClient, left_s: float) -> None:
        """Let a client drop out or, if it will be back and its group says so, pause."""
        back_s = math.inf if client.pauses is None else client.timeline.until(left_s)
        if back_s < math.inf:
            client.watched_s = back_s
            self._pause(client, left_s, back_s)
        else:
            self.drop_out(client)

    def _pause(self, client: IntermittentClient, left_s: float, back_s: float) -> None:
        """Let a client pause until `back_s`; then look out for the next time at which it leaves."""

        def resume(event: Event) -> None:
            client.resume(back_s)
            if client.is_busy:
                self._watch(client)

        client.pause(left_s)
        self.agenda.at(back_s).callbacks.append(resume)

    def drop_out(self, client: IntermittentClient) -> None:
        """Let a client drop out: its activities are cancelled, its participation is lost unless complete."""
        processes = self._processes.get(client.index, [])
        if processes and processes[0].is_alive:
            del self._processes[client.index]
            if not client.complete:
                self._count_lost(client)
            for process in processes:
                if process.is_alive:
                    process.interrupt()
        # after the interrupts, so no process waits for a cancelled activity, and before all else
        call_in(self.env, 0.0, lambda event: client.drop_out(), URGENT)

    def _note_end(self, client: IntermittentClient) -> None:
        if client.is_connected:
            self._lost_in_a_row = 0

    def _count_lost(self, client: IntermittentClient) -> None:
        """Count a lost participation; after too many in a row the run has stalled."""
        self.recorder.waste(client.name, client.round)
        self.on_drop_out(client)
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= self.most_lost:
            self.stall(f"{self._lost_in_a_row} parts in a row were lost: clients do not stay long enough")

    def wait_for(self, events: Iterable[Event]) -> Protocol:
        """Wait until all of `events` have fired; cheaper than `all_of` if they fire about in order."""
        for event in events:
            if event.callbacks is not None:
                yield event

    def all_of(self, events: Sequence[Event]) -> AllOf:
        """Return an event that fires when all of `events` have fired."""
        return AllOf(self.env, events)

    def stall(self, reason: str = "") -> None:
        """End the run as stalled; by default because no client is left."""
        if not self._stop.triggered:
            self.status = "stalled"
        self._end(f"at {self.env.now:.6g} s: {reason or self._none_available()}")

    def _none_available(self) -> str:
        empty = 0 if self._availability is None else self._availability.removed
        batteries = f", as {empty} of {len(self.fleet)} batteries are empty" if empty else ""
        return f"no client is left that could go on{batteries}"

    def _end(self, reason: str) -> None:
        if not self._stop.triggered:
            self.reason = reason
            self._stop.succeed()


def _cancellable(protocol: Protocol) -> Protocol:
    """Run a protocol; its value is None if it is interrupted."""
    try:
        return (yield from protocol)
    except Interrupt:
        return None
