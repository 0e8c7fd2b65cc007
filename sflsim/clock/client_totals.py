"""What each client did over a run, added up span by span without keeping the spans.

A message counts as uplink or downlink until it arrives, its latency included. Whether a span is wasted is
known when its client has begun another round; until then the spans of the present round are pending.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf

from sflsim.clock.spans import with_arrivals
from sflsim.rows import ABSENCE, ClientWork, Span

SUMS = [name for name in ClientWork._fields if name not in ("rounds", "dropped")]
FLOP, ENERGY, WASTED_S, WASTED_BYTES = (
    SUMS.index(name) for name in ("flop", "active_energy_j", "wasted_s", "wasted_bytes")
)
ACTIVITIES = ("compute", "slowdown", "uplink", "downlink", "wait", ABSENCE)
SECONDS = {name: SUMS.index(f"{name}_s") for name in ACTIVITIES}
BYTES = {name: SUMS.index(f"{name}_bytes") for name in ("uplink", "downlink")}
ZEROS = bytes(16 * len(SUMS))


class _Work:
    """One client's sums, each followed by its rounding error, and the pending spans of its round."""

    __slots__ = ("pending", "round", "rounds", "sums")

    def __init__(self) -> None:
        self.sums = array("d", ZEROS)
        self.pending = array("d")  # start in s, seconds and bytes of each span of `round`
        self.round = -1
        self.rounds: set[int] = set()

    def add(self, index: int, amount: float) -> None:
        """Add to a sum with compensation (Kahan), so that long sums stay exact."""
        sums = self.sums
        before, rest = sums[2 * index], amount - sums[2 * index + 1]
        after = sums[2 * index] = before + rest
        sums[2 * index + 1] = after - before - rest


class ClientTotals:
    """A sink of spans: the work of each client.

    `wasted` is that of the recorder: (client, round) -> time; spans that began before it are wasted.
    """

    def __init__(self, wasted: Mapping[tuple[str, int], float]) -> None:
        self._wasted = wasted
        self._works: dict[str, _Work] = {}
        self._dropped: set[tuple[str, int]] = set()

    def add(self, spans: Iterable[Span]) -> None:
        """Add spans, in the order of recording."""
        for span, arrival_s in with_arrivals(spans):
            if span.actor == span.client:
                self._add(span, arrival_s)

    def rows(self) -> dict[str, ClientWork]:
        """Return the work of each client; no span can be added afterwards."""
        for name, work in self._works.items():
            self._settle(name, work)
        dropped = Counter(name for name, _ in self._dropped)
        return {
            name: ClientWork(
                **dict(zip(SUMS, work.sums[::2], strict=True)), rounds=len(work.rounds), dropped=dropped[name]
            )
            for name, work in self._works.items()
        }

    def _add(self, span: Span, arrival_s: float) -> None:
        name, activity, start_s, round, size_bytes = (
            span.actor, span.activity, span.start_s, span.round, span.bytes,
        )  # fmt: skip
        work = self._works.get(name)
        if work is None:
            work = self._works[name] = _Work()
        seconds = arrival_s - start_s
        work.rounds.add(round)
        work.add(SECONDS[activity], seconds)
        if activity == ABSENCE:  # nothing is done, so nothing is wasted
            return
        if activity in BYTES:
            work.add(BYTES[activity], size_bytes)
        if span.flop:
            work.add(FLOP, span.flop)
        if span.active_energy_j:
            work.add(ENERGY, span.active_energy_j)
        if span.outcome == "lost":
            self._waste(name, round, seconds, size_bytes)
        elif round < work.round:
            if start_s < self._wasted.get((name, round), -inf):
                self._waste(name, round, seconds, size_bytes)
        else:
            if round > work.round:
                self._settle(name, work)
                work.round = round
            work.pending.extend((start_s, seconds, size_bytes))

    def _settle(self, name: str, work: _Work) -> None:
        """Count the wasted among the pending spans: the client's round is over."""
        limit_s = self._wasted.get((name, work.round))
        if limit_s is not None:
            pending = iter(work.pending)
            for start_s, seconds, size_bytes in zip(pending, pending, pending, strict=True):
                if start_s < limit_s:
                    self._waste(name, work.round, seconds, size_bytes)
        del work.pending[:]

    def _waste(self, name: str, round: int, seconds: float, size_bytes: float) -> None:
        """Count one span as wasted."""
        work = self._works[name]
        self._dropped.add((name, round))
        work.add(WASTED_S, seconds)
        work.add(WASTED_BYTES, size_bytes)
