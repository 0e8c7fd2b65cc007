"""What every algorithm is made of, and what its protocol sees of the world.

An `Algorithm` is a Config, a protocol (generator processes on the clock) and math (pure
functions, called by key). `Simulation` is the world as a protocol sees it. Imports clock,
learning's torch-free half (costs, lineage) and below.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, Literal, Protocol as Port

from pydantic import BaseModel, ConfigDict, Field

from sflsim.clock.client import Client
from sflsim.clock.engine import AllOf, Environment, Event, Process, Protocol, Timeout
from sflsim.clock.server import Server, ServerConfig
from sflsim.clock.spans import Recorder
from sflsim.errors import Diverged
from sflsim.fleet.links import build_link
from sflsim.fleet.population import Fleet
from sflsim.learning.costs import Costs
from sflsim.learning.lineage import Handle, MathFunction

Lane = dict[str, Any]
Weighting = Literal["samples", "uniform"]


class AlgorithmConfig(BaseModel):
    """Fields that every variant of a scenario has."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    algorithm: str
    name: str = Field(default="", description="what tables and plots call the variant; made up where empty")
    cut: int | str | None = Field(
        default=None, description="first server block, by number or by the client's last block; the workload's by default"
    )


class Learning(Port):
    """The port to the learning plane: calls by key, evaluations of a model."""

    def call(self, function: MathFunction, lanes: Sequence[Lane], shared: Lane) -> list[Handle]:
        """Name one piece of math for every lane; nothing is computed yet."""

    def initial(self) -> Handle:
        """Return the model that every variant starts from."""

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (accuracy, loss) of a model on the held-out data."""

    def first_not_finite(self, models: Mapping[int, Handle]) -> int:
        """Return the first round whose model has a value that is not finite."""


@dataclass(frozen=True)
class Rules:
    """When to evaluate and when to stop; a field that is None does not count."""

    every_rounds: int | None
    every_s: float | None
    stop_rounds: int | None
    stop_time_s: float | None
    stop_accuracy: float | None


Evaluation = tuple[float, int, int, float, float, float, float, float, float, float]


class Simulation:
    """One run of one variant under one seed, as its protocol sees it.

    Verbs on the clock are those of `Client` and `Server`; `learn` names a piece of math;
    `finish_round` publishes a new global model, which is evaluated as the rules say. Evaluation
    takes no simulated time.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        participants: int,
        server: ServerConfig,
        costs: Costs,
        learning: Learning,
        rules: Rules,
        seed: int,
        keep_spans: bool = True,
        on_evaluation: Any = None,
    ) -> None:
        self.env = Environment()
        self.recorder = Recorder(keep_spans)
        self.server = Server(self.env, self.recorder, server.compute, server.slots)
        self.fleet = fleet
        self.participants = participants
        self.costs = costs
        self.learning = learning
        self.rules = rules
        self.seed = seed
        self.evaluations: list[Evaluation] = []
        self.round = 0
        self.steps = 0
        self.reason = ""
        self._on_evaluation = on_evaluation
        self._server_link = build_link(server.link, seed, "server")
        self._clients: dict[int, Client] = {}
        self._stop = self.env.event()
        self._model: Handle | None = None
        self._recent: dict[int, Handle] = {}

    # The clock.

    def client(self, index: int) -> Client:
        """Return the client with this place in the fleet; made when first asked for."""
        client = self._clients.get(index)
        if client is None:
            client = Client(self.env, self.recorder, self.fleet.device(index), self._server_link)
            self._clients[index] = client
        return client

    @property
    def clients(self) -> Iterable[Client]:
        """Every client that has been asked for so far, in the order of the fleet."""
        return (self._clients[index] for index in sorted(self._clients))

    def select(self, round: int) -> list[Client]:
        """Return the participants of a round, drawn uniformly without replacement."""
        return [self.client(index) for index in self.fleet.select(round, self.participants)]

    def process(self, protocol: Protocol) -> Process:
        """Let a protocol run beside the caller."""
        return self.env.process(protocol)

    def all_of(self, events: Sequence[Event]) -> AllOf:
        """Return the event that fires when all of `events` have."""
        return AllOf(self.env, events)

    # The learning.

    def learn(self, function: MathFunction, lanes: Sequence[Lane], **shared: Any) -> list[Handle]:
        """Name `function` for several participants at once; return a handle for each."""
        return self.learning.call(function, lanes, shared)

    def initial_model(self) -> Handle:
        """Return the initial model and evaluate it: the point at time zero of every curve."""
        self._model = self.learning.initial()
        self._evaluate()
        return self._model

    # Rounds and the end.

    def finish_round(self, model: Handle, steps: int) -> None:
        """Publish the global model that a round (or an asynchronous update) made.

        `steps` is the number of server steps made in it, over all replicas.
        """
        self.round += 1
        self.steps += steps
        self._model = model
        self._recent[self.round] = model
        rules = self.rules
        last = self.round == rules.stop_rounds
        if last or (rules.every_rounds is not None and self.round % rules.every_rounds == 0):
            self._evaluate()
        if last:
            self._end("rounds")

    def run(self, algorithm: Algorithm) -> None:
        """Run the protocol to its stop.

        Raises:
            Diverged: an evaluation met a value that is not finite.
        """
        env, rules = self.env, self.rules
        env.process(algorithm.protocol(self))
        if rules.every_s is not None:
            env.process(self._evaluate_by_time(rules.every_s))
        if rules.stop_time_s is not None:
            at_last = Timeout(env, rules.stop_time_s)
            at_last.callbacks.append(lambda event: self._end("time"))
        env.run(until=self._stop)
        if not self.evaluations or self.evaluations[-1][:2] != (env.now, self.round):
            self._evaluate()

    def _evaluate_by_time(self, every_s: float) -> Protocol:
        for number in count(1):
            yield Timeout(self.env, number * every_s - self.env.now)
            self._evaluate()

    def _evaluate(self) -> None:
        assert self._model is not None
        accuracy, loss = self.learning.evaluate(self._model)
        if math.isinf(loss):
            raise Diverged(self.learning.first_not_finite(self._recent))
        self._recent.clear()
        totals = self.recorder.totals
        row = (
            self.env.now, self.round, self.steps, accuracy, loss, totals.uplink_bytes, totals.downlink_bytes,
            totals.client_busy_s, totals.server_busy_s, totals.energy_j,
        )  # fmt: skip
        self.evaluations.append(row)
        if self._on_evaluation is not None:
            self._on_evaluation(row)
        if self.rules.stop_accuracy is not None and accuracy >= self.rules.stop_accuracy:
            self._end("accuracy")

    def _end(self, reason: str) -> None:
        if not self._stop.triggered:
            self.reason = reason
            self._stop.succeed()


