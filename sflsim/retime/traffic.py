"""Bytes as they stand at each evaluation of a run: of each group, and of its client with the most.

They are added up as messages arrive, so that the spans of a run need not be kept.
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
    """Takes in spans in the order in which they end, and the times of evaluations in theirs.

    What ends in the instant of an evaluation belongs to it, even where it is recorded after it: so a
    row is closed by the first transfer that ends later.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self._place = {name: place for place, name in enumerate(groups)}
        self._sums = [[0.0] * len(groups) for _ in DIRECTIONS]
        self._clients: dict[str, float] = {}
        self._most = [0.0] * len(groups)
        self._open: deque[float] = deque()
        self._rows: list[tuple[list[list[float]], list[float]]] = []

    def evaluated(self, at_s: float) -> None:
        """Open a row: an evaluation has been made at this time, not before the last one."""
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
        """Return bytes up, down, and of a group's busiest client both ways, each [evaluations, groups]."""
        while self._open:
            self._close()
        sums = np.array([row for row, _ in self._rows])
        return sums[:, 0], sums[:, 1], np.array([most for _, most in self._rows])

    def _add(self, direction: int, client: str, size_bytes: float) -> None:
        place = self._place[client.rpartition("-")[0]]  # a client is called "group-number"
        self._sums[direction][place] += size_bytes
        of_client = self._clients[client] = self._clients.get(client, 0.0) + size_bytes
        self._most[place] = max(self._most[place], of_client)

    def _close(self) -> None:
        self._open.popleft()
        self._rows.append(([list(sums) for sums in self._sums], list(self._most)))
