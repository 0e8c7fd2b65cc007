"""Refuses what is predicted by means, where something that is drawn anew has no finite one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sflsim.errors import refused
from sflsim.fleet.distributions.base import DistributionConfig
from sflsim.fleet.groups import FleetConfig
from sflsim.fleet.selection.policy import SelectionConfig
from sflsim.learning.config import BatchSizeByDevice


def check_means(fleet: FleetConfig, batch_size: int | BatchSizeByDevice) -> None:
    """Refuse predicted round times and exchanges that would be infinite (raises ScenarioError)."""
    selection: SelectionConfig = fleet.selection
    if selection.predicts:
        remedy = "give it a 'cap'" + (", or take 'times: observed'" if hasattr(selection, "times") else "")
        _check(
            "fleet.selection",
            f"{selection.kind} by predicted times",
            [*_delays(fleet), *_links(fleet)],
            remedy,
        )
    if isinstance(batch_size, BatchSizeByDevice) and batch_size.by == "exchange":
        found = "sizes by predicted exchanges"
        _check("workload.batch_size", found, [*_links(fleet)], "give it a 'cap', or take 'by: compute'")


def _check(path: str, found: str, drawn: list[tuple[str, DistributionConfig]], remedy: str) -> None:
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
