"""Max-min fair rates worked out the long way: by linear programs, and by progressive filling.

Independent of the package: flows are (cap, names of the links they pass), links are capacities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
from scipy.optimize import linprog

FlowSpec = tuple[float, tuple[str, ...]]


def by_linear_programs(flows: Sequence[FlowSpec], links: Mapping[str, float]) -> list[float]:
    """Return the rates: raise the lowest as far as it goes, fix those that cannot rise, repeat.

    Each step maximises t subject to rate >= t for all that are not fixed; one of these is fixed if
    the program that maximises its own rate, the others at t or more, gives no more than t.
    """
    rates: list[float | None] = [None] * len(flows)
    while None in rates:
        level = _highest_common(flows, links, rates)
        for place in [place for place, rate in enumerate(rates) if rate is None]:
            if _highest_of(place, level, flows, links, rates) <= level * (1 + 1e-7):
                rates[place] = level
    return [rate for rate in rates if rate is not None]


def _highest_common(
    flows: Sequence[FlowSpec], links: Mapping[str, float], rates: Sequence[float | None]
) -> float:
    n = len(flows)
    above = [np.append(-np.eye(n)[i], 1.0) for i in range(n) if rates[i] is None]  # t - rate <= 0
    within = [np.append([float(name in passed) for _, passed in flows], 0.0) for name in links]
    limits = [0.0] * len(above) + list(links.values())
    bounds = [_range(cap, rate) for (cap, _), rate in zip(flows, rates, strict=True)]
    goal = np.append(np.zeros(n), -1.0)
    found = linprog(goal, np.array(above + within), limits, bounds=[*bounds, (0, None)])
    assert found.status == 0, found.message
    return float(-found.fun)


def _highest_of(
    place: int,
    level: float,
    flows: Sequence[FlowSpec],
    links: Mapping[str, float],
    rates: Sequence[float | None],
) -> float:
    within = np.array([[float(name in passed) for _, passed in flows] for name in links])
    within = within.reshape(len(links), len(flows))
    bounds = [
        (level * (1 - 1e-9), None if cap == inf else cap) if rate is None else _range(cap, rate)
        for (cap, _), rate in zip(flows, rates, strict=True)
    ]
    goal = -np.eye(len(flows))[place]
    limits = [capacity * (1 + 1e-9) for capacity in links.values()]
    found = linprog(goal, within, limits, bounds=bounds)
    assert found.status == 0, found.message
    return float(-found.fun)


def _range(cap: float, rate: float | None) -> tuple[float, float | None]:
    if rate is not None:
        return rate * (1 - 1e-9), rate
    return 0.0, None if cap == inf else cap


def by_filling(flows: Sequence[FlowSpec], links: Mapping[str, float]) -> list[float]:
    """Return the rates: all rise together; a flow stops at its cap or at a full link."""
    rates, rising, level = [0.0] * len(flows), set(range(len(flows))), 0.0
    left = dict(links)
    while rising:
        users = {name: sum(name in flows[i][1] for i in rising) for name in links}
        steps = [left[name] / users[name] for name in links if users[name]]
        step = min([*steps, *(flows[i][0] - level for i in rising)])
        level += step
        for name in links:
            left[name] -= step * users[name]
        full = {name for name in links if users[name] and left[name] <= 1e-9 * links[name]}
        stay = {i for i in rising if flows[i][0] <= level * (1 + 1e-12) or full & set(flows[i][1])}
        for i in rising:
            rates[i] = level
        rising -= stay
    return rates
