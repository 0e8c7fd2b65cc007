"""Refuses settings of fleet, workload and algorithm that do not go together: batches, selection, means."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sflsim.errors import refused
from sflsim.fleet.distributions.base import DistributionConfig
from sflsim.fleet.groups import FleetConfig
from sflsim.fleet.selection.policy import Fact, SelectionConfig
from sflsim.learning.config import BatchSizeByDevice
from sflsim.simulation.base import Algorithm, AlgorithmConfig, PerClientCut

NOT_REPORTED: dict[Fact, str] = {
    "times": "it has no rounds whose clients work in parallel until the slowest has ended",
    "losses": "nobody knows the losses of single clients' samples under its global model",
    "probes": "its clients cannot be asked for a loss before a round: they get no model then",
    "accuracy": "it has no rounds whose clients work in parallel until the slowest has ended",
}
"""Why an algorithm does not report what a policy reads."""


def check_batches(size: int | BatchSizeByDevice, config: AlgorithmConfig, algorithm: Algorithm) -> None:
    """Refuse batch sizes per device for an algorithm that takes one, and beside a cut for each client."""
    if not isinstance(size, BatchSizeByDevice):
        return
    reason = algorithm.per_client_batches
    if isinstance(config.cut, PerClientCut):
        reason = "a cut for each client already balances what devices compute; keep one of the two"
    if reason:
        found = f"a batch size for each device with {config.algorithm}"
        raise refused("workload.batch_size", found, "one batch size, e.g. 32", f"not possible here: {reason}")


def check_selection(selection: SelectionConfig, algorithm: Algorithm) -> None:
    """Refuse a policy of selection that reads what an algorithm does not report."""
    for fact in sorted(selection.reads() - algorithm.reports):
        found = f"{selection.kind}, which reads {fact}, with {algorithm.config.algorithm}"
        allowed = "a policy that reads only what every variant reports, e.g. uniform or by-samples"
        raise refused("fleet.selection", found, allowed, NOT_REPORTED[fact])


def check_means(fleet: FleetConfig, batch_size: int | BatchSizeByDevice) -> None:
    """Refuse predicted round times and exchanges that would be infinite (raises ScenarioError)."""
    selection: SelectionConfig = fleet.selection
    if selection.predicts:
        remedy = "give it a 'cap'" + (", or take 'times: observed'" if hasattr(selection, "times") else "")
        _check_drawn(
            "fleet.selection",
            f"{selection.kind} by predicted times",
            [*_delays(fleet), *_links(fleet)],
            remedy,
        )
    if isinstance(batch_size, BatchSizeByDevice) and batch_size.by == "exchange":
        found = "sizes by predicted exchanges"
        _check_drawn("workload.batch_size", found, [*_links(fleet)], "give it a 'cap', or take 'by: compute'")


def _check_drawn(path: str, found: str, drawn: list[tuple[str, DistributionConfig]], remedy: str) -> None:
    for where, one in drawn:
        if math.isinf(one.mean):
            allowed = "distributions with a finite mean, which is what a prediction takes"
            raise refused(path, f"{found}, and {where}, which has no finite mean", allowed, remedy)


def _delays(fleet: FleetConfig) -> Iterator[tuple[str, DistributionConfig]]:
    for index, group in enumerate(fleet.groups):
        if group.straggler is not None:
            yield f"fleet.groups[{index}].straggler", group.straggler
        elif fleet.straggler is not None:
            yield "fleet.straggler", fleet.straggler


def _links(fleet: FleetConfig) -> Iterator[tuple[str, DistributionConfig]]:
    """Yield what is drawn for each message; what is drawn once is the device's own."""
    for index, group in enumerate(fleet.groups):
        for key in ("up", "down", "latency", "jitter"):
            drawn = getattr(group.link, key, None)
            if isinstance(drawn, DistributionConfig) and getattr(drawn, "redraw", "message") == "message":
                yield f"fleet.groups[{index}].link.{key}", drawn
