"""What is derived from a network's shapes: costs, and the layout of messages.

Of sflsim's own networks once in a process and once for a store on disk, which a later process reads without
torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, TypeVar

from sflsim.learning.config import Workload
from sflsim.learning.costs import Costs
from sflsim.learning.layout import NUMBERS, Layout
from sflsim.learning.models.base import is_users, trains_all
from sflsim.session.task_facts import facts_of_network, noted, shapes

if TYPE_CHECKING:
    from sflsim.learning.graph.disk_store import DiskStore

Derived = TypeVar("Derived")
_KNOWN: dict[str, Costs] = {}
"""Costs of sflsim's own networks, which follow from their settings: by these, the samples, cut and kinds."""


def measured(workload: Workload, cut: int, by_kind: bool, disk: DiskStore | None = None) -> Costs:
    """Return the costs of a cut, derived from the model; `by_kind`: with the kinds of their FLOP.

    A store keeps no kinds.
    """

    def derive() -> Costs:
        from sflsim.learning.profiling.measure import workload_costs

        return workload_costs(workload, [cut], by_kind=by_kind)[cut]

    model = workload.model
    if is_users(model) or not trains_all(model) or getattr(model, "weights", None):
        return derive()
    key = repr((shapes(workload, cut), by_kind))
    if key not in _KNOWN:
        facts = None if by_kind else facts_of_network("costs", workload, cut)
        _KNOWN[key] = _kept(disk, facts, derive, len(fields(Costs)), _figures, _costs)
    return _KNOWN[key]


def layout(workload: Workload, cut: int, disk: DiskStore | None = None) -> Layout:
    """Return how messages at a cut are laid out, derived from the model."""

    def derive() -> Layout:
        from sflsim.learning.profiling.layout import layout_of

        return layout_of(workload, cut)

    facts = facts_of_network("layout", workload, cut)
    return _kept(disk, facts, derive, NUMBERS, Layout.numbers, Layout.of)


def _kept(
    disk: DiskStore | None,
    facts: str | None,
    derive: Callable[[], Derived],
    count: int,
    numbers: Callable[[Derived], tuple[float, ...]],
    of: Callable[[tuple[float, ...]], Derived],
) -> Derived:
    """Return what is derived: from the store, which keeps it as `count` `numbers`, if it is there."""
    found = noted(disk, facts, count) if disk is not None and facts is not None else None
    if found is not None:
        with suppress(ValueError, OverflowError):  # somebody else's numbers
            return of(found)
    made = derive()
    if disk is not None and facts is not None:
        disk.put(facts, numbers(made))
    return made


def _figures(costs: Costs) -> tuple[float, ...]:
    return tuple(math.nan if figure is None else figure for figure in astuple(costs))


def _costs(figures: tuple[float, ...]) -> Costs:
    return Costs(*(None if math.isnan(figure) else figure for figure in figures))  # type: ignore[arg-type]
