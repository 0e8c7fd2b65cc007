"""Workers of a sweep behind one port: this process itself, or processes beside it.

A crew hires workers, gives them tasks and reports what happens to them, deaths included; who does
what is not its affair. Imports jobs.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from sflsim.errors import tell_warnings_plainly
from sflsim.planning.jobs import Desk, Result
from sflsim.scenario.schema import Scenario

HERE = "here"
CLOSING_S = 5.0


class Task(NamedTuple):
    """What a worker needs to know of a job."""

    scenario: Scenario
    variant: int
    seed: int


@dataclass(frozen=True)
class Event:
    """What happened to a worker: ready at a place, done with a result, or (neither) dead."""

    worker: int
    place: str = ""
    result: Result | None = None


class Crew(Protocol):
    """Workers that do one task at a time."""

    def hire(self) -> None:
        """Start one more worker; an event tells when it is ready."""

    def give(self, worker: int, task: Task) -> None:
        """Let a worker that is ready or done begin a task."""

    def events(self) -> list[Event]:
        """Wait until something happens, or a little while, and return what did."""

    def close(self) -> None:
        """Let all workers go, also those at work."""


class Alone:
    """The process at hand does all tasks itself, one after another."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._events: deque[Event] = deque()

    def hire(self) -> None:
        """Be ready."""
        self._events.append(Event(0, HERE))

    def give(self, worker: int, task: Task) -> None:
        """Do the task at once."""
        self._events.append(Event(worker, result=self._desk.run(*task)))

    def events(self) -> list[Event]:
        """Return what was done."""
        happened = list(self._events)
        self._events.clear()
        return happened

    def close(self) -> None:
        """Close the store."""
        self._desk.close()


class Processes:
    """Worker processes of this machine, started afresh so that they share no state with this one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[Any, Connection]] = {}
        self._busy: set[int] = set()
        self._hired = 0

    def hire(self) -> None:
        """Start a process."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._desk), daemon=True)
        process.start()
        theirs.close()
        self._workers[self._hired] = (process, ours)
        self._hired += 1

    def give(self, worker: int, task: Task) -> None:
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


def _serve(pipe: Connection, desk: Desk) -> None:
    """Do tasks until the pipe is closed; Ctrl-C is the parent's affair."""
    tell_warnings_plainly()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pipe.send(HERE)
        while True:
            pipe.send(desk.run(*pipe.recv()))
    except (EOFError, OSError):
        desk.close()
