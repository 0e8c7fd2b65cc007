"""What happened when: the recorder of spans and its running totals.

A span is one activity of one actor from start to end. It is recorded at the moment it ends, so
that the totals are those of the simulated instant. A message has two, `uplink` or `downlink` while its
bytes pass and `latency` while it travels; both are recorded when it arrives, the second right after
the first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from sflsim.rows import Span, Use

LATENCY = "latency"
CONTRIBUTION = "contribution"
ENOUGH = 65_536  # spans that are not to be kept and wait to be folded, at most


class Folder(Protocol):
    """What takes in spans that are not kept."""

    def fold(self, spans: Iterable[Span]) -> None:
        """Take in spans in the order in which they were recorded."""


class Unread:
    """A folder for spans of which nothing is wanted but the recorder's totals."""

    def fold(self, spans: Iterable[Span]) -> None:
        """Let them go."""


def with_arrivals(spans: Iterable[Span]) -> Iterator[tuple[Span, float]]:
    """Yield spans in order, each with its end; a message and its latency are one, which ends on arrival."""
    held: Span | None = None
    for span in spans:
        if held is None:
            held = span
        elif span.activity == LATENCY:
            yield held, span.end_s
            held = None
        else:
            yield held, held.end_s
            held = span
    if held is not None:
        yield held, held.end_s


def updates_of(spans: Sequence[Span], updates_s: Sequence[float]) -> list[int]:
    """Return for each span which update of the global model came next, at or after its end.

    `updates_s` are the times of the updates, the first of which makes round 1. A message stays whole.
    """
    rounds = [bisect_left(updates_s, arrival_s) + 1 for _, arrival_s in with_arrivals(spans)]
    found: list[int] = []
    place = -1
    for span in spans:
        place += span.activity != LATENCY
        found.append(rounds[place])
    return found


@dataclass(slots=True)
class Totals:
    """Sums over all spans so far; `active_energy_j` is what the clients drew above idle."""

    uplink_bytes: float = 0.0
    downlink_bytes: float = 0.0
    client_busy_s: float = 0.0
    server_busy_s: float = 0.0
    active_energy_j: float = 0.0


class Recorder:
    """Collects spans; where they go `into` a folder, only until they are summed (`let_go`, `totals`).

    `add` records one finished activity; `ended` is the callback of an event that has a `span`, `arrived`
    that of a message which has its `travel`, too.
    """

    __slots__ = ("_summed", "_totals", "add", "ended", "into", "spans", "updates_s", "use", "wasted")

    def __init__(self, into: Folder | None = None) -> None:
        self.into = into
        self.spans: list[Span] = []
        self.use: list[Use] = []
        self.add = add = self.spans.append
        self.ended: Callable[[Any], None] = lambda activity: add(activity.span)
        self._totals = Totals()
        self._summed = 0
        self.updates_s: list[float] | None = None
        """When the global model was updated, where no round holds the clients together."""
        self.wasted: dict[tuple[str, int], float] = {}
        """Client and round of every participation that was dropped: its spans that began before a time."""

    def waste(self, client: str, round: int) -> None:
        """Let a client's part of a round count as dropped."""
        self.wasted[client, round] = inf

    def contributed(self, client: str, number: int, since_s: float, now_s: float) -> None:
        """Record that the server has a client's whole contribution, which it began at `since_s`."""
        self.add(Span("server", CONTRIBUTION, since_s, now_s, number, client))

    def anew(self, client: str, round: int, now_s: float) -> None:
        """Let what a client does from now on in a round count, where it was dropped in it before."""
        if (client, round) in self.wasted:
            self.wasted[client, round] = now_s

    def arrived(self, message: Any) -> None:
        """Record a message: its span, and its travel where it was not cut before."""
        self.add(message.span)
        if message.travel is not None:
            self.add(message.travel)

    @property
    def totals(self) -> Totals:
        """Return the sums over all spans so far; those that are new since the last time are added now."""
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
        if self.into is not None:
            self.into.fold(self.spans)
            self.spans.clear()
        self._summed = len(self.spans)
        return totals

    def let_go(self) -> None:
        """Sum what is not kept, where it has become much; asked at times when nothing else happens."""
        if self.into is not None and len(self.spans) > ENOUGH:
            self.totals  # noqa: B018 (sums and folds)

    def finished(self) -> list[Span]:
        """Return the spans, those of dropped participations with the outcome "wasted" ("lost" where cut)."""
        if not self.wasted:
            return self.spans
        wasted = self.wasted
        return [
            span._replace(outcome="wasted")
            if span.start_s < wasted.get((span.client, span.round), -inf) and span.outcome != "lost"
            else span
            for span in self.spans
        ]
