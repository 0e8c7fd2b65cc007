"""A session simulates the runs of one scenario in this process.

Data, tasks and values are kept between the runs, so that what two variants share is computed once.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np

from sflsim.clock.client_totals import ClientTotals
from sflsim.clock.engine import rare_garbage_collection
from sflsim.clock.spans import Recorder
from sflsim.errors import Diverged, Problem, ScenarioError
from sflsim.fleet.population import build_fleet
from sflsim.fleet.sampling import fleet_availability
from sflsim.fleet.selection.policy import Facts
from sflsim.formatting import seconds_text
from sflsim.learning.compression import Compression
from sflsim.learning.graph.disk_store import DiskStore
from sflsim.learning.graph.lineage import look_again
from sflsim.learning.graph.store import MemoryStore, Store
from sflsim.learning.graph.timing_only import NullLearner
from sflsim.learning.models.base import needs_no_trial
from sflsim.registry import selection_of
from sflsim.rows import Evaluation
from sflsim.scenario.fixed_costs import TO_RUN, cut_apart
from sflsim.scenario.plan_rules import chosen_by_learning
from sflsim.scenario.schema import Scenario
from sflsim.scenario.stop import Evaluate, Stop
from sflsim.session.blame import CallbackFailed, blaming, guarded
from sflsim.session.cache import SessionCache
from sflsim.session.materials import KeyChanged, Materials
from sflsim.session.options import Options
from sflsim.session.outcome import Outcome
from sflsim.session.requirements import Requirements
from sflsim.simulation.base import Algorithm, AlgorithmConfig
from sflsim.simulation.deployment import Deployment, Work
from sflsim.simulation.prediction import Prediction
from sflsim.simulation.sent import Messages
from sflsim.simulation.simulation import MAX_IDLE_ROUNDS, Learning, Rules, Simulation, no_stop

LearningOf = Callable[[AlgorithmConfig, int, int], Learning]
"""Returns the learning of a run: of a variant, at a cut (the deepest if devices differ), under a seed."""


class Session:
    """Simulates the runs of one scenario in this process."""

    def __init__(
        self,
        scenario: Scenario,
        options: Options,
        store: Store | None = None,
        *,
        disk: DiskStore | None = None,
        learning: LearningOf | None = None,
        recorder: Callable[[], Recorder] | None = None,
        cache: SessionCache | None = None,
    ) -> None:
        """Take a scenario and, to replace the session's own, its parts.

        `store` keeps values in memory and `disk` on disk; `learning` and `recorder` are called for each
        run; sessions with the same `cache` share equal data, shards, costs and tasks.
        """
        look_again()
        self.scenario = scenario.with_trust() if options.trusted and not scenario.trusted else scenario
        self.options = options
        self.store = MemoryStore() if store is None else store
        self.disk = disk
        self.cache = SessionCache() if cache is None else cache
        on_demand = options.timing_only or needs_no_trial(self.scenario.workload.model)
        self.requirements = Requirements(self.scenario, on_demand, self.cache, self.on_disk)
        self.materials = Materials(self.scenario, options, self.requirements, self.cache, self.on_disk)
        self._learning_of = self.learning if learning is None else learning
        self._new_recorder = self.recorder if recorder is None else recorder

    def check(self) -> None:
        """Refuse what is impossible with the real model, data and fleet, for all variants at once.

        Raises:
            ScenarioError: with file and line, as for any other mistake in a scenario.
        """
        problems: list[Problem] = []
        for index in range(len(self.scenario.variants)):
            try:
                with blaming(self.scenario, index):
                    self.requirements.check(index)
            except ScenarioError as error:
                problems += [_below(problem, f"variants[{index}]") for problem in error.problems]
        if self.options.timing_only:
            problems += [problem for _, problem in chosen_by_learning(self.scenario)]
        problems = problems or cut_apart(self.scenario, TO_RUN)
        if not problems and not self.options.timing_only:
            try:
                with blaming(self.scenario):
                    self.scenario.workload.check_vocabulary()
                    self.materials.check()
            except ScenarioError as error:
                problems += error.problems
        if problems:
            raise self.scenario.located(ScenarioError(list(dict.fromkeys(problems))))

    def try_a_round(self, learn: bool) -> list[str]:
        """Simulate one round of each variant under the first seed, with training if wanted; return warnings.

        Raises:
            ScenarioError: with file and line; e.g. a model fails in training, or the stop never comes.
        """
        stop, lines = self.scenario.stop, []
        for index, variant in enumerate(self.scenario.variants):
            outcome = self._some_rounds(index, 1, learn)
            if outcome.status != "completed":
                lines.append(f"{variant.name} {outcome.status} {outcome.reason}")
            elif stop.rounds is None and _spends_nothing(outcome, stop):
                if _spends_nothing(self._some_rounds(index, MAX_IDLE_ROUNDS + 1, learn=False), stop):
                    raise self.scenario.located(no_stop(stop.limits))
            elif stop.time is not None and outcome.time_s > stop.time:
                ends, first = seconds_text(stop.time), seconds_text(outcome.time_s)
                lines.append(f"{variant.name} stops at {ends}, before its first round ends at {first}")
        return lines

    def _some_rounds(self, index: int, rounds: int, learn: bool) -> Outcome:
        parts = {"stop": Stop(rounds=rounds), "evaluate": Evaluate(every=f"{rounds} rounds")}
        options = replace(self.options, timing_only=not learn)
        trial = Session(self.scenario.model_copy(update=parts), options, cache=self.cache)
        return trial.run(index, self.scenario.seeds[0], lambda row: None)

    def run(self, index: int, seed: int, on_evaluation: Callable[[Evaluation], None]) -> Outcome:
        """Simulate variant `index` under `seed`; an interrupt keeps the results so far.

        Raises:
            ScenarioError: with file and line; e.g. a sample is damaged, or a user's code fails.
            Exception: whatever `on_evaluation` raises.
        """
        try:
            with blaming(self.scenario, index), self.materials.run():
                return self._run(index, seed, guarded(on_evaluation))
        except KeyChanged:  # the store has forgotten it by now
            return self.run(index, seed, on_evaluation)
        except CallbackFailed as failed:
            raise failed.args[0] from None
        except ScenarioError as error:
            raise self.scenario.located(error) from error

    def _run(self, index: int, seed: int, on_evaluation: Callable[[Evaluation], None]) -> Outcome:
        config, requirements = self.scenario.variants[index], self.requirements
        algorithm = requirements.algorithm(index)
        sim = self._simulation(index, seed, algorithm, on_evaluation)
        outcome = Outcome(config.name, seed, left_out="; ".join(requirements.left_out(index)))
        outcome.server_memory_bytes = algorithm.server_peak_bytes(*requirements.served(index))
        read_before = self.disk.reads if self.disk is not None else 0
        started = time.perf_counter()
        try:
            # where something is learned, a cycle may hold large tensors
            with rare_garbage_collection() if self.options.timing_only else nullcontext():
                sim.run(algorithm)
            outcome.status, outcome.reason = sim.status, sim.reason
        except Diverged as error:
            outcome.status, outcome.reason = "diverged", f"in round {error.round}; {algorithm.when_diverged}"
        except KeyboardInterrupt:
            outcome.status, outcome.reason = "interrupted", f"in round {sim.round + 1}"
        wanted = self.scenario.evaluate.clients and outcome.status in ("completed", "stalled")
        accuracies = self._client_accuracies(sim, seed) if wanted else {}
        outcome.real_s = time.perf_counter() - started
        outcome.computed = dict(getattr(sim.learning, "computed", {}))  # counted by a Learner alone
        outcome.read = self.disk.reads - read_before if self.disk is not None else 0
        shards = None if self.options.timing_only else self.materials.shards(seed)
        outcome.take(sim, algorithm, shards, accuracies)
        outcome.derived = sorted(requirements.derived) if self.options.timing_only else []
        return outcome

    def _client_accuracies(self, sim: Simulation, seed: int) -> dict[int, float]:
        """Return the accuracy of the newest model for each client, by its index; empty if nothing is learned.

        That on the held-out samples of each label, weighted by the client's samples of it; labels without
        held-out samples are left out (NaN if it has no others).
        """
        by_label = np.array(sim.accuracies_by_label())
        if np.isnan(by_label).any():
            return {}
        known = np.bincount(self.materials.data().test_y.cpu(), minlength=len(by_label)) > 0
        accuracies = {}
        for client in np.sort(sim.fleet.candidates(0, sim.fleet.eligible).indices).tolist():
            samples = self.materials.labels_of(client, seed) * known
            accuracies[client] = float(samples @ by_label / samples.sum()) if samples.any() else math.nan
        return accuracies

    def _simulation(
        self, index: int, seed: int, algorithm: Algorithm, on_evaluation: Callable[[Evaluation], None]
    ) -> Simulation:
        """Return the simulation of a run."""
        scenario, requirements = self.scenario, self.requirements
        config = scenario.variants[index]
        fleet = build_fleet(scenario.fleet, seed, requirements.excluded(index))
        cuts = requirements.cuts(index, fleet)
        batch_sizes = requirements.batch_sizes(cuts.cut, seed, config.compression)
        deployment = Deployment(
            fleet=fleet,
            participants=scenario.fleet.participants_per_round,
            server=scenario.server,
            server_replicas=algorithm.server_replicas(*requirements.served(index)),
            cuts=cuts,
            messages=Messages(
                config.compression or Compression(),
                algorithm.model_parts,
                batch_sizes,
                requirements.layout,
            ),
            availability=fleet_availability(scenario.fleet, fleet),
        )
        work = Work(
            samples=lambda client: len(self.materials.shards(seed)[client]),
            batch_sizes=batch_sizes,
            classes=scenario.workload.dataset.classes,
        )
        selection = scenario.fleet.selection
        facts = Facts(
            seed=seed,
            samples=work.samples,
            labels=partial(self.materials.labels_of, seed=seed),
            sample=lambda n: np.sort(fleet.candidates(0, n).indices),
            predicted_s=Prediction(partial(requirements.algorithm, index), deployment, work),
        )
        return Simulation(
            deployment,
            policy=selection_of(selection)(selection, facts),
            learning=self._learning_of(scenario.variants[index], cuts.cut, seed),
            work=work,
            rules=_rules(scenario),
            seed=seed,
            recorder=self._new_recorder(),
            on_evaluation=on_evaluation,
        )

    def recorder(self) -> Recorder:
        """Return a recorder of all spans or, without `keep_spans`, of the clients' totals."""
        recorder = Recorder()
        if not self.options.keep_spans:
            recorder.sink = ClientTotals(recorder.wasted)
        return recorder

    def learning(self, variant: AlgorithmConfig, cut: int, seed: int) -> Learning:
        """Return the session's own learning: on its stores, or none if `timing_only`."""
        if self.options.timing_only:
            return NullLearner()
        from sflsim.learning.learner import Learner

        return Learner(self.materials.keyed_task(cut, seed, variant.compression), self.store, self.on_disk())

    def on_disk(self) -> DiskStore | None:
        """Return the store on disk, opened when it is first asked for; None if there is none."""
        options = self.options
        if self.disk is None and options.cache is not None and not options.timing_only:
            self.disk = DiskStore(options.cache, options.cache_bytes, options.device)
        return self.disk

    def close(self) -> None:
        """Close the store on disk, if there is one; the session can still be used."""
        if self.disk is not None:
            self.disk.close()
            self.disk = None


def _rules(scenario: Scenario) -> Rules:
    stop, evaluate = scenario.stop, scenario.evaluate
    return Rules(evaluate.every_rounds, evaluate.every_s, stop.rounds, stop.accuracy, stop.limits)


def _spends_nothing(outcome: Outcome, stop: Stop) -> bool:
    """Tell whether a run took none of the amounts that would stop it."""
    spent = outcome.evaluations[-1].spent
    return not any(spent[name] for name in stop.limits)


def _below(problem: Problem, path: str) -> Problem:
    """Prefix an algorithm's own path by that of its variant; paths from the root stay."""
    if re.split(r"[.[]", problem.path)[0] in ("variants", "workload", "fleet", "server", "stop"):
        return problem
    return replace(problem, path=f"{path}.{problem.path}")