class Algorithm(ABC):
    """A split-federated-learning algorithm: made from its Config, run by its protocol."""

    Config: ClassVar[type[AlgorithmConfig]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def protocol(self, sim: Simulation) -> Protocol:
        """Run the algorithm on the clock, for ever; the simulation ends it."""

    @abstractmethod
    def client_memory_bytes(self, costs: Costs) -> float:
        """Return the peak memory of a client's training."""

    def check(self, costs: Costs) -> None:
        """Refuse a Config that does not fit the workload (raises ScenarioError)."""


class Synchronous(Algorithm):
    """A round with a barrier: draw participants, let each take part, wait for all, aggregate.

    A subclass says what one participant does (`participate`, a protocol that returns the lane of
    its math) and how the round's lanes become the next model (`aggregate`).
    """

    def protocol(self, sim: Simulation) -> Protocol:
        """Run round after round."""
        model = sim.initial_model()
        for round in count(1):
            participants = sim.select(round)
            self.open_round(sim, model, participants)
            jobs = [sim.process(self._attend(sim, client, model, round)) for client in participants]
            yield sim.all_of(jobs)
            results = [job.value for job in jobs]
            for client, (ended_s, _) in zip(participants, results, strict=True):
                client.waited(ended_s)
            lanes = [lane for _, lane in results]
            steps = sum(self.server_steps(lane) for lane in lanes)
            model = self.aggregate(sim, model, lanes)
            sim.finish_round(model, steps)

    def _attend(self, sim: Simulation, client: Client, model: Handle, round: int) -> Protocol:
        client.begin(round)
        lane = yield from self.participate(sim, client, model)
        return sim.env.now, lane

    def open_round(self, sim: Simulation, model: Handle, participants: list[Client]) -> None:
        """Prepare what the participants of one round share."""

    @abstractmethod
    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Take part in a round as `client`, starting from `model`; return the lane of the math."""

    @abstractmethod
    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Return the global model that the round's lanes make."""

    def server_steps(self, lane: Lane) -> int:
        """Return the number of server steps that a participant caused."""
        return len(lane["batches"])
