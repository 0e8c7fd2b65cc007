"""Reaction of `sflsim explore`: seconds from a change of a setting to the first new curve, and to all curves.

    python benchmarks/exploring.py [--quick] [--workers 2] [--pairs 10]

Quickstart's 21 runs are trained first, or taken from the cache (`--quick`: 30 rounds of them). Then the
server's latency is changed, again and again to another value: that touches the clock alone, so nothing is
trained. What is measured is what a page sees: news of the board. A curve is new once all seeds of its variant
are timed. Goals: the first within 0.5 s, all within 2.5 s, on two quiet cores (median).
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import bench

import sflsim
from sflsim.explorer.board import Board
from sflsim.explorer.controls import Controls
from sflsim.explorer.explorer import Explorer
from sflsim.explorer.retimer import make_retimer
from sflsim.learning.graph.disk_store import default_folder
from sflsim.session import Options
from sflsim.workers.backends import ProcessBackend
from sflsim.workers.pool import Pool

FIRST_S, ALL_S = 0.5, 2.5
PATH = "server.link.latency"


def settled(board: Board) -> dict[str, Any]:
    """Wait until nothing is computed, and return the status."""
    number = 0
    while True:
        news = board.since(number, 60.0)
        number, status = news["number"], board.since(0)["parts"]["status"]
        busy = status["timed"] < status["runs"] or status["details"] or status["measuring"]
        if not busy and "doing" not in status["background"] and not status["lacking"]:
            return status


def reaction(explorer: Explorer, value: str) -> tuple[float, float]:
    """Return the seconds from a change to the first new curve, and to all."""
    board = explorer.board
    news = board.since(0)
    before, number = news["parts"]["accuracy"]["curves"], news["number"]
    started, first_s = time.perf_counter(), 0.0
    explorer.change({PATH: value})
    while True:
        news = board.since(number, 60.0)
        number, parts = news["number"], news["parts"]
        since_s = time.perf_counter() - started
        curves = parts.get("accuracy", {}).get("curves", before)
        if not first_s and curves != before:
            first_s = since_s
        status = parts.get("status", {"timed": 0, "runs": 1})
        if first_s and status["timed"] == status["runs"]:
            return first_s, since_s


def main() -> None:
    """Measure, and print medians beside the goals."""
    given = bench.options(__doc__ or "", workers="processes")
    workers = given.workers or 2
    scenario = sflsim.load_scenario("quickstart", ["stop.rounds=30"] if given.quick else [])
    with tempfile.TemporaryDirectory() as folder:
        options = Options(cache=Path(folder) if given.quick else default_folder())
        explorer = Explorer(
            Controls(scenario, [PATH]), options, Board(), workers=workers, save=lambda run: Path(folder)
        )
        pool = Pool(ProcessBackend(partial(make_retimer, options)), workers)
        thread = threading.Thread(target=explorer.work, args=(pool,), daemon=True)
        thread.start()
        status = settled(explorer.board)
        print(f"{status['runs']} runs of {scenario.name}, {workers} processes")
        seconds = []
        for number in range(given.pairs + 1):  # the first is not counted
            seconds.append(reaction(explorer, f"{number + 1} ms"))
            assert not settled(explorer.board)["lacking"]
        explorer.end()
        thread.join()
        pool.close()
    for name, goal_s, all_s in zip(
        ("first curve", "all curves"), (FIRST_S, ALL_S), zip(*seconds[1:], strict=True), strict=True
    ):
        median_s = statistics.median(all_s)
        met = "met" if median_s <= goal_s else "MISSED"
        span = f"{min(all_s):.2f} to {max(all_s):.2f} s"
        print(f"  {name:11}  median {median_s:.2f} s, {span}  (goal <= {goal_s} s: {met})")


if __name__ == "__main__":
    main()
