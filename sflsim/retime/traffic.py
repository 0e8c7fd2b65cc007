"""Bytes up to each evaluation of a run: per group, and of each group's busiest client.

They are summed as messages arrive, so that the spans of a run need not be kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sflsim.clock.spans import with_arrivals
from sflsim.rows import Span

Bytes = npt.NDArray[np.float64]
DIRECTIONS = {"uplink": 0, "downlink": 1}


class Traffic:
    """Takes spans in the order in which they end, and evaluations in the order of their times.

    A transfer that ends in the instant of an evaluation counts in it, even if recorded after it. So a
    row is closed by the first transfer that ends later.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self._group_index = {name: index for index, name in enumerate(groups)}
        self._sums = [[0.0] * len(groups) for _ in DIRECTIONS]
        self._clients: dict[str, float] = {}
        self._busiest = [0.0] * len(groups)
        self._open: deque[float] = deque()
        self._rows: list[tuple[list[list[float]], list[float]]] = []

    def evaluated(self, at_s: float) -> None:
        """Open a row for an evaluation at this time; times never decrease."""
        self._open.append(at_s)

    def add(self, spans: Iterable[Span]) -> None:
        """Add spans, in the order of recording."""
        for span, arrival_s in with_arrivals(spans):
            direction = DIRECTIONS.get(span.activity)
            if direction is not None:
                while self._open and self._open[0] < arrival_s:
                    self._close()
                self._add(direction, span.client, span.bytes)

    def rows(self) -> tuple[Bytes, Bytes, Bytes]:
        """Return bytes up, bytes down, and of each group's busiest client, each [evaluations, groups]."""
        while self._open:
            self._close()
        sums = np.array([row for row, _ in self._rows])
        return sums[:, 0], sums[:, 1], np.array([busiest for _, busiest in self._rows])

    def _add(self, direction: int, client: str, size_bytes: float) -> None:
        group = self._group_index[client.rpartition("-")[0]]  # a client is called "group-number"
        self._sums[direction][group] += size_bytes
        of_client = self._clients[client] = self._clients.get(client, 0.0) + size_bytes
        self._busiest[group] = max(self._busiest[group], of_client)

    def _close(self) -> None:
        self._open.popleft()
        self._rows.append(([list(sums) for sums in self._sums], list(self._busiest)))
