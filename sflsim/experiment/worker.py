"""A worker process of an experiment: does its runs and tells of them.

Apart from what makes tables and shows them, so that a process is at work as soon as possible.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from typing import Any

from sflsim.errors import tell_warnings_plainly
from sflsim.rows import Evaluation
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session

Job = tuple[int, int]  # variant number, seed

_worker: tuple[Session, Any, Any] | None = None  # set once in each worker process


def start(scenario: Scenario, options: Options, messages: Any, halt: Any) -> None:
    """Make this process a worker: it puts evaluations into `messages` and ends at one once `halt` is set."""
    global _worker
    serve_parent()
    _worker = (Session(scenario, options), messages, halt)


def serve_parent() -> None:
    """Leave Ctrl-C to the parent of this process, and end with it."""
    tell_warnings_plainly()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where the parent was no main thread
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent has been killed: nobody waits for what it computes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def work(job: Job) -> Outcome:
    """Do a run."""
    assert _worker is not None
    session, messages, halt = _worker
    number, seed = job
    name = session.scenario.variants[number].name

    def on_evaluation(row: Evaluation) -> None:
        messages.put((name, seed, row))
        if halt.is_set():
            raise KeyboardInterrupt

    try:
        return session.run(number, seed, on_evaluation)
    finally:
        session.close()
