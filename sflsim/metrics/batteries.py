"""Which batteries were empty at the end of a run, in words from its table of clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

NEARLY = 1 - 1e-9
"""Of its capacity: what an empty battery has given, but for rounding."""


def empty_batteries(clients: pd.DataFrame, groups: Mapping[str, tuple[float | None, int]]) -> list[str]:
    """Return a line for each variant and group of which batteries are empty: how many, over the seeds.

    `groups` has the capacity of a group's batteries in J (None: without), and the number of its devices.
    """
    return [line for name, (size_j, count) in groups.items() for line in _lines(clients, name, size_j, count)]


def _lines(clients: pd.DataFrame, group: str, size_j: float | None, count: int) -> Iterator[str]:
    own = clients[clients["group"] == group]
    if size_j is None:
        return
    empty = (own["energy_j"] >= size_j * NEARLY).astype(int)
    by_seed = empty.groupby([own["variant"], own["seed"]], sort=False, observed=True).sum()
    for variant, numbers in by_seed.groupby(level=0, sort=False):
        if numbers.max():
            number = " to ".join(dict.fromkeys((str(numbers.min()), str(numbers.max()))))
            yield f"{variant}: {number} of {count} batteries of group {group} are empty at the end"
