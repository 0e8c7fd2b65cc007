"""Times two things against each other in one process, pair by pair, and prints their ratios.

A machine's speed drifts, so each pair runs both sides one after the other, in alternating order,
and only the ratio of a pair counts. Imports torch only to hold it to one thread.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Side = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """The ratios of several pairs; `goal` bounds their median, from above or, `at_least`, from below."""

    name: str
    ratios: list[float]
    goal: float
    at_least: bool = False

    @property
    def median(self) -> float:
        """Return the median ratio."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """Return whether the median keeps to the goal."""
        return self.median >= self.goal if self.at_least else self.median <= self.goal


def options(description: str, **counts: str) -> argparse.Namespace:
    """Return the command line's `quick`, `pairs` and `counts` (name -> help); hold torch to one thread."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: the same code, fewer repetitions"
    )
    parser.add_argument("--pairs", type=int, help="repetitions of each comparison")
    for name, text in counts.items():
        parser.add_argument(f"--{name}", type=int, help=text)
    given = parser.parse_args()
    given.pairs = given.pairs or (2 if given.quick else 9)
    torch.set_num_threads(1)
    return given


def pair_ratios(numerator: Side, denominator: Side, pairs: int) -> list[float]:
    """Return time of `numerator` / time of `denominator` for each pair, after one untimed run of each."""
    numerator()
    denominator()
    ratios = []
    for number in range(pairs):
        if number % 2:
            below_s, above_s = seconds(denominator), seconds(numerator)
        else:
            above_s, below_s = seconds(numerator), seconds(denominator)
        ratios.append(above_s / below_s)
    return ratios


def seconds(side: Side) -> float:
    """Return the wall-clock time of one run, started without garbage of the last."""
    gc.collect()
    started = time.perf_counter()
    side()
    return time.perf_counter() - started


def report(title: str, comparisons: list[Comparison]) -> None:
    """Print one line per comparison; a missed goal is said, not raised: machines are noisy."""
    width = max(len(one.name) for one in comparisons)
    print(title)
    print(f"{'':{width}}     min  median     max  goal")
    for one in comparisons:
        sign = ">=" if one.at_least else "<="
        print(
            f"{one.name:{width}}  {min(one.ratios):6.3f}  {one.median:6.3f}  {max(one.ratios):6.3f}  "
            f"{sign} {one.goal:.2f}  {'met' if one.met else 'MISSED'}"
        )
