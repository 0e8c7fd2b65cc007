"""Calls of functions in processes that are started when there is enough to do.

Processes are an accelerator: nothing that they return depends on their number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from sflsim.workers.backends import Tell
from sflsim.workers.pool import Pool, open_pool

WORTH_S = 10.0
"""Seconds of work left from which on it pays to start processes, which load everything again."""


class Caller:
    """The runner of a process: calls functions of modules."""

    def run(self, tell: Tell, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function."""
        return function(*arguments)

    def close(self) -> None:
        """Nothing is held."""


class Workers:
    """Up to `count` processes, started when there is enough to do; with one, all is done in this process."""

    def __init__(self, count: int = 1) -> None:
        self.count = count

    @cached_property
    def pool(self) -> Pool:
        """Calls functions of modules in the processes: `submit(function, *arguments)`."""
        return open_pool(Caller, self.count)

    def map(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *here: Any) -> Iterator[Any]:
        """Yield the result of a function for each job, in order; in this process it takes `here` as well.

        Raises:
            SflsimError: a process died.
        """
        started = time.monotonic()
        for done, job in enumerate(jobs):
            each_s = (time.monotonic() - started) / done if done else 0.0
            if self.pay(each_s, len(jobs) - done):
                for future in [self.pool.submit(function, *arguments) for arguments in jobs[done:]]:
                    self.pool.wait([future])
                    yield future.result()
                return
            yield function(*job, *here)

    def pay(self, each_s: float, left: int) -> bool:
        """Return whether processes pay for this many jobs: they run already, or the jobs take long."""
        if self.count < 2:
            return False
        return "pool" in vars(self) or (left > 1 and each_s * left > WORTH_S)

    def close(self) -> None:
        """End all processes, the busy ones at once."""
        if "pool" in vars(self):
            self.pool.close()
