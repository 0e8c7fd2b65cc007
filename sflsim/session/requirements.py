"""What the variants of a scenario need: where each cuts the network, what that costs, and who is too small.

No data is loaded for it.
"""

from __future__ import annotations

from functools import cache

from sflsim.errors import Problem, ScenarioError, did_you_mean, refused
from sflsim.fleet.population import Fleet
from sflsim.formatting import bytes_text
from sflsim.learning.config import Workload
from sflsim.learning.costs import SCALAR_BYTES, Costs
from sflsim.learning.models.base import trains_all
from sflsim.registry import algorithm_of
from sflsim.scenario.schema import Scenario
from sflsim.session.cache import SessionCache
from sflsim.simulation.base import Algorithm, PerClientCut
from sflsim.simulation.cuts import CutByDevice, OneCut

DIGITS = 4
"""Of what is needed and what there is, so that the two are told apart."""


class Requirements:
    """The cuts, costs and memory of one scenario's variants, which go by their numbers."""

    def __init__(
        self, scenario: Scenario, on_demand: bool = False, cache: SessionCache | None = None
    ) -> None:
        """Take a scenario; `on_demand`, where nothing is learned, derives no cost that nobody asks for."""
        self.scenario = scenario
        self.cache = SessionCache() if cache is None else cache
        self.derived: set[str] = set()
        """Keys of `workload.costs` that are not given and were asked for."""
        self._on_demand = on_demand
        workload = scenario.workload
        self._sized = repr((workload.dataset, workload.model, workload.batch_size, workload.costs, on_demand))

    def check(self, number: int) -> None:
        """Refuse variant `number` if model, fleet and server cannot run it.

        Raises:
            ScenarioError: with paths below the variant, or from the scenario's root.
        """
        config = self.scenario.variants[number]
        algorithm = self.algorithm(number)
        if isinstance(config.cut, PerClientCut) and algorithm.per_client_cuts:
            found = f"a cut for each client with {config.algorithm}"
            raise refused("cut", found, "one cut", f"not possible here: {algorithm.per_client_cuts}")
        algorithm.check(self.costs(self.cut(number)))
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
        if all(group.device.memory is None for group in self.scenario.fleet.groups):
            return {}
        needed_bytes = self.algorithm(number).client_memory_bytes(self._least(number))
        return dict.fromkeys(self.scenario.fleet.too_small(needed_bytes), needed_bytes)

    def excluded(self, number: int) -> dict[int, float]:
        """Return those of them that variant `number` has to do without."""
        return self.too_small(number) if self.scenario.fleet.on_oom == "exclude" else {}

    def _least(self, number: int) -> Costs:
        """Return the costs of the cut that leaves the least to a client, and the most to the server."""
        config = self.scenario.variants[number]
        return self.costs(1 if isinstance(config.cut, PerClientCut) else self.cut(number))

    def left_out(self, number: int) -> list[str]:
        """Return a line for each group that variant `number` has to do without, and by how much."""
        fleet, names = self.scenario.fleet, self.scenario.fleet.group_names()
        return [
            f"{names[place]} (needs {bytes_text(needed_bytes, DIGITS)}, "
            f"has {bytes_text(fleet.groups[place].device.memory or 0, DIGITS)})"
            for place, needed_bytes in self.excluded(number).items()
        ]

    def _eligible(self, number: int) -> int:
        """Return how many clients of the fleet may take part in variant `number`."""
        excluded = self.excluded(number)
        counts = enumerate(self.scenario.fleet.group_counts())
        return sum(count for place, count in counts if place not in excluded)

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
                    f"{bytes_text(fleet.groups[place].device.memory or 0, DIGITS)} of memory",
                    f"{bytes_text(needed_bytes, DIGITS)} or more, for {self.scenario.variants[number].name}",
                    remedy,
                )
                for place, needed_bytes in small.items()
            ]
        )

    def served(self, number: int) -> tuple[Costs, int, float | None]:
        """Return what the server's memory goes by: the largest server part, participants, its memory."""
        scenario = self.scenario
        return self._least(number), scenario.fleet.participants_per_round, scenario.server.memory

    def _check_server_memory(self, number: int) -> None:
        """Refuse a server that cannot hold its models for one participant at a time."""
        config = self.scenario.variants[number]
        costs, participants, memory_bytes = self.served(number)
        if memory_bytes is None:
            return
        least_bytes = self.algorithm(number).server_least_bytes(costs, participants)
        if memory_bytes < least_bytes:
            allowed = f"{bytes_text(least_bytes, DIGITS)} or more, for the models of {config.name}"
            remedy = "cut later, so that the server holds less, or take an algorithm with one server model"
            raise refused("server.memory", bytes_text(memory_bytes, DIGITS), allowed, remedy)

    def cuts(self, number: int, fleet: Fleet) -> OneCut | CutByDevice:
        """Return where variant `number` cuts the network for the devices of a fleet."""
        config = self.scenario.variants[number]
        cut = self.cut(number)
        if isinstance(config.cut, PerClientCut):
            return CutByDevice(config.cut, cut, self.costs, self.algorithm(number).client_memory_bytes, fleet)
        return OneCut(cut, self.costs)

    def cut(self, number: int) -> int:
        """Return the number of blocks that the clients of variant `number` hold, at most.

        Raises:
            ScenarioError: the model cannot be cut there.
        """
        cut, path = self.scenario.variants[number].cut, f"variants[{number}].cut"
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

    def costs(self, cut: int) -> Costs:
        """Return the costs of a cut: derived from the model, then overridden as the scenario says."""
        return self.cache.get(("costs", self._sized, cut), lambda: self._derived(cut))

    def _derived(self, cut: int) -> Costs:
        workload = self.scenario.workload
        given = workload.costs.complete()
        if given is not None:
            return given
        if not self._on_demand:
            return workload.costs.applied(_measured(workload, cut))
        none_frozen = {"client_frozen_bytes": 0.0, "server_frozen_bytes": 0.0}
        known = {"scalar_bytes": SCALAR_BYTES, **(none_frozen if trains_all(workload.model) else {})}
        return workload.costs.asked(cache(lambda: _measured(workload, cut)), known, self.derived)

    def algorithm(self, number: int) -> Algorithm:
        """Return a new instance of variant `number`'s algorithm."""
        config = self.scenario.variants[number]
        algorithm: Algorithm = algorithm_of(config)(config)
        return algorithm


def _measured(workload: Workload, cut: int) -> Costs:
    """Return the costs of a cut, derived from the model."""
    from sflsim.learning.profiling.measure import workload_costs

    return workload_costs(workload, [cut])[cut]
