"""The asynchronous loop: active clients work on their own clocks, no round holds them together.

A fixed number of clients (the scenario's `participants`) is active at any time. When one has
contributed, its place goes to a client drawn at random from those that are idle, itself
included, so with all clients active it goes on at once. What arrives in one instant is used
before anybody starts anew in it, so equal clients see equal models. Where clients come and go, one
that vanishes gives up its place, which stays empty while nobody idle is there. A "round" of the tables is an
update of the global model. A client's own count of contributions names its draws, and is in no table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from math import inf

from sflsim.algorithms.base import Algorithm
from sflsim.algorithms.simulation import Simulation
from sflsim.clock.client import Client
from sflsim.clock.engine import AnyOf, Event, Protocol, Timeout, delay_to
from sflsim.learning.lineage import Handle


class Asynchronous(Algorithm):
    """Active clients that contribute one after another, each on its own clock.

    A subclass says what one contribution is (`contribute`, a protocol) and publishes a new
    `self.model` with `self.publish` when the server has made one; `self.version` counts them.
    """

    model: Handle
    version: int

    def protocol(self, sim: Simulation) -> Protocol:
        """Start the active clients; they go on for ever."""
        self.model, self.version = sim.initial_model(), 0
        sim.recorder.updates_s = self._updates_s = list[float]()
        self._contributions: Counter[int] = Counter()
        self._draws = 0
        active = sim.select(0) if sim.always else sim.present(0)[0]
        self._busy = {client.index: 0 for client in active}  # client -> its contribution; 0: not begun yet
        self._places = min(sim.participants, sim.fleet.eligible)
        self._resting = 0  # places that others alone can set going again
        self._vacant = 0  # those of them that wait for a client to be free
        self._freeing = sim.env.event()
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
            number = self._busy[client.index] = self._contributions[client.index]
            client.begin(number)
            yield Timeout(sim.env, 0.0)  # after all that arrives now
            if sim.always:
                yield from self._contribution(sim, client)
                client = self._next(sim, client, number)
            else:
                yield sim.take_part(self._contribution(sim, client), client)
                self._give_up(client, number)
                client = yield from self._found(sim)

    def _contribution(self, sim: Simulation, client: Client) -> Protocol:
        """Let a client contribute, and record that it has."""
        since_s = sim.env.now
        yield from self.contribute(sim, client)
        sim.recorder.contributed(client.name, client.round, since_s, sim.env.now)

    def _next(self, sim: Simulation, client: Client, number: int) -> Client:
        """Return the client that takes the place of one that has contributed."""
        if len(self._busy) == sim.fleet.eligible:
            return client
        self._draws += 1
        self._give_up(client, number)
        (chosen,) = sim.fleet.select(self._draws, 1, self._idle(sim))
        self._busy[chosen] = 0
        return sim.client(chosen)

    def _idle(self, sim: Simulation) -> list[int]:
        return [index for index in range(len(sim.fleet)) if index not in self._busy]

    def _give_up(self, client: Client, number: int) -> None:
        """Count a client as idle after a contribution, unless it was before and perhaps makes another."""
        if self._busy.get(client.index) == number:
            del self._busy[client.index]
            client.rest()

    def _found(self, sim: Simulation) -> Protocol:
        """Return an idle client that is there for an empty place; wait for one."""
        while True:
            self._draws += 1
            clients, again_s = sim.present(self._draws, 1, self._idle(sim))
            if clients:
                self._busy[clients[0].index] = 0
                return clients[0]
            if again_s < inf:
                yield AnyOf(sim.env, [self._freeing, Timeout(sim.env, delay_to(sim.env, again_s))])
            else:
                self._vacant += 1
                self._rest(sim)
                yield self._freeing

    def _rest(self, sim: Simulation) -> None:
        """Count a place that others alone can set going again; with all of them at rest, the run stalls."""
        self._resting += 1
        if self._resting == self._places:
            sim.stall()

    def rest_until(self, sim: Simulation, event: Event) -> Protocol:
        """Wait for what the contributions of others bring about."""
        if not event.triggered:
            self._rest(sim)
            yield event
            self._resting -= 1
        else:
            yield event

    def free(self, sim: Simulation, client: Client) -> None:
        """Count a client as idle before its contribution ends, so that another place may draw it."""
        del self._busy[client.index]
        client.rest()
        sim.release(client)
        if not sim.always:
            self._resting -= self._vacant
            self._vacant = 0
            freeing, self._freeing = self._freeing, sim.env.event()
            freeing.succeed()

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
