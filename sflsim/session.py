"""One process's share of an experiment: the task, the store and the simulation of one variant.

Scenario -> (variant, seed) -> `Outcome`. Data, tasks and values are kept between the runs of a
process, so that what two variants share is computed once. Imports scenario, algorithms and below;
torch only where something is learned or its costs are derived.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sflsim import registry
from sflsim.algorithms.base import Algorithm, AlgorithmConfig, PerClientCut, refuse
from sflsim.algorithms.cuts import CutByDevice, OneCut
from sflsim.algorithms.simulation import Evaluation, Learning, Rules, Simulation
from sflsim.clock.engine import seldom_collected
from sflsim.clock.spans import Span
from sflsim.clock.tally import Tally
from sflsim.errors import Diverged, Problem, ScenarioError, did_you_mean
from sflsim.fleet.population import Fleet, build_fleet
from sflsim.fleet.presence import presence_of
from sflsim.learning.absent import NoLearning
from sflsim.learning.costs import Costs
from sflsim.learning.disk_store import LIMIT_BYTES, DiskStore
from sflsim.learning.store import MemoryStore, Store
from sflsim.registry import algorithms
from sflsim.scenario.schema import Scenario

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
    trusted: bool = field(default_factory=registry.trusted)
    """Whether code that the scenario names may be run: as in the process that asks for the computation."""


@dataclass
class Outcome:
    """What one variant came to under one seed."""

    variant: str
    seed: int
    status: str = "completed"
    reason: str = ""
    rounds: int = 0
    time_s: float = 0.0
    server_busy_s: float = 0.0
    client_memory_bytes: float = 0.0
    server_memory_bytes: float = 0.0
    left_out: str = ""
    """Groups that take no part, as their memory is too small."""
    real_s: float = 0.0
    computed: dict[str, int] = field(default_factory=dict)
    read: int = 0
    """Values that came from the store on disk."""
    spans: list[Span] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    clients: list[tuple[str, str, float, float, float, float, float, int, float]] = field(
        default_factory=list
    )
    """name, group, FLOP/s, uplink and downlink bytes/s (of the first message; inf where unlimited),
    memory bytes, samples (NaN where no data is dealt), cut, peak memory bytes"""
    idle_j: list[float] = field(default_factory=list)
    """What each client of `clients` drew by idling while it took part."""
    wasted: dict[tuple[str, int], float] = field(default_factory=dict)
    """Participations that were dropped: (client, round) -> its spans that began before this time."""
    tally: Tally | None = None
    """What the clients did, where the spans were not kept."""

    def work(self) -> dict[str, tuple[float, ...]]:
        """Return what each client did: its `clock.tally.SUMS`, then COUNTS."""
        if self.tally is None:
            self.tally = Tally(self.wasted)
            self.tally.fold(self.spans)
        return self.tally.rows()


class Session:
    """Simulates the runs of one scenario in this process."""

    def __init__(self, scenario: Scenario, options: Options, store: Store | None = None) -> None:
        if options.trusted:
            registry.trust()
        self.scenario = scenario
        self.options = options
        self.store = MemoryStore() if store is None else store
        self.disk: DiskStore | None = None
        self._data: Data | None = None
        self._labels: Any = None
        self._shards: dict[int, list[Any]] = {}
        self._tasks: dict[tuple[int, int], Task] = {}
        self._costs: dict[int, Costs] = {}

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
                for seed in self.scenario.seeds:
                    self.shards(seed)
            except ScenarioError as error:
                problems += error.problems
        if problems:
            raise self.scenario.located(ScenarioError(list(dict.fromkeys(problems))))

    def run(self, number: int, seed: int, on_evaluation: Callable[[Evaluation], None]) -> Outcome:
        """Simulate variant `number` under `seed`; an interrupt leaves what there is so far."""
        scenario, config = self.scenario, self.scenario.variants[number]
        algorithm = self._algorithm(config)
        small = self.too_small(number) if scenario.fleet.on_oom == "exclude" else {}
        fleet = build_fleet(scenario.fleet, seed, small)
        cuts = self._cuts(config, number, algorithm, fleet)
        served = self._served(number)
        learning, computed = self._learning(cuts.cut, seed)
        sim = Simulation(
            fleet=fleet,
            participants=scenario.fleet.participants or scenario.fleet.clients,
            server=scenario.server,
            server_places=algorithm.server_places(*served),
            cuts=cuts,
            learning=learning,
            samples=lambda client: len(self.shards(seed)[client]),
            batch_size=scenario.workload.batch_size,
            classes=scenario.workload.dataset.classes,
            rules=_rules(scenario),
            seed=seed,
            keep_spans=self.options.keep_spans,
            presence=presence_of(scenario.fleet, fleet),
            on_evaluation=on_evaluation,
        )
        outcome = Outcome(config.name, seed, left_out="; ".join(self.left_out(number)))
        outcome.server_memory_bytes = algorithm.server_peak_bytes(*served)
        read_before = self.disk.reads if self.disk is not None else 0
        started = time.perf_counter()
        try:
            # where something is learned, a cycle may hold large tensors
            with seldom_collected() if self.options.timing_only else nullcontext():
                sim.run(algorithm)
            outcome.status, outcome.reason = sim.status, sim.reason
        except ScenarioError as error:
            raise scenario.located(error) from error
        except Diverged as error:
            outcome.status, outcome.reason = "diverged", f"in round {error.round}"
        except KeyboardInterrupt:
            outcome.status, outcome.reason = "interrupted", f"in round {sim.round + 1}"
        outcome.real_s = time.perf_counter() - started
        outcome.rounds, outcome.time_s = sim.round, sim.env.now
        outcome.server_busy_s = sim.server.busy_s(sim.recorder.totals)
        outcome.spans, outcome.evaluations = sim.recorder.finished(), sim.evaluations
        outcome.wasted = sim.recorder.wasted
        outcome.tally = None if self.options.keep_spans else sim.tally
        outcome.computed = dict(computed)
        outcome.read = self.disk.reads - read_before if self.disk is not None else 0
        shards = None if self.options.timing_only else self.shards(seed)
        outcome.clients = [
            (
                client.name,
                client.device.group,
                client.device.flop_per_s,
                client.device.link.up_bytes_per_s(0),
                client.device.link.down_bytes_per_s(0),
                math.nan if client.device.memory_bytes is None else client.device.memory_bytes,
                math.nan if shards is None else float(len(shards[client.index])),
                client.cut,
                algorithm.client_memory_bytes(client.costs),
            )
            for client in sim.clients
        ]
        outcome.idle_j = [client.idle_j for client in sim.clients]
        outcome.client_memory_bytes = max((client[-1] for client in outcome.clients), default=math.nan)
        return outcome

    def _check_variant(self, config: AlgorithmConfig, number: int) -> None:
        algorithm = self._algorithm(config)
        if isinstance(config.cut, PerClientCut) and algorithm.per_client_cuts:
            found = f"a cut for each client with {config.algorithm}"
            raise refuse("cut", found, "one cut", f"not possible here: {algorithm.per_client_cuts}")
        algorithm.check(self.costs(self.cut(config, number)))
        fleet = self.scenario.fleet
        self._check_memory(number)
        self._check_server_memory(number)
        clients = self._eligible(number)
        algorithm.check_fleet(
            participants=min(fleet.participants_per_round, clients),
            clients=clients,
            rounds=self.scenario.stop.rounds,
        )

    def too_small(self, number: int) -> dict[int, float]:
        """Return the groups whose devices cannot hold variant `number`: place -> bytes that it needs."""
        config = self.scenario.variants[number]
        cut = 1 if isinstance(config.cut, PerClientCut) else self.cut(config, number)
        needed_bytes = self._algorithm(config).client_memory_bytes(self.costs(cut))
        return dict.fromkeys(self.scenario.fleet.too_small(needed_bytes), needed_bytes)

    def left_out(self, number: int) -> list[str]:
        """Return a line for each group that variant `number` has to do without, and by how much."""
        fleet, names = self.scenario.fleet, self.scenario.fleet.group_names()
        if fleet.on_oom != "exclude":
            return []
        return [
            f"{names[place]} (needs {_size_text(needed_bytes)}, "
            f"has {_size_text(fleet.groups[place].device.memory or 0)})"
            for place, needed_bytes in self.too_small(number).items()
        ]

    def _eligible(self, number: int) -> int:
        """Return how many clients of the fleet may take part in variant `number`."""
        fleet = self.scenario.fleet
        small = self.too_small(number) if fleet.on_oom == "exclude" else {}
        return sum(count for place, count in enumerate(fleet.group_counts()) if place not in small)

    def _check_memory(self, number: int) -> None:
        """Refuse devices whose memory is too small, or a fleet of which none is left without them."""
        fleet = self.scenario.fleet
        small = self.too_small(number) if fleet.on_oom != "ignore" else {}
        if not small or (fleet.on_oom == "exclude" and len(small) < len(fleet.groups)):
            return
        remedy = "cut earlier, take a smaller batch or a zeroth-order algorithm, or set fleet.on_oom: exclude"
        raise ScenarioError(
            [
                Problem(
                    f"fleet.groups[{place}].device",
                    f"{_size_text(fleet.groups[place].device.memory or 0)} of memory",
                    f"{_size_text(needed_bytes)} or more, for {self.scenario.variants[number].name}",
                    remedy,
                )
                for place, needed_bytes in small.items()
            ]
        )

    def _served(self, number: int) -> tuple[Costs, int, float | None]:
        """Return what the server's memory goes by: the largest server part, participants, its memory."""
        config, scenario = self.scenario.variants[number], self.scenario
        cut = 1 if isinstance(config.cut, PerClientCut) else self.cut(config, number)
        return self.costs(cut), scenario.fleet.participants_per_round, scenario.server.memory

    def _check_server_memory(self, number: int) -> None:
        """Refuse a server that cannot hold its models for one participant at a time."""
        config = self.scenario.variants[number]
        costs, participants, memory_bytes = self._served(number)
        least_bytes = self._algorithm(config).server_least_bytes(costs, participants)
        if memory_bytes is not None and memory_bytes < least_bytes:
            allowed = f"{_size_text(least_bytes)} or more, for the models of {config.name}"
            remedy = "cut later, so that the server holds less, or take an algorithm with one server model"
            raise refuse("server.memory", _size_text(memory_bytes), allowed, remedy)

    def _cuts(
        self, config: AlgorithmConfig, number: int, algorithm: Algorithm, fleet: Fleet
    ) -> OneCut | CutByDevice:
        cut = self.cut(config, number)
        if isinstance(config.cut, PerClientCut):
            return CutByDevice(config.cut, cut, self.costs, algorithm.client_memory_bytes, fleet)
        return OneCut(cut, self.costs)

    def cut(self, config: AlgorithmConfig, number: int) -> int:
        """Return the number of blocks that the clients of a variant hold, at most.

        Raises:
            ScenarioError: the model cannot be cut there.
        """
        cut, path = config.cut, f"variants[{number}].cut"
        if isinstance(cut, PerClientCut):
            cut, path = cut.deepest or len(self.scenario.workload.model.block_names) - 1, f"{path}.deepest"
        if cut is None:
            cut, path = self.scenario.workload.cut, "workload.cut"
        names = list(self.scenario.workload.model.block_names)
        if isinstance(cut, str) and cut in names[:-1]:
            return names.index(cut) + 1
        if isinstance(cut, int) and 1 <= cut < len(names):
            return cut
        allowed = f"1 to {len(names) - 1}, or one of {', '.join(names[:-1])}"
        remedy = did_you_mean(cut, names[:-1]) if isinstance(cut, str) else ""
        remedy = remedy or "the server keeps at least the last block, the client at least the first"
        raise ScenarioError(Problem(path, repr(cut), allowed, remedy))

    def costs(self, cut: int) -> Costs:
        """Return the costs of a cut: derived from the model, then overridden as the scenario says."""
        if cut not in self._costs:
            self._costs[cut] = self._derived(cut)
        return self._costs[cut]

    def _derived(self, cut: int) -> Costs:
        workload = self.scenario.workload
        given = workload.costs.complete()
        if given is not None:
            return given
        from sflsim.learning.measure import workload_costs

        derived = workload_costs(workload, [cut])[cut]
        return workload.costs.applied(derived)

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

            from sflsim.learning.fingerprint import of_code
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

    def _algorithm(self, config: AlgorithmConfig) -> Algorithm:
        algorithm: Algorithm = algorithms()[config.algorithm](config)
        return algorithm


def _column(dataset: Any, name: str) -> Any:
    """Return the values of a data set's column beside the labels."""
    if not hasattr(dataset, "training_column"):
        allowed = "a data set with columns, e.g. of kind huggingface"
        raise ScenarioError(Problem("workload.partition.by", f"{name!r} of {dataset.kind}", allowed))
    return dataset.training_column(name)


def _size_text(size_bytes: float) -> str:
    """Return a size as a scenario would write it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.4g} {unit}"
    return f"{size_bytes:.0f} byte"


def _rules(scenario: Scenario) -> Rules:
    stop, evaluate = scenario.stop, scenario.evaluate
    return Rules(evaluate.every_rounds, evaluate.every_s, stop.rounds, stop.time, stop.accuracy)


def _below(problem: Problem, path: str) -> Problem:
    """Put an algorithm's own path below that of its variant; paths from the root stay."""
    if re.split(r"[.[]", problem.path)[0] in ("variants", "workload", "fleet", "server", "stop"):
        return problem
    return replace(problem, path=f"{path}.{problem.path}")
