"""Where the workers of a pool are: in this process, or in processes of their own (on Ray: `ray_backend`).

`concurrent.futures` and loky give up a whole pool when one process dies, and do not tell which task it did.
Here each process is at the end of its own pipe: a death is the end of one pipe, and a process that is
killed leaves no semaphores behind.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection, wait
from pickle import PicklingError
from typing import Any, Literal, NamedTuple, Protocol

from sflsim.errors import SflsimError, tell_warnings_plainly

WAIT_S = 0.5
CLOSING_S = 5.0
UNGUARDED = 77
"""Exit code of a process that would start processes of its own while it reads the main script."""

Task = tuple[Any, ...]
"""The arguments of one call of a runner."""
Tell = Callable[[Any], None]
"""Sends a message about the task at hand; raises KeyboardInterrupt when the task is to stop."""


class Runner(Protocol):
    """What each worker holds: does one task after another."""

    def run(self, tell: Tell, *task: Any) -> Any:
        """Do a task and return its result."""

    def close(self) -> None:
        """Release what it holds."""


class Event(NamedTuple):
    """What happened to a worker; the value is a message, a result, an exception or an exit code."""

    worker: int
    kind: Literal["ready", "message", "returned", "raised", "died"]
    value: Any = None


class Backend(Protocol):
    """Starts workers and hands tasks to them."""

    def start_worker(self) -> int:
        """Start one more worker and return its number; an event tells when it is ready."""

    def submit(self, worker: int, task: Task | None) -> None:
        """Begin a task; None: stop the task at hand at its next message, then end (processes only)."""

    def events(self) -> Iterator[Event]:
        """Wait until something happens, or a little while, and yield what did; what is not taken stays."""

    def close(self, busy: Collection[int]) -> None:
        """End all workers, the busy ones at once."""


class InlineBackend:
    """The worker is this process: it does one task after another."""

    def __init__(self, runner: Runner, tell: Tell) -> None:
        self._runner = runner
        self._tell = tell
        self._events: deque[Event] = deque()

    def start_worker(self) -> int:
        """Be ready."""
        self._events.append(Event(0, "ready"))
        return 0

    def submit(self, worker: int, task: Task | None) -> None:
        """Do the task at once.

        An interrupt that comes while an object is being destroyed is lost in Python; it counts at the next
        message.
        """
        interrupts: list[bool] = []

        def interrupted(*_: Any) -> None:
            interrupts.append(True)
            raise KeyboardInterrupt

        def tell(message: Any) -> None:
            self._tell(message)
            if interrupts:
                raise KeyboardInterrupt

        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        try:
            with _handling_interrupts(interrupted) if usual else nullcontext():
                event = Event(worker, "returned", self._runner.run(tell, *(task or ())))
        except Exception as error:
            event = Event(worker, "raised", error)
        self._events.append(event)

    def events(self) -> Iterator[Event]:
        """Yield what was done."""
        while self._events:
            yield self._events.popleft()

    def close(self, busy: Collection[int]) -> None:
        """Close the runner."""
        self._runner.close()


class ProcessBackend:
    """Processes that are spawned, so that they share no state with this one; each makes its own runner."""

    def __init__(self, make_runner: Callable[[], Runner]) -> None:
        self._make_runner = make_runner
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[Any, Connection]] = {}
        self._events: deque[Event] = deque()
        self._started = 0

    def start_worker(self) -> int:
        """Start a process.

        In a process that is itself being started, this ends it: its main script has no guard.
        """
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._make_runner), daemon=True)
        with _handling_interrupts(signal.SIG_IGN):  # inherited: it ignores Ctrl-C from its first instant
            try:
                process.start()
            except RuntimeError as error:
                if "bootstrapping" in str(error):
                    os._exit(UNGUARDED)
                raise
        theirs.close()
        self._started += 1
        self._workers[self._started] = process, ours
        return self._started

    def submit(self, worker: int, task: Task | None) -> None:
        """Send a task, or the end; an event tells if the process is dead."""
        with suppress(OSError, KeyError):  # a dead one's event may be waiting
            self._workers[worker][1].send(task)

    def events(self) -> Iterator[Event]:
        """Yield messages and results, and the deaths of those whose pipe has ended."""
        workers = {pipe: worker for worker, (_, pipe) in self._workers.items()}
        ready, interrupts = wait(list(workers), 0 if self._events else WAIT_S), []
        with _handling_interrupts(lambda *_: interrupts.append(True)):  # not within a message
            self._events.extend(self._event(workers[pipe], pipe) for pipe in ready)  # type: ignore[index, arg-type]
        if interrupts:
            raise KeyboardInterrupt
        while self._events:
            yield self._events.popleft()

    def _event(self, worker: int, pipe: Connection) -> Event:
        try:
            return Event(worker, *pipe.recv())
        except (EOFError, OSError):
            process, _ = self._workers.pop(worker)
            process.join()
            pipe.close()
            return Event(worker, "died", process.exitcode)

    def close(self, busy: Collection[int]) -> None:
        """End all processes: the busy ones at once, the others when they have closed their runners."""
        for worker, (process, pipe) in self._workers.items():
            pipe.close()
            if worker in busy:
                process.terminate()
        for process, _ in self._workers.values():
            process.join(CLOSING_S)
            process.terminate()
            process.join()
        self._workers.clear()


@contextmanager
def _handling_interrupts(handler: Any) -> Iterator[None]:
    """Handle Ctrl-C otherwise for a moment; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection, make_runner: Callable[[], Runner]) -> None:
    """Do tasks until the pipe ends; Ctrl-C is for the parent process."""
    tell_warnings_plainly()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where the parent started it in another thread
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runner = make_runner()

    def tell(message: Any) -> None:
        pipe.send(("message", message))
        if pipe.poll():  # nothing but the end is sent during a task
            raise KeyboardInterrupt

    with suppress(EOFError, OSError):
        pipe.send(("ready",))
        while (task := pipe.recv()) is not None:
            answer: tuple[str, Any]
            try:
                answer = "returned", runner.run(tell, *task)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = "raised", _portable(error)
            try:
                pipe.send(answer)
            except (PicklingError, TypeError, AttributeError) as error:
                pipe.send(
                    ("raised", SflsimError(f"a worker cannot send its result ({error}): {answer[1]!r}"))
                )
    runner.close()


def _end_with_parent() -> None:
    """End this worker when its parent has been killed: nobody waits for its result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error that the parent can read: some are pickled, and cannot be made again."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (made in the line itself)
    except Exception:
        told = SflsimError(f"{type(error).__name__}: {error}")
        told.add_note(traceback.format_exc())
        return told
    return error
