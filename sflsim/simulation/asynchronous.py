"""The asynchronous loop: clients work on their own clocks; no round holds them together.

A fixed number of clients (the scenario's `participants`) is active at any time: the concurrency. When a
client has contributed, an idle client drawn at random replaces it at once; `redraws` says whether that may
be the same client. What arrives in one instant is used before any client starts in that instant, so equal
clients receive equal models. A client that drops out leaves a vacancy until an idle client is available.

A "round" of the tables is an update of the global model. A client's own count of contributions names its
draws, and is in no table.
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

    A subclass defines one contribution (`contribute`, a protocol) and calls `publish` when the server has
    made a new `self.model`; `self.version` counts the models.
    """

    redraws: ClassVar[bool] = True
    """Whether a client may replace itself while others are idle."""
    model: Handle
    version: int

    def protocol(self, sim: Simulation) -> Protocol:
        """Start the active clients; they never stop by themselves."""
        self.model, self.version = sim.initial_model(), 0
        sim.recorder.updates_s = self._updates_s = list[float]()
        self._contributions: Counter[int] = Counter()
        self._draws = 0
        active = sim.select(0, sim.participants) if sim.always_available else sim.draw_available(0)[0]
        self._active = {client.index for client in active}
        self._concurrency = min(sim.participants, sim.fleet.eligible)  # less the vacancies never filled
        self.open(sim)
        for client in active:
            sim.process(self._work(sim, client))
        for _ in range(self._concurrency - len(active)):
            sim.process(self._fill_vacancy(sim))
        yield sim.env.event()

    def _fill_vacancy(self, sim: Simulation) -> Protocol:
        yield from self._work(sim, (yield from self._wait_for_idle(sim)))

    def _work(self, sim: Simulation, client: Client) -> Protocol:
        """Let clients contribute, one after another."""
        while True:
            self._contributions[client.index] += 1
            client.begin(self._contributions[client.index])
            yield Timeout(sim.env, 0.0)  # after all arrivals of this instant
            if sim.always_available:
                yield from self._contribution(sim, client)
                client = self._next_client(sim, client)
            else:
                yield sim.take_part(self._contribution(sim, client), client)
                self._release(client)
                client = yield from self._wait_for_idle(sim, client)

    def _contribution(self, sim: Simulation, client: Client) -> Protocol:
        """Let a client contribute, and record its contribution."""
        since_s = sim.env.now
        yield from self.contribute(sim, client)
        sim.recorder.record_contribution(client.name, client.round, since_s, sim.env.now)

    def _next_client(self, sim: Simulation, client: Client) -> Client:
        """Return the client that replaces one that has contributed."""
        if len(self._active) == sim.fleet.eligible:
            return client
        self._draws += 1
        self._release(client)
        (chosen,) = sim.select(self._draws, 1, self._idle(sim, client)[0])
        self._active.add(chosen.index)
        return chosen

    def _release(self, client: Client) -> None:
        self._active.remove(client.index)
        client.release()

    def _idle(self, sim: Simulation, before: Client | None) -> list[list[int]]:
        """Return the idle clients that may replace `before`, then those to fall back on."""
        idle = [index for index in range(len(sim.fleet)) if index not in self._active]
        if before is None or self.redraws:
            return [idle]
        return [[index for index in idle if index != before.index], idle]

    def _wait_for_idle(self, sim: Simulation, before: Client | None = None) -> Protocol:
        """Return an idle, available client to replace `before`; wait for one.

        A vacancy for which no client will ever be available stays empty.
        """
        while True:
            self._draws += 1
            for among in self._idle(sim, before):
                clients, retry_s = sim.draw_available(self._draws, 1, among)
                if clients:
                    self._active.add(clients[0].index)
                    return clients[0]
            if retry_s == inf:
                self._concurrency -= 1
                if self._concurrency == 0:
                    sim.stall()
                yield sim.env.event()
            yield Timeout(sim.env, delay_to(sim.env, retry_s))

    def publish(self, sim: Simulation, model: Handle, steps: int) -> None:
        """Make `model` the global model; `steps` is the number of server steps that led to it."""
        self.model = model
        self.version += 1
        self._updates_s.append(sim.env.now)
        sim.finish_round(model, steps)

    def open(self, sim: Simulation) -> None:
        """Prepare what the clients share, before the first starts."""

    @abstractmethod
    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Let a client make one contribution, from receiving the model to the server's use of the result."""
