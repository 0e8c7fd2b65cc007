"""What the variants of a scenario need: cuts, costs, and memory of devices and server.

No data is loaded for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from sflsim.errors import Problem, ScenarioError, did_you_mean, refused
from sflsim.fleet.population import Fleet, build_fleet
from sflsim.formatting import bytes_text
from sflsim.learning.compression import Compression
from sflsim.learning.config import BatchSizeByDevice
from sflsim.learning.costs import SCALAR_BYTES, Costs
from sflsim.learning.models.base import trains_all
from sflsim.registry import algorithm_of
from sflsim.scenario.schema import Scenario
from sflsim.session.cache import SessionCache
from sflsim.session.conflicts import check_batches, check_means, check_selection
from sflsim.session.derived import layout, measured
from sflsim.simulation.base import Algorithm, PerClientCut
from sflsim.simulation.batch_sizes import batch_sizes
from sflsim.simulation.cuts import CutByDevice, OneCut
from sflsim.simulation.sent import Sent

if TYPE_CHECKING:
    from sflsim.learning.graph.disk_store import DiskStore
    from sflsim.learning.layout import Layout

DIGITS = 4
"""Digits of the memory needed and available in messages, so that close figures differ."""


class Requirements:
    """The cuts, costs and memory of one scenario's variants, each given by its index."""

    def __init__(
        self,
        scenario: Scenario,
        on_demand: bool = False,
        cache: SessionCache | None = None,
        on_disk: Callable[[], DiskStore | None] = lambda: None,
    ) -> None:
        """Take a scenario; `on_demand` derives only costs that are needed and not known `on_disk`."""
        self.scenario = scenario
        self.cache = SessionCache() if cache is None else cache
        self.derived: set[str] = set()
        """Keys of `workload.costs` that were needed and not given."""
        self.on_demand = on_demand
        self._on_disk = on_disk
        workload = scenario.workload
        self._by_kind = scenario.needs_kinds
        self._costs_key = repr(
            (workload.dataset, workload.model, workload.batch_size, workload.costs, on_demand, self._by_kind)
        )

    def check(self, index: int) -> None:
        """Refuse variant `index` if model, fleet and server cannot run it.

        Raises:
            ScenarioError: with paths below the variant, or from the scenario's root.
        """
        config = self.scenario.variants[index]
        algorithm = self.algorithm(index)
        if isinstance(config.cut, PerClientCut) and algorithm.per_client_cuts:
            found = f"a cut for each client with {config.algorithm}"
            raise refused("cut", found, "one cut", f"not possible here: {algorithm.per_client_cuts}")
        algorithm.check_compression()
        check_batches(self.scenario.workload.batch_size, config, algorithm)
        algorithm.check(self.costs(self.cut(index)))
        self._check_masks(index, algorithm)
        fleet = self.scenario.fleet
        check_means(fleet, self.scenario.workload.batch_size)
        self._check_memory(index)
        self._check_server_memory(index)
        clients = self._eligible(index)
        participants = min(fleet.participants_per_round, clients)
        check_selection(fleet.selection, algorithm)
        fleet.selection.check(participants=participants, clients=clients)
        algorithm.check_fleet(
            participants=participants,
            clients=clients,
            rounds=self.scenario.stop.rounds,
        )

    def too_small(self, index: int) -> dict[int, float]:
        """Return the groups whose devices cannot hold variant `index`: group index -> bytes needed."""
        if all(group.device.memory is None for group in self.scenario.fleet.groups):
            return {}
        return {
            group: needed_bytes
            for group, needed_bytes in enumerate(self._needed_bytes(index))
            if group in self.scenario.fleet.too_small(needed_bytes)
        }

    def _needed_bytes(self, index: int) -> list[float]:
        """Return the memory that variant `index` takes on the devices of each group, at most."""
        memory_bytes = self.algorithm(index).client_memory_bytes
        if not isinstance(self.scenario.workload.batch_size, BatchSizeByDevice):
            return [memory_bytes(self._least(index))] * len(self.scenario.fleet.groups)
        cut = self.cut(index)
        return [memory_bytes(self.costs(cut, most)) for _, most in self.sizes_by_group(index)]

    def sizes_by_group(self, index: int) -> list[tuple[int, int]]:
        """Return the fewest and the most samples of a batch of variant `index` in each group, in any seed."""
        firsts = [0, *accumulate(self.scenario.fleet.group_counts())]
        compression = self.scenario.variants[index].compression
        sizes = [self._of_each(self.cut(index), seed, compression) for seed in self.scenario.seeds]
        groups = [[size for one in sizes for size in one[first:end]] for first, end in pairwise(firsts)]
        return [(min(group, default=1), max(group, default=1)) for group in groups]

    def batch_sizes(
        self, cut: int, seed: int, compression: Compression | None = None
    ) -> int | tuple[int, ...]:
        """Return the samples of a batch at a cut under a seed; of each device's where they differ.

        Where the rule counts messages they are as `compression` makes them.
        """
        workload, fleet = self.scenario.workload, self.scenario.fleet
        rule = workload.batch_size
        if not isinstance(rule, BatchSizeByDevice):
            return rule

        @cache
        def sent(size: int) -> Sent:
            layout = partial(self.layout, cut)
            return Sent(self.costs(cut, size), compression or Compression(), (), size, layout)

        def found() -> int | tuple[int, ...]:
            check_means(fleet, rule)
            return batch_sizes(rule, build_fleet(fleet, seed), sent)

        messages = repr(compression) if rule.by == "exchange" else ""
        return self.cache.get(("batch sizes", self._costs_key, repr(fleet), cut, seed, messages), found)

    def _of_each(self, cut: int, seed: int, compression: Compression | None) -> tuple[int, ...]:
        sizes = self.batch_sizes(cut, seed, compression)
        return (sizes,) * self.scenario.fleet.clients if isinstance(sizes, int) else sizes

    def excluded(self, index: int) -> dict[int, float]:
        """Return the groups of `too_small` that take no part in variant `index`."""
        return self.too_small(index) if self.scenario.fleet.on_oom == "exclude" else {}

    def _least(self, index: int) -> Costs:
        """Return the costs of the smallest client part, and thus of the largest server part."""
        config = self.scenario.variants[index]
        return self.costs(1 if isinstance(config.cut, PerClientCut) else self.cut(index))

    def left_out(self, index: int) -> list[str]:
        """Return a line for each group that takes no part in variant `index`, with the memory it lacks."""
        fleet, names = self.scenario.fleet, self.scenario.fleet.group_names()
        return [
            f"{names[group]} (needs {bytes_text(needed_bytes, DIGITS)}, "
            f"has {bytes_text(fleet.groups[group].device.memory or 0, DIGITS)})"
            for group, needed_bytes in self.excluded(index).items()
        ]

    def _eligible(self, index: int) -> int:
        """Return how many clients of the fleet may take part in variant `index`."""
        excluded = self.excluded(index)
        counts = enumerate(self.scenario.fleet.group_counts())
        return sum(count for group, count in counts if group not in excluded)

    def _check_memory(self, index: int) -> None:
        """Refuse devices whose memory is too small, or a fleet in which no other group is left."""
        fleet = self.scenario.fleet
        small = self.too_small(index) if fleet.on_oom != "ignore" else {}
        if not small or (fleet.on_oom == "exclude" and len(small) < len(fleet.groups)):
            return
        remedy = "cut earlier, take a smaller batch or a zeroth-order algorithm, or set fleet.on_oom: exclude"
        raise ScenarioError(
            [
                Problem(
                    f"fleet.groups[{group}].device",
                    f"{bytes_text(fleet.groups[group].device.memory or 0, DIGITS)} of memory",
                    f"{bytes_text(needed_bytes, DIGITS)} or more, for {self.scenario.variants[index].name}",
                    remedy,
                )
                for group, needed_bytes in small.items()
            ]
        )

    def served(self, index: int) -> tuple[Costs, int, float | None]:
        """Return the costs of the largest server part, the participants and the server's memory."""
        scenario = self.scenario
        return self._least(index), scenario.fleet.participants_per_round, scenario.server.memory

    def _check_masks(self, index: int, algorithm: Algorithm) -> None:
        """Refuse text, whose activations carry a mask, where an algorithm's settings cannot do with one."""
        if (
            algorithm.unmasked
            and self.scenario.workload.is_text
            and self.layout(self.cut(index)).mask_numbers
        ):
            for key, (value, why) in algorithm.unmasked.items():
                found = str(getattr(algorithm.config, key)).lower()
                raise refused(
                    key, found, f"{value} where activations carry an attention mask, as those of text", why
                )

    def _check_server_memory(self, index: int) -> None:
        """Refuse a server that cannot hold its models for one participant at a time."""
        config = self.scenario.variants[index]
        costs, participants, memory_bytes = self.served(index)
        if memory_bytes is None:
            return
        least_bytes = self.algorithm(index).server_least_bytes(costs, participants)
        if memory_bytes < least_bytes:
            allowed = f"{bytes_text(least_bytes, DIGITS)} or more, for the models of {config.name}"
            remedy = "cut later, so that the server holds less, or take an algorithm with one server model"
            raise refused("server.memory", bytes_text(memory_bytes, DIGITS), allowed, remedy)

    def cuts(self, index: int, fleet: Fleet) -> OneCut | CutByDevice:
        """Return where variant `index` cuts the network for the devices of a fleet."""
        config = self.scenario.variants[index]
        cut = self.cut(index)
        if isinstance(config.cut, PerClientCut):
            return CutByDevice(config.cut, cut, self.costs, self.algorithm(index).client_memory_bytes, fleet)
        sizes = self.batch_sizes(cut, fleet.seed, config.compression)
        return OneCut(cut, self.costs(cut), sizes, partial(self.costs, cut))

    def cut(self, index: int) -> int:
        """Return the number of blocks that the clients of variant `index` hold, at most.

        Raises:
            ScenarioError: the model cannot be cut there.
        """
        cut, path = self.scenario.variants[index].cut, f"variants[{index}].cut"
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
        raise refused(path, repr(cut), allowed, remedy)

    def costs(self, cut: int, batch_size: int | None = None) -> Costs:
        """Return the costs of a cut: derived from the model, then overridden as the scenario says.

        They are for batches of `batch_size` samples, by default of the workload's mean.
        """
        size = self.scenario.workload.mean_batch_size if batch_size is None else batch_size
        return self.cache.get(("costs", self._costs_key, cut, size), lambda: self._derived(cut, size))

    def layout(self, cut: int) -> Layout:
        """Return how messages at a cut are laid out, for codecs that ask."""
        workload = self.scenario.workload
        return self.cache.get(
            ("layout", self._costs_key, cut), lambda: layout(workload, cut, self._on_disk())
        )

    def _derived(self, cut: int, batch_size: int) -> Costs:
        workload = self.scenario.workload.with_batches_of(batch_size)
        given = workload.costs.complete()
        if given is not None:
            return given
        if not self.on_demand:
            return workload.costs.applied(measured(workload, cut, self._by_kind))
        none_frozen = {"client_frozen_bytes": 0.0, "server_frozen_bytes": 0.0}
        known = {"scalar_bytes": SCALAR_BYTES, **(none_frozen if trains_all(workload.model) else {})}
        derived = cache(lambda: measured(workload, cut, self._by_kind, self._on_disk()))
        return workload.costs.asked(derived, known, self.derived)

    def algorithm(self, index: int) -> Algorithm:
        """Return a new instance of variant `index`'s algorithm."""
        config = self.scenario.variants[index]
        algorithm: Algorithm = algorithm_of(config)(config)
        return algorithm
