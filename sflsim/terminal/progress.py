"""The live progress of a simulation: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from sflsim.experiment.simulate import Progress
from sflsim.formatting import seconds_text

LINE_EVERY_S = 5.0


@contextmanager
def shown(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yield a progress callback that draws on `console` until the block ends."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    bars = Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[facts]}", markup=False),
        console=console,
        transient=True,
    )
    with bars:
        yield _Bars(bars)


class _Estimate:
    """Real time left, from the share of all work done so far."""

    def __init__(self) -> None:
        self._shares: dict[tuple[str, int], float] = {}

    def left(self, step: Progress) -> str:
        self._shares[step.variant, step.seed] = step.share
        done = sum(self._shares.values()) / step.runs
        return seconds_text(step.real_s * (1 - done) / done) if done > 0 else "?"


class _Bars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._estimate = _Estimate()
        self._all = bars.add_task("all runs", total=1.0, facts="")

    def __call__(self, step: Progress) -> None:
        key = (step.variant, step.seed)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(f"{step.variant} seed {step.seed}", total=1.0, facts="")
        self._bars.update(self._tasks[key], completed=step.share, facts=_facts(step))
        if step.status != "running":
            self._bars.update(self._tasks[key], visible=False)
        left = self._estimate.left(step)
        facts = f"{step.runs_done} of {step.runs} done, about {left} left"
        self._bars.update(self._all, completed=step.runs_done / step.runs, facts=facts)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._estimate = _Estimate()
        self._next_s = time.monotonic() + LINE_EVERY_S

    def __call__(self, step: Progress) -> None:
        left = self._estimate.left(step)
        if step.status == "running" and time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + LINE_EVERY_S
        state = "" if step.status in ("running", "completed") else f" {step.status};"
        self._console.print(
            f"[{step.runs_done}/{step.runs}] {step.variant} seed {step.seed}:{state} {_facts(step)}; "
            f"{left} left",
            highlight=False,
            markup=False,
        )


def _facts(step: Progress) -> str:
    accuracy = "" if math.isnan(step.accuracy) else f", accuracy {step.accuracy:.1%}"
    return f"round {step.round}, simulated {seconds_text(step.time_s)}{accuracy}"
