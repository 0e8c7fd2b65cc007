"""Workers behind one port: this process itself, or processes beside it.

A pool starts workers, submits tasks to them and reports what happens to them, deaths included. It knows no
scenario: what a worker runs is handed in.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from sflsim.errors import tell_warnings_plainly

HERE = "here"
CLOSING_S = 5.0

Task = tuple[Any, ...]
"""The arguments of one call of a runner."""


class Runner(Protocol):
    """What each worker holds: does one task after another."""

    def run(self, *task: Any) -> Any:
        """Do a task and return its result."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True)
class Event:
    """What happened to a worker: ready at a place, done with a result, or (neither) dead."""

    worker: int
    place: str = ""
    result: Any = None


class WorkerPool(Protocol):
    """Workers that do one task at a time."""

    def start_worker(self) -> None:
        """Start one more worker; an event tells when it is ready."""

    def submit(self, worker: int, task: Task) -> None:
        """Let a worker that is ready or done begin a task."""

    def events(self) -> list[Event]:
        """Wait until something happens, or a little while, and return what did."""

    def close(self) -> None:
        """Let all workers go, also those at work."""


class InlinePool:
    """The process at hand does all tasks itself, one after another."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._events: deque[Event] = deque()

    def start_worker(self) -> None:
        """Be ready."""
        self._events.append(Event(0, HERE))

    def submit(self, worker: int, task: Task) -> None:
        """Do the task at once."""
        self._events.append(Event(worker, result=self._runner.run(*task)))

    def events(self) -> list[Event]:
        """Return what was done."""
        happened = list(self._events)
        self._events.clear()
        return happened

    def close(self) -> None:
        """Close the store."""
        self._runner.close()


class ProcessPool:
    """Worker processes of this machine, started afresh so that they share no state with this one."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[Any, Connection]] = {}
        self._busy: set[int] = set()
        self._started = 0

    def start_worker(self) -> None:
        """Start a process."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._runner), daemon=True)
        process.start()
        theirs.close()
        self._workers[self._started] = (process, ours)
        self._started += 1

    def submit(self, worker: int, task: Task) -> None:
        """Send a task; that its process is dead shows in the next events."""
        self._busy.add(worker)
        with suppress(OSError):
            self._workers[worker][1].send(task)

    def events(self) -> list[Event]:
        """Return results, and the deaths of those whose pipe has broken."""
        workers = {pipe: worker for worker, (_, pipe) in self._workers.items()}
        return [self._event(workers[pipe], pipe) for pipe in wait(list(workers), 0.5)]  # type: ignore[index, arg-type]

    def _event(self, worker: int, pipe: Connection) -> Event:
        self._busy.discard(worker)
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            process, _ = self._workers.pop(worker)
            process.join()
            pipe.close()
            return Event(worker)
        return Event(worker, HERE) if message == HERE else Event(worker, result=message)

    def close(self) -> None:
        """End all processes: those at work at once, the others when they have closed their stores."""
        for worker, (process, pipe) in self._workers.items():
            pipe.close()
            if worker in self._busy:
                process.terminate()
        for process, _ in self._workers.values():
            process.join(CLOSING_S)
            process.terminate()
            process.join()
        self._workers.clear()


def _serve(pipe: Connection, runner: Runner) -> None:
    """Do tasks until the pipe is closed; Ctrl-C is the parent's affair."""
    tell_warnings_plainly()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pipe.send(HERE)
        while True:
            pipe.send(runner.run(*pipe.recv()))
    except (EOFError, OSError):
        runner.close()
