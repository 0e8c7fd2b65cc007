"""The world as a protocol sees it: clients and server on the clock, learning behind its port.

One `Simulation` is one run of one variant under one seed. Imports clock, fleet, and learning's
torch-free half (costs, lineage).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from typing import Protocol as Port

from sflsim.clock.absence import FleetingClient
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
    delay_to,
)
from sflsim.clock.fair import FairServer
from sflsim.clock.meter import Meter
from sflsim.clock.places import Places
from sflsim.clock.routes import Network
from sflsim.clock.server import Job, Server, ServerConfig
from sflsim.clock.spans import Recorder
from sflsim.clock.tally import Tally
from sflsim.errors import Diverged, Problem, ScenarioError
from sflsim.fleet.devices import Device
from sflsim.fleet.links import build_link
from sflsim.fleet.population import Fleet
from sflsim.fleet.presence import Presence
from sflsim.learning.costs import Costs
from sflsim.learning.lineage import Handle, MathFunction

if TYPE_CHECKING:
    from sflsim.algorithms.base import Algorithm

Lane = dict[str, Any]
LOST, LOST_EACH = 1000, 100
"""Parts in a row that may be lost, at least and per participant, before a run counts as stalled."""
STANDSTILL = 1000
"""Rounds in a row that take no time, after which a run that ends by time alone is given up."""


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


class Cuts(Port):
    """Where the network is cut, and what that costs."""

    @property
    def costs(self) -> Costs:
        """Return the costs of the variant's one cut (of the deepest, where each client has its own)."""

    def of(self, device: Device) -> tuple[int, Costs]:
        """Return the number of blocks that a device holds, and the costs of that cut."""


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
        server_places: int | None = None,
        cuts: Cuts,
        learning: Learning,
        samples: Callable[[int], int],
        batch_size: int,
        classes: int,
        rules: Rules,
        seed: int,
        keep_spans: bool = True,
        presence: Presence | None = None,
        on_evaluation: Any = None,
    ) -> None:
        self.env = Environment()
        self.recorder = Recorder()
        self.tally = Tally(self.recorder.wasted)
        if not keep_spans:
            self.recorder.into = self.tally
        kind = FairServer if server.discipline == "fair" else Server
        places: Places[Job] | None = None if server_places is None else Places(server_places)
        self.server = kind(self.env, self.recorder, server.compute, server.slots, places)
        self.meter = Meter(self.env)
        self.fleet = fleet
        self.participants = participants
        self.cuts = cuts
        self.costs = cuts.costs
        self.samples = samples
        self.batch_size = batch_size
        self.classes = classes
        self.learning = learning
        self.rules = rules
        self.seed = seed
        self.evaluations: list[Evaluation] = []
        self.round = 0
        self.steps = 0
        self.status = "completed"
        self.reason = ""
        self._presence = presence
        self._lost = 0  # parts in a row
        self._on_evaluation = on_evaluation
        fed = build_link(server.fed.link, seed, "fed-server") if server.fed else None
        self._network = Network(self.env, self.recorder, build_link(server.link, seed, "server"), fed)
        self._clients: dict[int, Client] = {}
        self._stop = self.env.event()
        self._model: Handle | None = None
        self._recent: dict[int, Handle] = {}
        self._moved = (-1.0, 0)  # the last round at whose end time had gone on: when and which
        self._working: dict[int, list[Process]] = {}

    # The clock.

    def client(self, index: int) -> Client:
        """Return the client with this place in the fleet; made when first asked for."""
        client = self._clients.get(index)
        if client is None:
            device = self.fleet.device(index)
            client = self._clients[index] = self._made(device)
        return client

    def _made(self, device: Device) -> Client:
        place = (self.env, self.recorder, device, self._network, *self.cuts.of(device), self.meter)
        if self._presence is None:
            return Client(*place)
        timeline = self._presence.timeline(device.index)
        if device.battery_j is None:
            return FleetingClient(*place, timeline)
        return BatteryClient(*place, timeline, on_empty=self._run_empty)

    def _run_empty(self, client: BatteryClient) -> None:
        """Let a client whose battery is empty vanish, never to be drawn again."""
        assert self._presence is not None
        client.timeline = self._presence.leave_for_good(client.index, self.env.now)
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
        return self._presence is None

    def present(
        self, draw: int, k: int | None = None, among: Sequence[int] | None = None
    ) -> tuple[list[Client], float]:
        """Return up to `k` (default: `participants`) clients that are there now; else when to ask again."""
        assert self._presence is not None
        wanted = self.participants if k is None else k
        indices, again_s = self._presence.draw(draw, wanted, self.env.now, among)
        return [self.client(index) for index in indices], again_s

    def is_there(self, client: Client) -> bool:
        """Tell whether a client is there now."""
        return not isinstance(client, FleetingClient) or client.timeline.available_at(self.env.now)

    def has_stayed(self, client: Client) -> bool:
        """Tell whether a client has been there all the time since its part of the round began."""
        return not isinstance(client, FleetingClient) or client.here

    def assemble(self, round: int, extra: int = 0) -> Protocol:
        """Return the participants of a round and `extra` more, of those that are there; wait for one.

        Where fewer are there than wanted, the round is theirs alone. Where none will ever be
        there again, the run has stalled.
        """
        if self._presence is None:
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
            self._lost = 0

    def _watch(self, client: FleetingClient) -> None:
        """Let a client vanish when its timeline says so."""
        until_s = client.timeline.until(self.env.now)
        if until_s < math.inf and until_s != client.watched_s:
            client.watched_s = until_s
            end = Timeout(self.env, delay_to(self.env, until_s))
            end.callbacks.append(lambda event: self.vanish(client))

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
        self._at_once(client.vanish)  # when the processes no longer wait for what is cut

    def _lose(self, client: FleetingClient) -> None:
        """Count a part that is lost; where nothing but that happens, the run has stalled."""
        self.recorder.waste(client.name, client.round)
        self._algorithm.lost(self, client)
        self._lost += 1
        if self._lost >= max(LOST, LOST_EACH * self.participants):
            self.stall(f"{self._lost} parts in a row were lost: clients do not stay long enough")

    def _at_once(self, act: Callable[[], None]) -> None:
        """Do something in this instant, after the interrupts made so far and before all else."""
        event = Event(self.env)
        event._ok, event._value = True, None
        event.callbacks.append(lambda event: act())
        self.env.schedule(event, URGENT)

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
        self._recent[self.round] = model.quiet
        self._check_time()
        self.recorder.let_go()
        rules = self.rules
        last = self.round == rules.stop_rounds
        if last or (rules.every_rounds is not None and self.round % rules.every_rounds == 0):
            self._evaluate()
        if last:
            self._end("rounds")

    def _check_time(self) -> None:
        """Refuse a run whose times are beyond floats, or that would wait for ever for a time to come."""
        now = self.env.now
        if not math.isfinite(now):
            found = "work that takes infinitely long"
            raise ScenarioError(Problem("workload.costs", found, "costs and rates that give finite times"))
        if now > self._moved[0]:
            self._moved = (now, self.round)
        elif self.rules.stop_rounds is None and self.round - self._moved[1] >= STANDSTILL:
            found = f"no 'rounds', and {STANDSTILL} rounds in a row that take no time"
            remedy = "add e.g. 'rounds: 300', or check the costs and rates"
            raise ScenarioError(Problem("stop", found, "a stop that comes", remedy))

    def refresh(self, model: Handle, steps: int) -> None:
        """Publish a better model within a round: what is evaluated from now on; no round ends."""
        self.steps += steps
        self._model = model
        self._recent[self.round + 1] = model.quiet

    def run(self, algorithm: Algorithm) -> None:
        """Run the protocol to its stop.

        Raises:
            Diverged: an evaluation met a value that is not finite.
        """
        env, rules = self.env, self.rules
        self._algorithm = algorithm
        env.process(algorithm.protocol(self))
        if rules.every_s is not None:
            env.process(self._evaluate_by_time(rules.every_s))
        if rules.stop_time_s is not None:
            at_last = Timeout(env, rules.stop_time_s)
            at_last.callbacks.append(lambda event: self._end("time"))
        env.run(until=self._stop)
        if not self.evaluations or self.evaluations[-1][:2] != (env.now, self.round):
            self._evaluate()
        else:  # more may have ended in the instant of the last evaluation
            self.evaluations[-1] = (*self.evaluations[-1][:5], *self._sums())

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
        row = (self.env.now, self.round, self.steps, accuracy, loss, *self._sums())
        self.evaluations.append(row)
        if self._on_evaluation is not None:
            self._on_evaluation(row)
        if self.rules.stop_accuracy is not None and accuracy >= self.rules.stop_accuracy:
            self._end("accuracy")

    def _sums(self) -> tuple[float, float, float, float, float]:
        """Return bytes up and down, busy seconds of clients and server, and joules, as they stand now."""
        totals = self.recorder.totals
        return (
            totals.uplink_bytes,
            totals.downlink_bytes,
            totals.client_busy_s,
            self.server.busy_s(totals),
            totals.energy_j + self.meter.idle_j,
        )

    def stall(self, why: str = "") -> None:
        """End the run, as nothing will come of it any more: by default, as nobody is left."""
        if not self._stop.triggered:
            self.status = "stalled"
        self._end(f"at {self.env.now:.6g} s: {why or self._nobody_left()}")

    def _nobody_left(self) -> str:
        empty = 0 if self._presence is None else self._presence.gone
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
