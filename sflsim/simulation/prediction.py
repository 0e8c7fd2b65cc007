"""How long a client's part in a round takes by all that is known beforehand: its protocol, run alone.

The protocol of a fresh instance of the algorithm runs one round on a clock of its own, with one client and
the mean of everything that is drawn from round to round or changes over time. Nothing is learned, nobody
else shares the server or a link, and the client has missed no round. Where rounds differ by the algorithm's
own rule (client parts that are averaged in every I-th, say), it is the mean over one cycle of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sflsim.clock.spans import NullSink, Recorder
from sflsim.fleet.devices import Device
from sflsim.fleet.population import Fleet
from sflsim.fleet.selection.policy import Candidates, Fact, Indices, Policy, Report, SelectionConfig
from sflsim.learning.graph.timing_only import NullLearner
from sflsim.simulation.base import Algorithm
from sflsim.simulation.deployment import Deployment, Work
from sflsim.simulation.simulation import Rules, Simulation

MOST_ROUNDS = 50
"""Of a cycle that are run; of a longer one what happens once is too rare to matter."""


class OneDevice(Fleet):
    """A fleet of which one device takes part, with its means."""

    __slots__ = ("_device",)

    def __init__(self, fleet: Fleet, device: Device) -> None:
        super().__init__(fleet.groups, fleet.seed, fleet.excluded)
        self._device = device

    def device(self, index: int) -> Device:
        """Return the device."""
        return self._device

    def candidates(
        self, round: int, n: int | None = None, available: Sequence[int] | Indices | None = None
    ) -> Candidates:
        """Return the device alone."""
        return Candidates(np.array([self._device.index]), np.zeros(1))


class TimedConfig(SelectionConfig):
    """A policy that hears how long each part took."""

    def reads(self) -> frozenset[Fact]:
        """Return that it reads times."""
        return frozenset({"times"})


class Timed(Policy):
    """Lets all candidates take part, and notes how long each part took."""

    def __init__(self) -> None:
        self.config = TimedConfig(kind="timed")
        self.times_s: list[float] = []

    def choose(self, round: int, k: int, candidates: Candidates) -> Indices:
        """Return all candidates."""
        return candidates.indices

    def heard(self, reports: Sequence[Report]) -> None:
        """Note the times."""
        self.times_s += [report.duration_s for report in reports]


class Prediction:
    """Predicts round times in s, by a client's index; devices that are alike share one."""

    def __init__(
        self,
        new_algorithm: Callable[[], Algorithm],
        deployment: Deployment,
        work: Work,
    ) -> None:
        self._new_algorithm = new_algorithm
        self._deployment = replace(deployment, participants=1, server_replicas=None, availability=None)
        self._samples = work.samples
        self._work = replace(work, samples=self._counted)
        self._by_samples = False
        self._known: dict[object, float] = {}

    def __call__(self, index: int) -> float:
        """Return how long this client's part in a round takes; inf where a delay has no finite mean."""
        device = self._deployment.fleet.device(index).in_the_mean()
        point = device.access_point and device.access_point.name
        alike = (device.group, device.rate, device.forward_rate, device.link.up, device.link.down, point)
        key = (alike, self._samples(index) if self._by_samples else None)
        if key not in self._known:
            seconds = self._alone(device)
            self._known[alike, self._samples(index) if self._by_samples else None] = seconds
            return seconds
        return self._known[key]

    def _alone(self, device: Device) -> float:
        if math.isinf(device.slowdown.delay_s(1) + device.slowdown.factor(1)):
            return math.inf
        algorithm = self._new_algorithm()
        algorithm.config = algorithm.config.model_copy(update={"over_selection": 0, "deadline": None})
        cycle: int = min(algorithm.config.cycle, MOST_ROUNDS)
        rounds = cycle + 1 if cycle > 1 else 1  # the first one begins unlike those that follow a cycle
        fleet, policy = OneDevice(self._deployment.fleet, device), Timed()
        sim = Simulation(
            replace(self._deployment, fleet=fleet),
            policy=policy,
            learning=NullLearner(),
            work=self._work,
            rules=Rules(None, None, stop_rounds=rounds, stop_accuracy=None, limits={}),
            seed=fleet.seed,
            recorder=Recorder(NullSink()),
        )
        sim.run(algorithm)
        return sum(policy.times_s[-cycle:]) / cycle

    def _counted(self, client: int) -> int:
        """Return a client's samples, and note that round times depend on them."""
        self._by_samples = True
        return self._samples(client)
