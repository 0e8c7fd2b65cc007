"""What is learned from: the data, each client's shard, and the network cut into a task; each made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from sflsim.errors import ScenarioError, refused
from sflsim.foreign import foreign
from sflsim.learning.data.digits import Digits
from sflsim.learning.models.base import kind_of, needs_no_trial
from sflsim.scenario.schema import Scenario
from sflsim.session.blame import blaming, check_data, check_labels, check_shards
from sflsim.session.cache import SessionCache
from sflsim.session.options import Options
from sflsim.session.requirements import Requirements
from sflsim.session.task_facts import facts_of_task, remember, remembered

if TYPE_CHECKING:
    from sflsim.learning.compression import Compression
    from sflsim.learning.data.base import Data
    from sflsim.learning.graph.disk_store import DiskStore
    from sflsim.learning.task import Task


class KeyChanged(Exception):
    """A store keeps another key for a task than it has."""


class KnownTask:
    """Stands for a task whose key is known, until something must be computed."""

    def __init__(self, key: str, build: Callable[[], Task]) -> None:
        self.key = key
        self._build = build
        self._task: Task | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether it has been built."""
        return self._task is not None

    def loaded(self) -> Task:
        """Return the task, built by the first call."""
        if self._task is None:
            self._task = self._build()
        return self._task


