"""The simulation that a protocol runs in: the time plane, and the learning behind its port.

One `Simulation` is one run of one variant under one seed: its rounds, its evaluations and its stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from typing import Protocol as Port

import numpy as np

from sflsim.clock.agenda import STOP
from sflsim.clock.client import Client
from sflsim.clock.engine import LAST, Event, call_in, delay_to, own_errors
from sflsim.clock.spans import Recorder
from sflsim.errors import Diverged, ScenarioError, refused
from sflsim.fleet.instants import slack_s
from sflsim.fleet.selection.policy import LEARNED, Policy
from sflsim.learning.calls import BatchName, arrived
from sflsim.learning.figures import label_accuracies
from sflsim.learning.graph.lineage import Args, Handle, MathFunction
from sflsim.learning.schedules import at_round
from sflsim.rows import Evaluation
from sflsim.simulation.deployment import Deployment, Work
from sflsim.simulation.time_plane import TimePlane
from sflsim.units import RANGES

if TYPE_CHECKING:
    from sflsim.simulation.base import Algorithm

MAX_IDLE_ROUNDS = 1000
"""Rounds in a row that take nothing of what would stop a run, after which it is refused."""
MAX_UNCHANGED = 1000
"""Evaluations by time of one model in a row, after which the next waits for another model."""
DIVERGED_LOSS_FACTOR = 1000.0
"""A loss above this multiple of the untrained model's counts as diverged."""


