"""The asynchronous loop: active clients work on their own clocks, no round holds them together.

A fixed number of clients (the scenario's `participants`) is active at any time. When one has
contributed, its place goes to a client drawn at random from those that are idle, itself
included, so with all clients active it goes on at once. What arrives in one instant is used
before anybody starts anew in it, so equal clients see equal models. A "round" of the tables is an
update of the global model; in spans it is the client's own count of contributions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter

from sflsim.algorithms.base import Algorithm
from sflsim.algorithms.simulation import Simulation
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol, Timeout
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
        self._contributions: Counter[int] = Counter()
        self._draws = 0
        active = sim.select(0)
        self._busy = {client.index for client in active}
        self._freed: set[int] = set()
        self.open(sim)
        for client in active:
            sim.process(self._work(sim, client))
        yield sim.env.event()

    def _work(self, sim: Simulation, client: Client) -> Protocol:
        while True:
            self._contributions[client.index] += 1
            client.begin(self._contributions[client.index])
            yield Timeout(sim.env, 0.0)  # after all that arrives now
            yield from self.contribute(sim, client)
            client = self._next(sim, client)

    def _next(self, sim: Simulation, client: Client) -> Client:
        """Return the client that takes the place of one that has contributed."""
        if len(self._busy) == sim.fleet.eligible:
            return client
        self._draws += 1
        if client.index in self._freed:  # and perhaps drawn again since
            self._freed.discard(client.index)
        else:
            self._busy.discard(client.index)
        idle = [index for index in range(len(sim.fleet)) if index not in self._busy]
        (chosen,) = sim.fleet.select(self._draws, 1, idle)
        self._busy.add(chosen)
        return sim.client(chosen)

    def free(self, client: Client) -> None:
        """Count a client as idle before its contribution ends, so that another place may draw it."""
        self._busy.discard(client.index)
        self._freed.add(client.index)

    def publish(self, sim: Simulation, model: Handle, steps: int) -> None:
        """Make `model` the global one; `steps` is the number of server steps that led to it."""
        self.model = model
        self.version += 1
        sim.finish_round(model, steps)

    def open(self, sim: Simulation) -> None:
        """Prepare what the clients share, before the first starts."""

    @abstractmethod
    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Let `client` make one contribution, from pulling what it needs to the server's use of it."""