class Materials:
    """Data, shards and tasks of a scenario; those with the same cache share what is equal."""

    def __init__(
        self,
        scenario: Scenario,
        options: Options,
        requirements: Requirements,
        cache: SessionCache,
        on_disk: Callable[[], DiskStore | None] = lambda: None,
    ) -> None:
        self.scenario = scenario
        self._on_disk = on_disk
        self._run: ExitStack | None = None
        self.options = options
        self._requirements = requirements
        self.cache = cache
        workload = scenario.workload
        self._dataset_key = repr(workload.dataset)
        self._partition_key = repr((workload.partition, scenario.fleet.clients))
        self._model_key = repr((workload.model, workload.batch_size))

    def check(self) -> None:
        """Refuse a network that does not train on these samples, and a partition that is none.

        Raises:
            ScenarioError: with the path of what is wrong.
        """
        self.cache.get(("model", self._dataset_key, self._model_key), self._check_model)
        for seed in self.scenario.seeds:
            self.shards(seed)

    def _check_model(self) -> None:
        """Build the network and try a pass in training, so that it is refused here and not in a round.

        One that takes samples of any shape, and that nobody has changed, needs no trial, nor torch.
        """
        workload, seed = self.scenario.workload, self.scenario.seeds[0]
        model, dataset = workload.model, workload.dataset
        if needs_no_trial(model):
            return
        from sflsim.learning.task import build_blocks, check_trains, probe

        with self._own_torch():
            blocks = build_blocks(model, dataset.sample_shape, dataset.classes, seed)
            samples = min(workload.mean_batch_size, 2)  # batch norm takes no batch of one
            check_trains(model, blocks, probe(model, dataset.sample_shape, samples), dataset.classes)

    def check_files(self) -> None:
        """Read what a run would read before it trains: every sample.

        Raises:
            ScenarioError: with file and line; e.g. a sample is damaged.
        """
        try:
            with blaming(self.scenario):
                if not isinstance(self.scenario.workload.dataset, Digits):  # they come with sflsim
                    with self._own_torch():
                        self.data()
        except ScenarioError as error:
            raise self.scenario.located(error) from error

    @contextmanager
    def run(self) -> Iterator[None]:
        """Return the context of a run: from its first task on, torch's state is the scenario's."""
        self._run = ExitStack()
        try:
            with self._run:
                yield
        finally:
            self._run = None

    def _own_torch(self) -> AbstractContextManager[None]:
        """Return the context of a computation, torch's state the scenario's; in a run, to its end."""
        from sflsim.learning.torch_state import own_torch

        state = own_torch(self.options.threads)
        if self._run is None:
            return state
        self._run.enter_context(state)
        return nullcontext()

    def data(self) -> Data:
        """Return the data on the device; loaded once."""

        def load() -> Data:
            import torch

            dataset = self.scenario.workload.dataset
            with foreign("workload.dataset", kind_of(dataset), "a data set that can be loaded", own=dataset):
                data: Data = dataset.load().to(torch.device(self.options.device))
            check_data(data, dataset)
            return data

        return self.cache.get(("data", self._dataset_key, self.options.device), load)

    def labels(self) -> Any:
        """Return the labels of all training samples; loaded once."""
        dataset = self.scenario.workload.dataset
        with foreign("workload.dataset", kind_of(dataset), "a data set that can be loaded", own=dataset):
            labels = self.cache.get(("labels", self._dataset_key), dataset.training_labels)
        check_labels(labels, dataset)
        return labels

    def labels_of(self, client: int, seed: int) -> Any:
        """Return how many samples of each label a client has under a seed, shape (labels,)."""
        labels = np.asarray(self.labels())[self.shards(seed)[client]]
        return np.bincount(labels, minlength=self.scenario.workload.dataset.classes).astype(float)

    def shards(self, seed: int) -> list[Any]:
        """Return the sample indices of every client under a seed."""
        workload = self.scenario.workload

        def partition() -> list[Any]:
            dataset, way, clients = workload.dataset, workload.partition, self.scenario.fleet.clients
            values = self.labels()
            if (by := getattr(way, "by", None)) is not None:
                values = _column(dataset, by)
            with foreign("workload.partition", kind_of(way), "a partition of these samples", own=way):
                shards: list[Any] = list(way.partition(values, clients, seed))
            check_shards(shards, len(values), clients, kind_of(way))
            return shards

        return self.cache.get(("shards", self._dataset_key, self._partition_key, seed), partition)

    def keyed_task(self, cut: int, seed: int, compression: Compression | None = None) -> Task | KnownTask:
        """Return the task or, where the store on disk keeps its key, one that is built when it is needed.

        The key is looked up while torch is not loaded: afterwards nothing is saved by it.
        """
        disk, sizes = self._on_disk(), self._requirements.batch_sizes(cut, seed, compression)
        facts = facts_of_task(self.scenario, self.options, cut, seed, sizes, compression) if disk else None
        if disk is None or facts is None:
            return self.task(cut, seed, compression)
        key = None if "torch" in sys.modules else remembered(disk, facts)
        if key is None:
            task = self.task(cut, seed, compression)
            remember(disk, facts, task.key)
            return task

        def build() -> Task:
            task = self.task(cut, seed, compression)
            if task.key != key:
                disk.remove([facts])
                raise KeyChanged
            return task

        return KnownTask(key, build)

    def task(self, cut: int, seed: int, compression: Compression | None = None) -> Task:
        """Return the network, cut there, and the clients' data under a seed; made once.

        With messages compressed it is a copy that shares these.
        """
        import torch

        from sflsim.learning.graph.fingerprint import of_code
        from sflsim.learning.task import Task, build_blocks

        sizes = self._requirements.batch_sizes(cut, seed, compression)

        def build() -> Task:
            workload, data, device = self.scenario.workload, self.data(), torch.device(self.options.device)
            blocks = build_blocks(workload.model, data.sample_shape, data.classes, seed, cut)
            shards = [torch.from_numpy(shard) for shard in self.shards(seed)]
            components = (workload.model, workload.dataset, workload.partition)
            identity = f"{components!r} {of_code(*components)} {self.scenario.fleet.clients}"
            return Task(data, blocks, cut, shards, sizes, seed, device, identity)

        key = (
            "task",
            self._dataset_key,
            self._partition_key,
            self._model_key,
            self.options.device,
            sizes,
            cut,
            seed,
        )
        with self._own_torch():
            made: Task = self.cache.get(key, build)
            return made.compressing(compression)


def _column(dataset: Any, name: str) -> Any:
    """Return the values of a further column of a data set."""
    if not hasattr(dataset, "training_column"):
        allowed = "a data set with columns, e.g. of kind huggingface"
        raise refused("workload.partition.by", f"{name!r} of {dataset.kind}", allowed)
    return dataset.training_column(name)
