"""Empty batteries at the end of a run, in words, from its table of clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

EMPTY_SHARE = 1 - 1e-9
"""A battery is empty if its client has drawn this share of the capacity: all but for rounding."""


def empty_batteries(clients: pd.DataFrame, groups: Mapping[str, tuple[float | None, int]]) -> list[str]:
    """Return a line for each variant and group with empty batteries: how many, over the seeds.

    `groups` has the battery capacity of each group in J (None: no battery), and its number of devices.
    """
    return [line for name, (size_j, count) in groups.items() for line in _lines(clients, name, size_j, count)]


def _lines(clients: pd.DataFrame, group: str, size_j: float | None, count: int) -> Iterator[str]:
    if size_j is None:
        return
    members = clients[clients["group"] == group]
    empty = (members["energy_j"] >= size_j * EMPTY_SHARE).astype(int)
    by_seed = empty.groupby([members["variant"], members["seed"]], sort=False, observed=True).sum()
    for variant, counts in by_seed.groupby(level=0, sort=False):
        if counts.max():
            extent = " to ".join(dict.fromkeys((str(counts.min()), str(counts.max()))))
            yield f"{variant}: {extent} of {count} batteries of group {group} are empty at the end"
