"""What is better than what when several things count: domination, fronts, hypervolume. Less is better.

Values are rows [n, objectives].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def stacked(rows: Sequence[Values], columns: int) -> Values:
    """Return rows as one array [n, columns], of no rows too."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), columns)


def dominated(row: Values, others: Values) -> bool:
    """Tell whether one of `others` is nowhere worse than `row` and better somewhere."""
    if not len(others):
        return False
    return bool(np.any(np.all(others <= row, axis=1) & np.any(others < row, axis=1)))


def front(values: Values) -> npt.NDArray[np.bool_]:
    """Return which rows no other row dominates; equal rows stand or fall together."""
    on_front = np.zeros(len(values), dtype=bool)
    left = np.lexsort(values.T[::-1]) if len(values) else np.zeros(0, dtype=np.intp)
    while len(left):  # the first in lexical order is dominated by none that is left
        row = values[left[0]]
        equal = np.all(values[left] == row, axis=1)
        on_front[left[equal]] = True
        left = left[np.any(values[left] < row, axis=1)]
    return on_front


def hypervolume(values: Values, reference: Values) -> float:
    """Return the volume that the rows dominate below `reference` (computed exactly, slice by slice)."""
    inside = values[np.all(values < reference, axis=1)]
    if not len(inside):
        return 0.0
    inside = np.unique(inside[front(inside)], axis=0)  # sorted by the first objective
    if inside.shape[1] == 1:
        return float(reference[0] - inside[0, 0])
    edges = np.append(inside[:, 0], reference[0])
    return float(
        sum(
            (edges[row + 1] - edges[row]) * hypervolume(inside[: row + 1, 1:], reference[1:])
            for row in range(len(inside))
            if edges[row + 1] > edges[row]
        )
    )


def scalarize(values: Values, weights: Sequence[float], best: Values | None = None) -> Values:
    """Return how far each row is from the best of each objective, in weighted powers; less is better.

    The score is the weighted mean of log(value / best), so that twice the best time weighs as much
    as twice the lowest cost. An objective whose best is zero goes by its position between best and worst.
    """
    best = values.min(axis=0) if best is None else best
    worst = values.max(axis=0)
    share = np.array(weights) / sum(weights)
    score = np.zeros(len(values))
    for column in range(values.shape[1]):
        if best[column] > 0:
            score += share[column] * np.log(np.maximum(values[:, column], 1e-300) / best[column])
        elif worst[column] > best[column]:
            score += share[column] * (values[:, column] - best[column]) / (worst[column] - best[column])
    return score
