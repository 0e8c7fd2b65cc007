"""The one pool of workers, for runs, sweeps and plans: does tasks, replaces workers that die.

It knows a runner, which does any task, and no scenario. A worker is started only when a task waits for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sflsim.errors import RunFailed, SflsimError
from sflsim.workers.backends import UNGUARDED, Backend, InlineBackend, ProcessBackend, Runner, Task, Tell

MAX_FAILED_STARTS = 3

Item = TypeVar("Item")


class WorkerDied(RunFailed):
    """The worker that did a task has died, as often as the task was tried."""


@dataclass(eq=False)
class _Call:
    task: Task
    future: Future[Any] = field(default_factory=Future)
    deaths: int = 0


def ignore(message: Any) -> None:
    """Ignore a message."""


class Pool:
    """Does tasks on up to `workers` workers; futures are set in the thread that waits for them."""

    def __init__(self, backend: Backend, workers: int, *, tries: int = 1, on_message: Tell = ignore) -> None:
        """A task whose worker dies is done again until it was tried `tries` times."""
        self.workers = workers
        self.lost = 0
        """Workers that have died."""
        self._backend = backend
        self._tries = tries
        self._on_message = on_message
        self._waiting: deque[_Call] = deque()
        self._starting: set[int] = set()
        self._idle: list[int] = []
        self._busy: dict[int, _Call] = {}
        self._items: dict[Future[Any], Any] = {}  # of `each`: what it has not yet yielded
        self._failed_starts = 0

    def submit(self, *task: Any) -> Future[Any]:
        """Return the future of a task."""
        call = _Call(task)
        self._waiting.append(call)
        self._assign()
        return call.future

    def wait(self, futures: Sequence[Future[Any]]) -> None:
        """Wait until one of the futures is done.

        Raises:
            SflsimError: workers die as they start.
        """
        while not any(future.done() for future in futures):
            self._take_events()
            self._assign()

    def each(
        self, next_item: Callable[[], Item | None], task_of: Callable[[Item], Task]
    ) -> Iterator[tuple[Item, Future[Any]]]:
        """Do the task of each item; yield item and future as they end.

        An item is taken when a worker is free for it; None means that there is none until another has ended.

        Raises:
            SflsimError: workers die as they start.
        """
        while True:
            while len(self._items) < self.workers and (item := next_item()) is not None:
                self._items[self.submit(*task_of(item))] = item
            if not self._items:
                return
            self.wait(list(self._items))
            yield from self._ended()

    def halt(self, patience_s: float) -> Iterator[tuple[Any, Future[Any]]]:
        """Let each busy worker stop at its next message; yield the items that end in time."""
        self._waiting.clear()
        for worker in self._busy:
            self._backend.submit(worker, None)
        deadline_s = time.monotonic() + patience_s
        while self._busy and time.monotonic() < deadline_s:
            self._take_events()
        yield from self._ended()

    def close(self) -> None:
        """End all workers, the busy ones at once."""
        self._backend.close({*self._busy, *self._starting})

    def _ended(self) -> Iterator[tuple[Any, Future[Any]]]:
        for future in [future for future in self._items if future.done()]:
            yield self._items.pop(future), future

    def _assign(self) -> None:
        while self._waiting and self._idle:
            worker, call = self._idle.pop(), self._waiting.popleft()
            self._backend.submit(worker, call.task)
            self._busy[worker] = call
        while len(self._starting) < min(len(self._waiting), self.workers - len(self._busy)):
            self._starting.add(self._backend.start_worker())

    def _take_events(self) -> None:
        for worker, kind, value in self._backend.events():
            if kind == "message":
                self._on_message(value)
            elif kind == "ready":
                self._failed_starts = 0
                self._starting.remove(worker)
                self._idle.append(worker)
            elif kind == "died":
                self._remove(worker, value)
            else:
                future = self._busy.pop(worker).future
                self._idle.append(worker)
                (future.set_result if kind == "returned" else future.set_exception)(value)

    def _remove(self, worker: int, exit_code: int | None) -> None:
        """Forget a worker that died; another does its task."""
        self.lost += 1
        if worker in self._starting:
            self._starting.remove(worker)
            self._failed_starts += 1
            if exit_code == UNGUARDED:
                raise SflsimError(
                    "workers: each process reads the script anew and would start it again; put the script's "
                    "main part under if __name__ == '__main__':"
                )
            if self._failed_starts == MAX_FAILED_STARTS:
                raise RunFailed(f"worker processes die as they start ({_how(exit_code)})")
        elif worker in self._idle:
            self._idle.remove(worker)
        else:
            call = self._busy.pop(worker)
            call.deaths += 1
            if call.deaths < self._tries:
                self._waiting.appendleft(call)
            else:
                advice = "a worker process died (out of memory, or killed); try again with fewer --workers"
                call.future.set_exception(WorkerDied(advice))


def _how(exit_code: int | None) -> str:
    """Return how a process ended, as its exit code tells."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}; what they print says why"
    return f"killed by signal {-exit_code}, which may be for want of memory"


def check_workers(workers: int) -> None:
    """Refuse a number of workers that is none (raises SflsimError)."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise SflsimError(f"workers: found {workers!r}; allowed: a whole number from 1 up")


def open_pool(
    make_runner: Callable[[], Runner], workers: int, *, tries: int = 1, on_message: Tell = ignore
) -> Pool:
    """Return a pool of processes; of one worker, which is this process."""
    backend = ProcessBackend(make_runner) if workers > 1 else InlineBackend(make_runner(), on_message)
    return Pool(backend, workers, tries=tries, on_message=on_message)
