"""A session simulates the runs of one scenario in this process.

Data, tasks and values are kept between the runs, so that what two variants share is computed once.
Imports scenario, algorithms and below; torch only where something is learned.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sflsim.clock.client_totals import Tally
from sflsim.clock.engine import seldom_collected
from sflsim.clock.spans import Recorder
from sflsim.errors import Diverged, Problem, ScenarioError
from sflsim.fleet.population import build_fleet
from sflsim.fleet.sampling import presence_of
from sflsim.learning.graph.disk_store import LIMIT_BYTES, DiskStore
from sflsim.learning.graph.lineage import look_again
from sflsim.learning.graph.store import MemoryStore, Store
from sflsim.learning.graph.timing_only import NoLearning
from sflsim.learning.models.base import is_users
from sflsim.rows import Evaluation
from sflsim.scenario.schema import Scenario
from sflsim.session.outcome import Outcome
from sflsim.session.requirements import Needs
from sflsim.simulation.base import Algorithm
from sflsim.simulation.simulation import Learning, Rules, Simulation
from sflsim.simulation.time_plane import Deployment

if TYPE_CHECKING:
    from sflsim.learning.data.base import Data
    from sflsim.learning.task import Task


@dataclass(frozen=True)
class Options:
    """How a scenario is computed; none of it changes a result, but for `device` in its last bits."""

    device: str = "cpu"
    timing_only: bool = False
    threads: int = 1
    keep_spans: bool = True
    cache: Path | None = None
    """Folder of the store on disk, shared by all processes; None for none."""
    cache_bytes: int = LIMIT_BYTES
    trusted: bool = False
    """Whether code that the scenario names may be run, though it was pickled on its way here."""


class Session(Needs):
    """Simulates the runs of one scenario in this process."""

    def __init__(self, scenario: Scenario, options: Options, store: Store | None = None) -> None:
        given = options.trusted and not scenario.trusted
        super().__init__(scenario.with_trust() if given else scenario, on_demand=options.timing_only)
        look_again()
        self.options = options
        self.store = MemoryStore() if store is None else store
        self.disk: DiskStore | None = None
        self._data: Data | None = None
        self._labels: Any = None
        self._shards: dict[int, list[Any]] = {}
        self._tasks: dict[tuple[int, int], Task] = {}

    def check(self) -> None:
        """Refuse what only the real model, data and fleet show to be impossible, for all variants at once.

        Raises:
            ScenarioError: with file and line, as for any other mistake in a scenario.
        """
        problems: list[Problem] = []
        for number, config in enumerate(self.scenario.variants):
            try:
                self._check_variant(config, number)
            except ScenarioError as error:
                problems += [_below(problem, f"variants[{number}]") for problem in error.problems]
        if not problems and not self.options.timing_only:
            try:
                self.scenario.workload.check_vocabulary()
                self._check_model()
                for seed in self.scenario.seeds:
                    self.shards(seed)
            except ScenarioError as error:
                problems += error.problems
        if problems:
            raise self.scenario.located(ScenarioError(list(dict.fromkeys(problems))))

    def _check_model(self) -> None:
        """Try a user's own network: it is refused here, not in the first round."""
        workload = self.scenario.workload
        if is_users(workload.model):
            from sflsim.learning.task import build_blocks

            dataset, seed = workload.dataset, self.scenario.seeds[0]
            build_blocks(workload.model, dataset.sample_shape, dataset.classes, seed)

    def run(self, number: int, seed: int, on_evaluation: Callable[[Evaluation], None]) -> Outcome:
        """Simulate variant `number` under `seed`; an interrupt leaves what there is so far."""
        config = self.scenario.variants[number]
        algorithm = self._algorithm(config)
        sim, computed = self._simulation(number, seed, algorithm, on_evaluation)
        outcome = Outcome(config.name, seed, left_out="; ".join(self.left_out(number)))
        outcome.server_memory_bytes = algorithm.server_peak_bytes(*self._served(number))
        read_before = self.disk.reads if self.disk is not None else 0
        started = time.perf_counter()
        try:
            # where something is learned, a cycle may hold large tensors
            with seldom_collected() if self.options.timing_only else nullcontext():
                sim.run(algorithm)
            outcome.status, outcome.reason = sim.status, sim.reason
        except ScenarioError as error:
            raise self.scenario.located(error) from error
        except Diverged as error:
            outcome.status, outcome.reason = "diverged", f"in round {error.round}; {algorithm.when_diverged}"
        except KeyboardInterrupt:
            outcome.status, outcome.reason = "interrupted", f"in round {sim.round + 1}"
        outcome.real_s = time.perf_counter() - started
        outcome.computed = dict(computed)
        outcome.read = self.disk.reads - read_before if self.disk is not None else 0
        outcome.take(sim, algorithm, None if self.options.timing_only else self.shards(seed))
        outcome.derived = sorted(self.derived)
        return outcome

    def _simulation(
        self, number: int, seed: int, algorithm: Algorithm, on_evaluation: Callable[[Evaluation], None]
    ) -> tuple[Simulation, Any]:
        """Return what is to run, and the counts of what will have been computed for it."""
        scenario, config = self.scenario, self.scenario.variants[number]
        fleet = build_fleet(scenario.fleet, seed, self.excluded(number))
        cuts = self._cuts(config, number, algorithm, fleet)
        learning, computed = self._learning(cuts.cut, seed)
        deployment = Deployment(
            fleet=fleet,
            participants=scenario.fleet.participants_per_round,
            server=scenario.server,
            server_places=algorithm.server_places(*self._served(number)),
            cuts=cuts,
            presence=presence_of(scenario.fleet, fleet),
        )
        sim = Simulation(
            deployment,
            learning=learning,
            samples=lambda client: len(self.shards(seed)[client]),
            batch_size=scenario.workload.batch_size,
            classes=scenario.workload.dataset.classes,
            rules=_rules(scenario),
            seed=seed,
            recorder=self._recorder(),
            on_evaluation=on_evaluation,
        )
        return sim, computed

    def _recorder(self) -> Recorder:
        """Return what takes down the spans of a run: all of them, or what the clients did in sum."""
        recorder = Recorder()
        if not self.options.keep_spans:
            recorder.into = Tally(recorder.wasted)
        return recorder

    def data(self) -> Data:
        """Return the data on the device; loaded once."""
        if self._data is None:
            import torch

            self._data = self.scenario.workload.dataset.load().to(torch.device(self.options.device))
        return self._data

    def shards(self, seed: int) -> list[Any]:
        """Return the sample indices of every client under a seed."""
        if seed not in self._shards:
            workload = self.scenario.workload
            if self._labels is None:
                self._labels = workload.dataset.training_labels()
            values = self._labels
            if (by := getattr(workload.partition, "by", None)) is not None:
                values = _column(workload.dataset, by)
            self._shards[seed] = workload.partition.deal(values, self.scenario.fleet.clients, seed)
        return self._shards[seed]

    def _learning(self, cut: int, seed: int) -> tuple[Learning, Any]:
        if self.options.timing_only:
            return NoLearning(), {}
        from sflsim.learning.learner import Learner

        if self.disk is None and self.options.cache is not None:
            self.disk = DiskStore(self.options.cache, self.options.cache_bytes, self.options.device)
        learner = Learner(self._task(cut, seed), self.store, self.disk)
        return learner, learner.executor.computed

    def close(self) -> None:
        """Close the store on disk, if there is one; the session can still be used."""
        if self.disk is not None:
            self.disk.close()
            self.disk = None

    def _task(self, cut: int, seed: int) -> Task:
        if (cut, seed) not in self._tasks:
            import torch

            from sflsim.learning.graph.fingerprint import of_code
            from sflsim.learning.task import Task, build_blocks

            torch.set_num_threads(self.options.threads)
            workload, data, device = self.scenario.workload, self.data(), torch.device(self.options.device)
            blocks = build_blocks(workload.model, data.sample_shape, data.classes, seed, cut)
            shards = [torch.from_numpy(shard) for shard in self.shards(seed)]
            components = (workload.model, workload.dataset, workload.partition)
            identity = f"{components!r} {of_code(*components)} {self.scenario.fleet.clients}"
            self._tasks[cut, seed] = Task(
                data, blocks, cut, shards, workload.batch_size, seed, device, identity
            )
        return self._tasks[cut, seed]


def _column(dataset: Any, name: str) -> Any:
    """Return the values of a data set's column beside the labels."""
    if not hasattr(dataset, "training_column"):
        allowed = "a data set with columns, e.g. of kind huggingface"
        raise ScenarioError(Problem("workload.partition.by", f"{name!r} of {dataset.kind}", allowed))
    return dataset.training_column(name)


def _rules(scenario: Scenario) -> Rules:
    stop, evaluate = scenario.stop, scenario.evaluate
    return Rules(evaluate.every_rounds, evaluate.every_s, stop.rounds, stop.time, stop.accuracy)


def _below(problem: Problem, path: str) -> Problem:
    """Put an algorithm's own path below that of its variant; paths from the root stay."""
    if re.split(r"[.[]", problem.path)[0] in ("variants", "workload", "fleet", "server", "stop"):
        return problem
    return replace(problem, path=f"{path}.{problem.path}")
