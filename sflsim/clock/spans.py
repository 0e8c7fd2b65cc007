"""What happened when: the recorder of spans and its running totals.

A span is one activity of one actor from start to end. It is recorded at the moment it ends, so
that the totals are those of the simulated instant. Imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

COLUMNS = (
    "actor",
    "activity",
    "start_s",
    "end_s",
    "round",
    "client",
    "bytes",
    "flop",
    "energy_j",
    "outcome",
)
Span = tuple[str, str, float, float, int, str, float, float, float, str]


@dataclass(slots=True)
class Totals:
    """Sums over all spans so far; `energy_j` is what the clients drew above idle."""

    uplink_bytes: float = 0.0
    downlink_bytes: float = 0.0
    client_busy_s: float = 0.0
    server_busy_s: float = 0.0
    energy_j: float = 0.0


class Recorder:
    """Collects spans; with `keep=False` only until their totals are asked for, in runs too large to list.

    `add` records one finished activity; `ended` is the callback of an event that has a `span`.
    """

    __slots__ = ("_summed", "_totals", "add", "ended", "keep", "spans", "wasted")

    def __init__(self, keep: bool = True) -> None:
        self.keep = keep
        self.spans: list[Span] = []
        self.add = add = self.spans.append
        self.ended: Callable[[Any], None] = lambda activity: add(activity.span)
        self._totals = Totals()
        self._summed = 0
        self.wasted: set[tuple[str, int]] = set()
        """Client and round of every participation that was dropped."""

    @property
    def totals(self) -> Totals:
        """Return the sums over all spans so far; those that are new since the last time are added now."""
        totals = self._totals
        for span in self.spans[self._summed :]:
            activity = span[1]
            if activity == "compute":
                totals.client_busy_s += span[3] - span[2]
            elif activity == "uplink":
                totals.uplink_bytes += span[6]
            elif activity == "downlink":
                totals.downlink_bytes += span[6]
            elif activity == "serve":
                totals.server_busy_s += span[3] - span[2]
            totals.energy_j += span[8]
        if not self.keep:
            self.spans.clear()
        self._summed = len(self.spans)
        return totals

    def finished(self) -> list[Span]:
        """Return the spans, those of dropped participations with the outcome "wasted"."""
        if not self.wasted:
            return self.spans
        return [(*span[:9], "wasted") if (span[5], span[4]) in self.wasted else span for span in self.spans]
