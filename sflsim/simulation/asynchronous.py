"""The asynchronous loop: active clients work on their own clocks, no round holds them together.

A fixed number of clients (the scenario's `participants`) is active at any time. When one has
contributed, its place goes at once to a client drawn at random from those that are idle: itself
included, or only where there is no other, as the algorithm says (`redraws`). What arrives in one
instant is used before anybody starts anew in it, so equal clients see equal models. Where clients
come and go, one that vanishes gives up its place, which stays empty while nobody idle is there. A
"round" of the tables is an update of the global model. A client's own count of contributions names
its draws, and is in no table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from math import inf
from typing import ClassVar

from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol, Timeout, delay_to
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.base import Algorithm
from sflsim.simulation.simulation import Simulation


class Asynchronous(Algorithm):
    """Active clients that contribute one after another, each on its own clock.

    A subclass says what one contribution is (`contribute`, a protocol) and publishes a new
    `self.model` with `self.publish` when the server has made one; `self.version` counts them.
    """

    redraws: ClassVar[bool] = True
    """Whether one that has contributed may be drawn for its own place while others are idle."""
    model: Handle
    version: int

    def protocol(self, sim: Simulation) -> Protocol:
        """Start the active clients; they go on for ever."""
        self.model, self.version = sim.initial_model(), 0
        sim.recorder.updates_s = self._updates_s = list[float]()
        self._contributions: Counter[int] = Counter()
        self._draws = 0
        active = sim.select(0) if sim.always else sim.present(0)[0]
        self._busy = {client.index for client in active}
        self._places = min(sim.participants, sim.fleet.eligible)  # those that may yet be filled
        self.open(sim)
        for client in active:
            sim.process(self._work(sim, client))
        for _ in range(self._places - len(active)):
            sim.process(self._fill(sim))
        yield sim.env.event()

    def _fill(self, sim: Simulation) -> Protocol:
        """Begin with an empty place."""
        yield from self._work(sim, (yield from self._found(sim)))

    def _work(self, sim: Simulation, client: Client) -> Protocol:
        while True:
            self._contributions[client.index] += 1
            client.begin(self._contributions[client.index])
            yield Timeout(sim.env, 0.0)  # after all that arrives now
            if sim.always:
                yield from self._contribution(sim, client)
                client = self._next(sim, client)
            else:
                yield sim.take_part(self._contribution(sim, client), client)
                self._give_up(client)
                client = yield from self._found(sim, client)

    def _contribution(self, sim: Simulation, client: Client) -> Protocol:
        """Let a client contribute, and record that it has."""
        since_s = sim.env.now
        yield from self.contribute(sim, client)
        sim.recorder.contributed(client.name, client.round, since_s, sim.env.now)

    def _next(self, sim: Simulation, client: Client) -> Client:
        """Return the client that takes the place of one that has contributed."""
        if len(self._busy) == sim.fleet.eligible:
            return client
        self._draws += 1
        self._give_up(client)
        (chosen,) = sim.fleet.select(self._draws, 1, self._idle(sim, client)[0])
        self._busy.add(chosen)
        return sim.client(chosen)

    def _give_up(self, client: Client) -> None:
        self._busy.remove(client.index)
        client.rest()

    def _idle(self, sim: Simulation, before: Client | None) -> list[list[int]]:
        """Return whom the place of `before` is drawn from, then whom where none of those is there."""
        idle = [index for index in range(len(sim.fleet)) if index not in self._busy]
        if before is None or self.redraws:
            return [idle]
        return [[index for index in idle if index != before.index], idle]

    def _found(self, sim: Simulation, before: Client | None = None) -> Protocol:
        """Return an idle client that is there for the empty place of `before`; wait for one.

        A place for which none will ever be there is lost: whoever becomes idle has a place of its own.
        """
        while True:
            self._draws += 1
            for among in self._idle(sim, before):
                clients, again_s = sim.present(self._draws, 1, among)
                if clients:
                    self._busy.add(clients[0].index)
                    return clients[0]
            if again_s == inf:
                self._places -= 1
                if self._places == 0:
                    sim.stall()
                yield sim.env.event()
            yield Timeout(sim.env, delay_to(sim.env, again_s))

    def publish(self, sim: Simulation, model: Handle, steps: int) -> None:
        """Make `model` the global one; `steps` is the number of server steps that led to it."""
        self.model = model
        self.version += 1
        self._updates_s.append(sim.env.now)
        sim.finish_round(model, steps)

    def open(self, sim: Simulation) -> None:
        """Prepare what the clients share, before the first starts."""

    @abstractmethod
    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Let `client` make one contribution, from pulling what it needs to the server's use of it."""
