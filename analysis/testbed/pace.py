"""A processor that is a number of times slower than this one, and the record of what it did when.

Slowed by its duty cycle: work that took the thread t seconds of processor time is followed by rest,
until `slowdown` times t have passed since its start. Counted is processor time, so that neighbours
on the same machine matter little as long as the rest is long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sflsim.rows import Span


@dataclass
class Record:
    """The spans of one process, added by any of its threads; times are of the machine's monotonic clock."""

    spans: list[Span] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, actor: str, activity: str, start_s: float, end_s: float, round: int, client: str) -> None:
        """Note one finished activity."""
        with self._lock:
            self.spans.append(Span(actor, activity, start_s, end_s, round, client))


@contextmanager
def slowed(slowdown: float) -> Iterator[None]:
    """Make what is done within take `slowdown` times its processor time, or as long as it takes if longer."""
    started, computed = time.monotonic(), time.thread_time()
    yield
    wanted_s = slowdown * (time.thread_time() - computed)
    time.sleep(max(0.0, started + wanted_s - time.monotonic()))