class Learning(Port):
    """The port to the learning plane: calls of math functions, evaluations of a model."""

    def call(self, function: MathFunction, arguments: Sequence[Args], shared: Args) -> list[Handle]:
        """Record a call of `function` with the arguments of each participant; nothing is computed yet."""

    def initial(self) -> Handle:
        """Return the model that every variant starts from."""

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (accuracy, loss) of a model on the held-out data."""

    def numbers(self, handle: Handle, count: int) -> tuple[float, ...]:
        """Return the value of a call whose value is so many numbers, computing whatever it takes."""

    def first_diverged(self, models: Mapping[int, Handle], most_loss: float) -> int:
        """Return the first round whose model has a value that is not finite, or a larger loss."""


@dataclass(frozen=True)
class Rules:
    """When to evaluate and when to stop; a field that is None does not apply."""

    every_rounds: int | None
    every_s: float | None
    stop_rounds: int | None
    stop_accuracy: float | None
    limits: Mapping[str, float]
    """Amounts of `Evaluation.spent` that end the run."""


def no_stop(limits: Iterable[str]) -> ScenarioError:
    """Return the error of a run that only amounts would stop, of which it spends none."""
    nothing = " and no ".join(limits)
    found = f"no 'rounds', and {MAX_IDLE_ROUNDS} rounds in a row that take no {nothing}"
    remedy = "add e.g. 'rounds: 300', or check the costs, rates and powers"
    return refused("stop", found, "a stop that comes", remedy)


class Simulation(TimePlane):
    """One run of one variant under one seed.

    The verbs on the clock are those of `TimePlane`, `Client` and `Server`. `learn` records a call of a math
    function. `finish_round` publishes a new global model, which is evaluated as the rules say. Evaluation
    takes no simulated time.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        policy: Policy,
        learning: Learning,
        work: Work,
        rules: Rules,
        seed: int,
        recorder: Recorder,
        on_evaluation: Callable[[Evaluation], None] | None = None,
    ) -> None:
        super().__init__(deployment, policy, seed, recorder)
        self.samples = work.samples
        self.batch_size = work.batch_size
        self.classes = work.classes
        self.learning = learning
        self.rules = rules
        self.evaluations: list[Evaluation] = []
        self.round = 0
        self.steps = 0
        self._on_evaluation = on_evaluation
        self._learned = bool(policy.config.reads() & LEARNED)
        self._model: Handle | None = None
        self._recent: dict[int, Handle] = {}
        self._most_loss = math.inf
        self._progress: tuple[list[float], int] = ([], 0)  # what was spent when it last grew; that round
        self._timed = 1  # the number of the next evaluation by time
        self._unchanged = 0  # evaluations by time since the model last changed

    def learn(self, function: MathFunction, arguments: Sequence[Args], **shared: Any) -> list[Handle]:
        """Record a call of `function` with the arguments of each participant; return a handle for each.

        Learning rates among the `shared` arguments that follow a schedule have their value of this round.
        """
        return self.learning.call(function, arguments, at_round(shared, self.round))

    def figures(self, function: MathFunction, arguments: Args, count: int) -> tuple[float, ...]:
        """Return so many numbers of a call, computed now; NaN where nothing is learned.

        Who takes part may follow from them; times never depend on what is learned in any other way.
        """
        return self.learning.numbers(self.learn(function, [arguments])[0], count)

    def pulled(self, client: Client, model: Handle, parts: Sequence[str] | None = None) -> Handle:
        """Return a model as it arrives at a client before its next batch; `parts` where not all are sent."""
        return self._arrived([model], [(client.index, client.batches)], "down", parts)[0]

    def pushed(self, models: Sequence[Handle], batches: Sequence[BatchName]) -> list[Handle]:
        """Return models as they arrive from their clients, after the last batch of each."""
        return self._arrived(models, batches, "up")

    def _arrived(
        self,
        models: Sequence[Handle],
        batches: Sequence[BatchName],
        direction: str,
        parts: Sequence[str] | None = None,
    ) -> list[Handle]:
        if self.messages.compression.model is None:
            return list(models)
        arguments = [
            {"start": model, "cut": self.client(batch[0]).cut, "batch": batch}
            for model, batch in zip(models, batches, strict=True)
        ]
        return self.learn(arrived, arguments, parts=list(parts or self.messages.parts), direction=direction)

    def accuracies_by_label(self) -> tuple[float, ...]:
        """Return the accuracy of the newest model on the held-out samples of each label."""
        assert self._model is not None
        return self.figures(label_accuracies, {"model": self._model}, self.classes)

    def initial_model(self) -> Handle:
        """Return the initial model, and evaluate it at time 0."""
        self._model = self.learning.initial()
        self._evaluate()
        return self._model

    def finish_round(self, model: Handle, steps: int) -> None:
        """Publish the global model of a round, or of an asynchronous update.

        `steps` is its number of server steps, over all replicas.
        """
        self.round += 1
        self.steps += steps
        model.held = self._learned  # else each round's figures would be computed from the first round on
        if self.policy.wants_accuracy(self.round):
            by_label = self.figures(label_accuracies, {"model": model}, self.classes)
            self.policy.evaluated(np.array(by_label))
        self._publish(self.round, model)
        self.recorder.flush()
        rules = self.rules
        last = self.round == rules.stop_rounds
        if last or (rules.every_rounds is not None and self.round % rules.every_rounds == 0):
            self._evaluate()
        if last:
            self._end("rounds")
        elif rules.limits:
            self._check_limits()

    def _check_limits(self) -> None:
        """End the run where it has spent what it may; refuse one that would never get there."""
        limits, now = self.rules.limits, self.env.now
        spent = {"time": now} if limits.keys() == {"time"} else self._row().spent
        amounts = [spent[name] for name in limits]
        for name, limit in limits.items():
            if name != "time" and spent[name] >= limit:
                self._end(name)
        if amounts != self._progress[0]:
            self._progress = (amounts, self.round)
        elif self.rules.stop_rounds is None and self.round - self._progress[1] >= MAX_IDLE_ROUNDS:
            raise no_stop(limits)

    def refresh(self, model: Handle, steps: int) -> None:
        """Publish a newer model within a round; it is evaluated from now on."""
        self.steps += steps
        self._publish(self.round + 1, model)

    def _publish(self, round: int, model: Handle) -> None:
        """Let `model` be what is evaluated from now on."""
        self._model = model
        self._recent[round] = model.internal
        if self._unchanged >= MAX_UNCHANGED and self.rules.every_s is not None:
            self._timed = int(self.env.now // self.rules.every_s) + 1
        self._unchanged = 0

    def run(self, algorithm: Algorithm) -> None:
        """Run the protocol to its stop.

        Raises:
            Diverged: an evaluation has found a loss that is not finite, or far above the initial one.
        """
        env, rules = self.env, self.rules
        self._algorithm = algorithm
        env.process(algorithm.protocol(self))
        if "time" in rules.limits:
            self.agenda.at(rules.limits["time"], STOP).callbacks.append(self._stop_by_time)
        call_in(env, 2 * RANGES["s"][1], _refuse_time, LAST)
        with own_errors():
            if rules.every_s is None:
                env.run(until=self._stop)
            else:
                self._run_evaluating(rules.every_s)
        last = self.evaluations[-1] if self.evaluations else None
        if last is None or (last.time_s, last.round) != (env.now, self.round):
            self._evaluate()
        else:  # activities may have ended after the last evaluation, in the same instant
            self.evaluations[-1] = last._replace(**self._spent())

    def on_drop_out(self, client: Client) -> None:
        """Let the algorithm react to a client that drops out before its participation is complete."""
        self._algorithm.on_drop_out(self, client)

    def _run_evaluating(self, every_s: float) -> None:
        """Run to the stop, and evaluate at every multiple of `every_s`, after all else of its instant.

        Such an evaluation enters the event queue when it is next: nothing else on the clock knows of it, so
        it changes no time.
        """
        env = self.env
        while not self._stop.processed:
            due_s = self._timed * every_s
            if self._unchanged < MAX_UNCHANGED and env.peek() > due_s + slack_s(due_s):
                call_in(env, delay_to(env, due_s), self._evaluate_by_time)
            env.step()

    def _evaluate_by_time(self, event: Event) -> None:
        self._timed += 1
        self._unchanged += 1
        self._evaluate()

    def _stop_by_time(self, event: Event) -> None:
        """End the run, after an evaluation that is due in the same instant."""
        now, every_s = self.env.now, self.rules.every_s
        if every_s is not None and self._timed * every_s <= now + slack_s(now):
            self._evaluate_by_time(event)
        self._end("time")

    def _evaluate(self) -> None:
        assert self._model is not None
        accuracy, loss = self.learning.evaluate(self._model)
        if self.round == 0 and not self.evaluations:
            self._most_loss = DIVERGED_LOSS_FACTOR * loss
        if math.isinf(loss) or loss > self._most_loss:
            raise Diverged(self.learning.first_diverged(self._recent, self._most_loss))
        self._recent.clear()
        row = self._row(accuracy, loss)
        self.evaluations.append(row)
        if self._on_evaluation is not None:
            self._on_evaluation(row)
        if self.rules.stop_accuracy is not None and accuracy >= self.rules.stop_accuracy:
            self._end("accuracy")

    def _row(self, accuracy: float = math.nan, loss: float = math.nan) -> Evaluation:
        """Return where the run is now, with what it has spent."""
        return Evaluation(self.env.now, self.round, self.steps, accuracy, loss, **self._spent())

    def _spent(self) -> dict[str, Any]:
        """Return the bytes, busy seconds and joules so far, by column of `Evaluation`."""
        totals = self.recorder.totals
        return {
            "uplink_bytes": totals.uplink_bytes,
            "downlink_bytes": totals.downlink_bytes,
            "client_busy_s": totals.client_busy_s,
            "server_busy_s": self.server.busy_s(totals),
            "energy_j": totals.active_energy_j + self.idle_energy.idle_j,
        }


def _refuse_time(event: Event) -> None:
    """Refuse a run that goes on beyond what the clock can count."""
    _, most_s, why = RANGES["s"]
    found, allowed = f"work that takes more than {most_s:g} s", "costs and rates that give shorter times"
    raise refused("workload.costs", found, allowed, why)
