"""The pool does every task once, in processes that may die, and ends them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from sflsim.errors import SflsimError
from sflsim.workers.backends import Tell
from sflsim.workers.pool import Pool, WorkerDied, open_pool


class TwoReasonsError(Exception):
    """An error that is pickled, and cannot be made again from its arguments."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


class Arithmetic:
    """Divides; tells of it; tasks may also end the process, or go on until they are stopped."""

    def run(self, tell: Tell, word: str, value: Any = 1) -> Any:
        match word:
            case "divide":
                tell(f"dividing by {value}")
                return 12 / value
            case "die":
                os._exit(1)
            case "go on":
                try:
                    while True:
                        tell(value)
                        time.sleep(0.001)
                except KeyboardInterrupt:
                    return "stopped"
            case "fail":
                raise TwoReasonsError("this", "that")
            case "lock":
                return threading.Lock()  # cannot be sent
            case _:
                return os.getpid()

    def close(self) -> None:
        pass


@pytest.fixture
def pools() -> Iterator[list[Pool]]:
    opened: list[Pool] = []
    yield opened
    for pool in opened:
        pool.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_results_and_messages(workers: int, pools: list[Pool]) -> None:
    """Each item comes back once, with its result or its error; messages arrive before."""
    messages: list[str] = []
    pools.append(pool := open_pool(Arithmetic, workers, on_message=messages.append))
    items = iter([1, 2, 0, 4])
    results = dict(pool.each(partial(next, items, None), lambda value: ("divide", value)))
    assert {value: results[value].result() for value in (1, 2, 4)} == {1: 12.0, 2: 6.0, 4: 3.0}
    assert isinstance(results[0].exception(), ZeroDivisionError)
    assert sorted(messages) == [f"dividing by {value}" for value in (0, 1, 2, 4)]
    pool.wait([future := pool.submit("who")])
    assert (future.result() == os.getpid()) == (workers == 1)


def test_no_process_starts_without_a_task(pools: list[Pool]) -> None:
    """Of eight workers one is started for one task, and does the next, too."""
    pools.append(pool := open_pool(Arithmetic, 8))
    assert not multiprocessing.active_children()
    pool.wait([first := pool.submit("who")])
    pool.wait([second := pool.submit("who")])
    assert first.result() == second.result() != os.getpid()
    assert len(multiprocessing.active_children()) == 1


def test_a_task_is_tried_again_as_often_as_allowed(pools: list[Pool]) -> None:
    """Three workers die of it; another does the rest."""
    pools.append(pool := open_pool(Arithmetic, 2, tries=3))
    deadly, harmless = pool.submit("die"), pool.submit("divide", 3)
    pool.wait([deadly])
    assert isinstance(deadly.exception(), WorkerDied)
    pool.wait([harmless])
    assert (harmless.result(), pool.lost) == (4.0, 3)


def test_what_cannot_be_sent_is_an_error(pools: list[Pool]) -> None:
    """The worker lives on."""
    pools.append(pool := open_pool(Arithmetic, 2))
    pool.wait([future := pool.submit("lock")])
    with pytest.raises(SflsimError, match="cannot send its result"):
        future.result()
    pool.wait([future := pool.submit("divide", 2)])
    assert (future.result(), pool.lost) == (6.0, 0)


def test_halted_tasks_return_what_they_have(pools: list[Pool]) -> None:
    """Those that had begun; an interrupt strikes while the fifth message is taken in."""
    interrupts = iter([False] * 4 + [True])
    begun: set[str] = set()

    def on_message(item: str) -> None:
        begun.add(item)
        if next(interrupts, False):
            raise KeyboardInterrupt

    pools.append(pool := open_pool(Arithmetic, 2, on_message=on_message))
    items = iter(["a", "b"])
    with pytest.raises(KeyboardInterrupt):
        list(pool.each(partial(next, items, None), lambda item: ("go on", item)))
    assert {item: future.result() for item, future in pool.halt(60.0)} == dict.fromkeys(begun, "stopped")


def test_workers_that_cannot_start_end_the_pool(pools: list[Pool]) -> None:
    """After three, with advice."""
    pools.append(pool := open_pool(partial(os._exit, 1), 2))
    with pytest.raises(SflsimError, match="exit code 1"):
        pool.wait([pool.submit("who")])
    assert pool.lost == 3


def test_an_error_that_cannot_be_sent_is_told(pools: list[Pool]) -> None:
    """Its task fails with its name and words; the others go on."""
    pools.append(pool := open_pool(Arithmetic, 2))
    failing, dividing = pool.submit("fail"), pool.submit("divide", 4)
    pool.wait([failing])
    pool.wait([dividing])
    with pytest.raises(SflsimError, match="TwoReasonsError: this and that"):
        failing.result()
    assert dividing.result() == 3


class Deaf:
    """Loses the interrupt that comes amid its task, as Python does while an object is being destroyed."""

    def run(self, tell: Tell) -> str:
        lost = False
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            lost = True
        try:
            tell("message")
        except KeyboardInterrupt:
            return "stopped" if lost else "never interrupted"
        return "went on"

    def close(self) -> None:
        pass


def test_an_interrupt_that_is_lost_counts_at_the_next_message(pools: list[Pool]) -> None:
    """With Python's own handler; where the caller has another, or ignores Ctrl-C, it stays."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        pools.append(open_pool(Deaf, 1))
        future = pools[0].submit()
        pools[0].wait([future])
        assert future.result() == "stopped"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ignoring = pools[0].submit()
        pools[0].wait([ignoring])
        assert ignoring.result() == "went on"
    finally:
        signal.signal(signal.SIGINT, before)
