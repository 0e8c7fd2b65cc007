"""The time plane of a run: clients and server on the clock, who is there, and what runs for whom.

Where every client is there all the time, nobody ever vanishes and nothing is spent on it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol as Port

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
from sflsim.clock.idle_energy import Meter
from sflsim.clock.intermittent_client import FleetingClient
from sflsim.clock.processor_sharing import FairServer
from sflsim.clock.replica_slots import Places
from sflsim.clock.routes import Network
from sflsim.clock.server import Job, Server, ServerConfig
from sflsim.clock.spans import Recorder
from sflsim.fleet.devices import Device
from sflsim.fleet.instants import settled_s
from sflsim.fleet.links.links import build_link
from sflsim.fleet.population import Fleet
from sflsim.fleet.sampling import FleetAvailability
from sflsim.learning.costs import Costs

LOST, LOST_EACH = 1000, 100
"""Parts in a row that may be lost, at least and per participant, before a run counts as stalled."""


class Cuts(Port):
    """Where the network is cut, and what that costs."""

    @property
    def costs(self) -> Costs:
        """Return the costs of the variant's one cut (of the deepest, where each client has its own)."""

    def of(self, device: Device) -> tuple[int, Costs]:
        """Return the number of blocks that a device holds, and the costs of that cut."""


@dataclass(frozen=True)
class Deployment:
    """Where a variant runs: on which fleet and server, and what each of them holds of the network.

    `server_places`: participants that the server serves at a time, None for any number. `availability`:
    who is there when, None for everybody always.
    """

    fleet: Fleet
    participants: int
    server: ServerConfig
    server_places: int | None
    cuts: Cuts
    availability: FleetAvailability | None


