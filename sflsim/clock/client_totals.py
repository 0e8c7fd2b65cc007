"""What each client did over a run, folded from its spans one by one: no list of them is needed.

A message counts as uplink or downlink until it arrives, its latency included. Whether a span is waste
is known only when its client has gone on to another round, so what may still become waste is held for
one participation per client.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf

from sflsim.clock.spans import with_arrivals
from sflsim.rows import ClientWork, Span

SUMS = [name for name in ClientWork._fields if name not in ("rounds", "dropped")]
FLOP, ENERGY, WASTED_S, WASTED_BYTES = (
    SUMS.index(name) for name in ("flop", "active_energy_j", "wasted_s", "wasted_bytes")
)
SECONDS = {name: SUMS.index(f"{name}_s") for name in ("compute", "slowdown", "uplink", "downlink", "wait")}
BYTES = {name: SUMS.index(f"{name}_bytes") for name in ("uplink", "downlink")}
NOTHING = bytes(16 * len(SUMS))


class _Work:
    """One client's sums, each followed by its rounding error, and what its open round may waste."""

    __slots__ = ("open", "pending", "rounds", "sums")

    def __init__(self) -> None:
        self.sums = array("d", NOTHING)
        self.pending = array("d")  # start, seconds and bytes of each span of the open round
        self.open = -1
        self.rounds: set[int] = set()

    def add(self, place: int, amount: float) -> None:
        """Add to a sum with its rounding error carried along (Kahan), so that long sums stay exact."""
        sums = self.sums
        before, rest = sums[2 * place], amount - sums[2 * place + 1]
        after = sums[2 * place] = before + rest
        sums[2 * place + 1] = after - before - rest


class Tally:
    """The work of every client; `wasted` is that of the recorder: (client, round) -> time before which."""

    def __init__(self, wasted: Mapping[tuple[str, int], float]) -> None:
        self._wasted = wasted
        self._works: dict[str, _Work] = {}
        self._dropped: set[tuple[str, int]] = set()

    def fold(self, spans: Iterable[Span]) -> None:
        """Add spans in the order in which they were recorded."""
        for span, arrival_s in with_arrivals(spans):
            if span.actor == span.client:
                self._fold(span, arrival_s)

    def rows(self) -> dict[str, ClientWork]:
        """Return the work of each client; nothing can be folded in afterwards."""
        for name, work in self._works.items():
            self._settle(name, work)
        dropped = Counter(name for name, _ in self._dropped)
        return {
            name: ClientWork(
                **dict(zip(SUMS, work.sums[::2], strict=True)), rounds=len(work.rounds), dropped=dropped[name]
            )
            for name, work in self._works.items()
        }

    def _fold(self, span: Span, arrival_s: float) -> None:
        name, activity, start_s, round, size_bytes = (
            span.actor, span.activity, span.start_s, span.round, span.bytes,
        )  # fmt: skip
        work = self._works.get(name)
        if work is None:
            work = self._works[name] = _Work()
        seconds = arrival_s - start_s
        work.rounds.add(round)
        work.add(SECONDS[activity], seconds)
        if activity in BYTES:
            work.add(BYTES[activity], size_bytes)
        if span.flop:
            work.add(FLOP, span.flop)
        if span.active_energy_j:
            work.add(ENERGY, span.active_energy_j)
        if span.outcome == "lost":
            self._waste(name, round, seconds, size_bytes)
        elif round < work.open:
            if start_s < self._wasted.get((name, round), -inf):
                self._waste(name, round, seconds, size_bytes)
        else:
            if round > work.open:
                self._settle(name, work)
                work.open = round
            work.pending.extend((start_s, seconds, size_bytes))

    def _settle(self, name: str, work: _Work) -> None:
        """Decide what of a client's open round was waste: it is over, nothing changes that any more."""
        limit_s = self._wasted.get((name, work.open))
        if limit_s is not None:
            pending = iter(work.pending)
            for start_s, seconds, size_bytes in zip(pending, pending, pending, strict=True):
                if start_s < limit_s:
                    self._waste(name, work.open, seconds, size_bytes)
        del work.pending[:]

    def _waste(self, name: str, round: int, seconds: float, size_bytes: float) -> None:
        """Count one span as done for nothing."""
        work = self._works[name]
        self._dropped.add((name, round))
        work.add(WASTED_S, seconds)
        work.add(WASTED_BYTES, size_bytes)
