"""The backward walk of a critical path: from the end of a round to its start, through the spans.

The walk starts with the last client to finish. Each activity is preceded by the one whose end triggered it:
a message arrived, a job was served, the processor or the link became free. Spans do not say which of
several activities that ended in one instant was the trigger; `TRIGGERS` decides, by what algorithms do. Only
one is certain: a message that is sent from the instant at which its client's message before it was sent has
waited for the channel, whatever else ended then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from math import inf
from typing import NamedTuple

from sflsim.rows import ABSENCE

TRIGGERS: Mapping[str, tuple[str, ...]] = {
    "compute": (ABSENCE, "slowdown", "compute", "downlink", "serve", "queue"),
    "slowdown": (ABSENCE, "downlink", "compute", "serve", "queue"),
    "uplink": (ABSENCE, "compute", "slowdown", "uplink", "downlink"),
    "downlink": (ABSENCE, "serve", "uplink", "compute", "downlink"),
    "serve": ("queue", "serve", "uplink"),
    "queue": ("uplink", "serve", "queue"),
    ABSENCE: ("compute", "slowdown", "uplink", "downlink", "serve", "queue"),
    "": ("uplink", "downlink", "compute", "slowdown"),
}
"""What an activity waits for, or what an absence interrupts, likeliest first; "" is the end of a round."""
CHANNELS = ("uplink", "downlink")
NOT_COUNTED = ("wasted", "withdrawn", "lost")
"""Outcomes of activities that did not count."""


class Piece(NamedTuple):
    """A span, or the part of it that lies on a path."""

    actor: str
    activity: str
    start_s: float
    end_s: float
    round: int
    client: str
    outcome: str
    sent_s: float
    """Of a message, when its latency begins."""


class Window(NamedTuple):
    """One round, or one contribution; `client` is "" if the walk has to find the last to finish."""

    round: int
    start_s: float
    end_s: float
    client: str
    contribution: int
    weight: float


class BackwardWalk:
    """The spans of one run by their end, and by their start per client and activity."""

    def __init__(self, spans: Collection[Piece]) -> None:
        self._ended: dict[float, list[Piece]] = defaultdict(list)
        self._sent: dict[tuple[str, str, float], Piece] = {}
        self._tracks: dict[tuple[str, str], list[Piece]] = defaultdict(list)
        for span in spans:
            if span.end_s > span.start_s and span.outcome != "withdrawn":
                if span.sent_s > span.start_s:
                    self._sent[span.client, span.activity, span.sent_s] = span
                self._ended[span.end_s].append(span)
                self._tracks[span.client, span.activity].append(span)
        for track in self._tracks.values():
            track.sort(key=lambda span: (span.start_s, span.end_s))
        self._ends = sorted(self._ended)

    def pieces(self, window: Window) -> Iterator[Piece]:
        """Yield the pieces of a window's path, from its end to its start."""
        at_s = window.end_s
        current = Piece("", "", at_s, at_s, window.round, window.client, "", inf)
        while at_s > window.start_s:
            piece = self._trigger(at_s, current)
            if piece is None:
                index = bisect_left(self._ends, at_s)
                earlier_s = self._ends[index - 1] if index else window.start_s
                piece = current._replace(
                    activity="other", actor=current.client, start_s=earlier_s, sent_s=inf
                )
            start_s = max(piece.start_s, window.start_s)
            yield piece._replace(start_s=start_s, end_s=at_s)
            at_s, current = start_s, piece

    def _trigger(self, at_s: float, current: Piece) -> Piece | None:
        """Return the span until `at_s` that `current` waited for."""
        ended = self._ended.get(at_s, [])
        active = [span for span in ended if span.activity != "wait"]
        same_client = [span for span in active if span.client == current.client]
        waits = [span for span in ended if span.activity == "wait" and current.client in ("", span.client)]
        expected = [span for span in same_client if span.activity in TRIGGERS.get(current.activity, ())]
        return (
            self._before_on_channel(at_s, current)
            or _likeliest(expected, current)
            or self._under_way(at_s, current.client, [current.activity])
            or _likeliest(same_client, current)
            or _likeliest(active, current)
            or self._under_way(at_s, current.client, list(TRIGGERS))
            or max(waits, key=lambda span: span.start_s, default=None)
        )

    def _before_on_channel(self, at_s: float, current: Piece) -> Piece | None:
        """Return the message of the same client and way that was sent until `at_s`, when `current` began."""
        if current.activity not in CHANNELS or current.start_s != at_s:
            return None
        return self._sent.get((current.client, current.activity, at_s))

    def _under_way(self, at_s: float, client: str, activities: Collection[str]) -> Piece | None:
        """Return the latest span of a client that is under way at `at_s`."""
        latest = None
        for activity in activities:
            track = self._tracks.get((client, activity), [])
            index = bisect_left(track, at_s, key=lambda span: span.start_s)
            span = track[index - 1] if index else None
            if span and span.end_s > at_s and (latest is None or span.start_s > latest.start_s):
                latest = span
        return latest


def _likeliest(spans: Collection[Piece], current: Piece) -> Piece | None:
    """Return the span that `current` most likely waited for; of equals the one that began last."""
    order = TRIGGERS.get(current.activity, ())

    def rank(span: Piece) -> tuple[bool, bool, int, float]:
        likelihood = order.index(span.activity) if span.activity in order else len(order)
        return span.outcome in NOT_COUNTED, span.round != current.round, likelihood, -span.start_s

    return min(spans, key=rank, default=None)