class TimePlane(ABC):
    """The clock's half of a simulation; its verbs are those of `Client` and `Server`, and these."""

    def __init__(self, deployment: Deployment, seed: int, recorder: Recorder) -> None:
        server, availability = deployment.server, deployment.availability
        self.env = Environment()
        self.agenda = Agenda(self.env)
        self.recorder = recorder
        kind = FairServer if server.discipline == "fair" else Server
        at_a_time = deployment.server_places
        places: Places[Job] | None = None if at_a_time is None else Places(at_a_time)
        self.server = kind(self.env, self.recorder, server.compute, server.slots, places)
        self.meter = Meter(self.env)
        self.fleet = deployment.fleet
        self.participants = deployment.participants
        self.cuts = deployment.cuts
        self.costs = deployment.cuts.costs
        self.status = "completed"
        self.reason = ""
        self._availability = availability
        self._lost_in_a_row = 0
        fed = build_link(server.fed.link, seed, "fed-server") if server.fed else None
        self._network = Network(self.env, self.recorder, build_link(server.link, seed, "server"), fed)
        self._clients: dict[int, Client] = {}
        self._stop = self.env.event()
        self._working: dict[int, list[Process]] = {}

    @abstractmethod
    def lost(self, client: Client) -> None:
        """Make good for a client that vanishes before its part is whole."""

    def client(self, index: int) -> Client:
        """Return the client with this place in the fleet; made when first asked for."""
        client = self._clients.get(index)
        if client is None:
            device = self.fleet.device(index)
            client = self._clients[index] = self._made(device)
        return client

    def _made(self, device: Device) -> Client:
        place = (self.env, self.recorder, device, self._network, *self.cuts.of(device), self.meter)
        if self._availability is None:
            return Client(*place)
        timeline = self._availability.timeline(device.index)
        if device.battery_j is None:
            return FleetingClient(*place, timeline)
        return BatteryClient(*place, timeline, on_empty=self._run_empty)

    def _run_empty(self, client: BatteryClient) -> None:
        """Let a client whose battery is empty vanish, never to be drawn again."""
        assert self._availability is not None
        client.timeline = self._availability.remove(client.index, self.env.now)
        self.vanish(client)

    @property
    def clients(self) -> Iterable[Client]:
        """Every client that has been asked for so far, in the order of the fleet."""
        return (self._clients[index] for index in sorted(self._clients))

    def select(self, round: int, extra: int = 0) -> list[Client]:
        """Return the participants of a round and `extra` more, drawn uniformly without replacement."""
        return [self.client(index) for index in self.fleet.select(round, self.participants + extra)]

    @property
    def always(self) -> bool:
        """Whether every client is there all the time, so that nobody ever vanishes."""
        return self._availability is None

    def present(
        self, draw: int, k: int | None = None, among: Sequence[int] | None = None
    ) -> tuple[list[Client], float]:
        """Return up to `k` (default: `participants`) clients that are there now; else when to ask again."""
        assert self._availability is not None
        wanted = self.participants if k is None else k
        indices, again_s = self._availability.draw(draw, wanted, settled_s(self.env.now), among)
        return [self.client(index) for index in indices], again_s

    def is_available(self, client: Client) -> bool:
        """Tell whether a client is there now."""
        return not isinstance(client, FleetingClient) or client.timeline.available_at(settled_s(self.env.now))

    def is_connected(self, client: Client) -> bool:
        """Tell whether a client has been there all the time since its part of the round began."""
        return not isinstance(client, FleetingClient) or client.here

    def assemble(self, round: int, extra: int = 0) -> Protocol:
        """Return the participants of a round and `extra` more, of those that are there; wait for one.

        Where fewer are there than wanted, the round is theirs alone. Where none will ever be
        there again, the run has stalled.
        """
        if self._availability is None:
            return self.select(round, extra)
        while True:
            clients, again_s = self.present(round, self.participants + extra)
            if clients:
                return clients
            if again_s == math.inf:
                self.stall()
                yield self.env.event()
            yield Timeout(self.env, delay_to(self.env, again_s))

    def take_part(self, protocol: Protocol, client: Client, droppable: bool = False) -> Process:
        """Let a client do its part of a round; it ends without result where it vanishes or is dropped."""
        if isinstance(client, FleetingClient):
            self.recorder.anew(client.name, client.round, self.env.now)
            self._watch(client)
            self._working.pop(client.index, None)
            process = self.process(protocol, client)
            process.callbacks.append(lambda process: self._note_whole(client))
            return process
        return self.process(protocol, client if droppable else None)

    def _note_whole(self, client: FleetingClient) -> None:
        """Note the end of a part: one that is whole shows that the run gets on."""
        if client.here:
            self._lost_in_a_row = 0

    def _watch(self, client: FleetingClient) -> None:
        """Let a client vanish when its timeline says so."""
        until_s = client.timeline.until(settled_s(self.env.now))
        if until_s < math.inf and until_s != client.watched_s:
            client.watched_s = until_s
            self.agenda.at(until_s).callbacks.append(lambda event: self.vanish(client))

    def vanish(self, client: FleetingClient) -> None:
        """Let a client be gone: all it does is cut, and its part is wasted unless it was whole before."""
        processes = self._working.get(client.index, [])
        if processes and processes[0].is_alive:
            del self._working[client.index]
            if not client.counts:
                self._lose(client)
            for process in processes:
                if process.is_alive:
                    process.interrupt()
        # after the interrupts, when the processes no longer wait for what is cut, and before all else
        call_in(self.env, 0.0, lambda event: client.vanish(), URGENT)

    def _lose(self, client: FleetingClient) -> None:
        """Count a part that is lost; where nothing but that happens, the run has stalled."""
        self.recorder.waste(client.name, client.round)
        self.lost(client)
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= max(LOST, LOST_EACH * self.participants):
            self.stall(f"{self._lost_in_a_row} parts in a row were lost: clients do not stay long enough")

    def process(self, protocol: Protocol, client: Client | None = None) -> Process:
        """Let a protocol run beside the caller; on behalf of `client` if given, until `drop` ends it."""
        if client is None:
            return self.env.process(protocol)
        process = self.env.process(_until_dropped(protocol))
        self._working.setdefault(client.index, []).append(process)
        return process

    def drop(self, client: Client) -> None:
        """End what runs on behalf of a client: its work in this round is wasted.

        What it computes or sends at this moment goes on to its end, and so do jobs that the
        server has; nothing follows.
        """
        self.recorder.waste(client.name, client.round)
        for process in self._working.pop(client.index, []):
            if process.is_alive:
                process.interrupt()
        self.server.leave(client.name, client.round)
        client.rest()

    def release(self, client: Client) -> None:
        """Forget the ended processes of a client whose work counts."""
        self._working.pop(client.index, None)
        if isinstance(client, FleetingClient):
            client.counts = True

    def wait_for(self, events: Iterable[Event]) -> Protocol:
        """Wait until all of `events` have fired; cheaper than `all_of` where they fire about in order."""
        for event in events:
            if event.callbacks is not None:
                yield event

    def all_of(self, events: Sequence[Event]) -> AllOf:
        """Return the event that fires when all of `events` have."""
        return AllOf(self.env, events)

    def stall(self, why: str = "") -> None:
        """End the run, as nothing will come of it any more: by default, as nobody is left."""
        if not self._stop.triggered:
            self.status = "stalled"
        self._end(f"at {self.env.now:.6g} s: {why or self._none_available()}")

    def _none_available(self) -> str:
        empty = 0 if self._availability is None else self._availability.removed
        batteries = f", as {empty} of {len(self.fleet)} batteries are empty" if empty else ""
        return f"no client is left that could go on{batteries}"

    def _end(self, reason: str) -> None:
        if not self._stop.triggered:
            self.reason = reason
            self._stop.succeed()


def _until_dropped(protocol: Protocol) -> Protocol:
    """Run a protocol; where it is interrupted, end it with no result."""
    try:
        return (yield from protocol)
    except Interrupt:
        return None
