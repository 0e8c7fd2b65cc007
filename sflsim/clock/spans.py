"""The recorder: the spans of a run and running totals over them.

A span is one activity of one actor from start to end. It is recorded when it ends, so the totals are
those of the simulated instant. A message has two spans: `uplink` or `downlink` while its bytes pass, and
`latency` while it travels. Both are recorded when it arrives, the second right after the first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from sflsim.rows import CONTRIBUTION, LATENCY, Span

FLUSH_SPANS = 65_536
"""Spans that wait for a sink, at most."""


class SpanSink(Protocol):
    """Takes in spans that are not kept."""

    def add(self, spans: Iterable[Span]) -> None:
        """Take in spans, in the order of recording."""


class NullSink:
    """Discards spans; the recorder's totals are all that is wanted."""

    def add(self, spans: Iterable[Span]) -> None:
        """Discard them."""


def with_arrivals(spans: Iterable[Span]) -> Iterator[tuple[Span, float]]:
    """Yield each span with its end in s; a message is one with its latency and ends on arrival."""
    message: Span | None = None
    for span in spans:
        if message is None:
            message = span
        elif span.activity == LATENCY:
            yield message, span.end_s
            message = None
        else:
            yield message, message.end_s
            message = span
    if message is not None:
        yield message, message.end_s


def updates_of(spans: Sequence[Span], updates_s: Sequence[float]) -> list[int]:
    """Return for each span the number of the first update of the global model at or after its end.

    `updates_s` are the times of the updates, numbered from 1. A message and its latency have one number.
    """
    numbers = [bisect_left(updates_s, arrival_s) + 1 for _, arrival_s in with_arrivals(spans)]
    updates: list[int] = []
    index = -1
    for span in spans:
        index += span.activity != LATENCY
        updates.append(numbers[index])
    return updates


@dataclass(slots=True)
class Totals:
    """Sums over all spans so far; `active_energy_j` is what the clients drew above idling."""

    uplink_bytes: float = 0.0
    downlink_bytes: float = 0.0
    client_busy_s: float = 0.0
    server_busy_s: float = 0.0
    active_energy_j: float = 0.0


class Recorder:
    """Collects the spans of a run, or hands them to a `sink`.

    `add` records one span. `record` is the callback of an event that has a `span`; `record_message` that of
    a message, which may also have a `travel`.
    """

    __slots__ = (
        "_summed", "_totals", "add", "record", "sink", "spans", "updates_s", "wasted",
    )  # fmt: skip

    def __init__(self, sink: SpanSink | None = None) -> None:
        self.sink = sink
        self.spans: list[Span] = []
        self.add = add = self.spans.append
        self.record: Callable[[Any], None] = lambda activity: add(activity.span)
        self._totals = Totals()
        self._summed = 0
        self.updates_s: list[float] | None = None
        """When an asynchronous algorithm updated the global model; None for synchronous ones."""
        self.wasted: dict[tuple[str, int], float] = {}
        """Dropped participations: (client, round) -> time; spans that began before it are wasted."""

    def waste(self, client: str, round: int) -> None:
        """Count a client's participation in a round as dropped."""
        self.wasted[client, round] = inf

    def restart(self, client: str, round: int, now_s: float) -> None:
        """Count a client's spans from now on, if it was dropped in this round before."""
        if (client, round) in self.wasted:
            self.wasted[client, round] = now_s

    def record_contribution(self, client: str, round: int, since_s: float, now_s: float) -> None:
        """Record that the server has a client's complete contribution, begun at `since_s`."""
        self.add(Span("server", CONTRIBUTION, since_s, now_s, round, client))

    def record_message(self, message: Any) -> None:
        """Record a message: its span, and its travel if it has one."""
        self.add(message.span)
        if message.travel is not None:
            self.add(message.travel)

    @property
    def totals(self) -> Totals:
        """Return the sums over all spans so far, and hand these to the sink."""
        self._add_up()
        return self._totals

    def flush(self) -> None:
        """Hand the spans to the sink, if there are many; call it when no activity ends."""
        if self.sink is not None and len(self.spans) > FLUSH_SPANS:
            self._add_up()

    def _add_up(self) -> None:
        """Add the new spans to the totals, and hand them to the sink."""
        totals = self._totals
        for span in self.spans[self._summed :]:
            activity = span.activity
            if activity == "compute":
                totals.client_busy_s += span.end_s - span.start_s
            elif activity == "uplink":
                totals.uplink_bytes += span.bytes
            elif activity == "downlink":
                totals.downlink_bytes += span.bytes
            elif activity == "serve":
                totals.server_busy_s += span.end_s - span.start_s
            totals.active_energy_j += span.active_energy_j
        if self.sink is not None:
            self.sink.add(self.spans)
            self.spans.clear()
        self._summed = len(self.spans)

    def final_spans(self) -> list[Span]:
        """Return the spans; those of dropped participations have the outcome "wasted", or still "lost"."""
        if not self.wasted:
            return self.spans
        wasted = self.wasted
        return [
            span._replace(outcome="wasted")
            if span.start_s < wasted.get((span.client, span.round), -inf) and span.outcome != "lost"
            else span
            for span in self.spans
        ]
