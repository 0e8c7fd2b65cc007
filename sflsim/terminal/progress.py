"""The live progress of a run, a sweep or a plan: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from sflsim.experiment.simulate import Progress
from sflsim.formatting import NONE, counted, seconds_text
from sflsim.sweeps.sweep import SweepProgress

LINE_EVERY_S = 5.0


class _Lines:
    """Prints a line now and then, and whenever it is the last of something."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = time.monotonic() + LINE_EVERY_S

    def __call__(self, text: str, last: bool = False) -> None:
        if last or time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LINE_EVERY_S
            self._console.print(text, highlight=False, markup=False)


def _bars(console: Console) -> Bars:
    """Return bars with a description on the left and facts on the right."""
    name, facts = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    return Bars(name, BarColumn(bar_width=24), facts, console=console, transient=True)


@contextmanager
def run_shown(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yield the progress callback of a run; it draws on `console` until the block ends."""
    shares: dict[tuple[str, int], float] = {}
    cached: set[tuple[str, int]] = set()

    def left(step: Progress) -> str:
        """Return the real time left, from the share of all work done so far; cached runs are no work."""
        run = step.variant, step.seed
        shares[run] = step.share
        if step.cached:
            cached.add(run)
        done = sum(share for other, share in shares.items() if other not in cached)
        left_s = step.real_s * (step.runs - len(cached) - done) / done if done else math.nan
        return seconds_text(0.0 if step.runs_done == step.runs else left_s).replace(NONE, "?")

    if console.is_terminal:
        with _bars(console) as bars:
            yield _run_bars(bars, left)
        return
    print_line = _Lines(console)

    def show(step: Progress) -> None:
        state = "" if step.status in ("running", "completed") else f" {step.status};"
        beside = f", {counted(step.workers, 'worker')}" if step.workers > 1 else ""
        about = f"[{step.runs_done}/{step.runs}{beside}] {step.variant} seed {step.seed}:{state}"
        print_line(f"{about} {_run_facts(step)}; {left(step)} left", last=step.status != "running")

    yield show


def _run_bars(bars: Bars, left: Callable[[Progress], str]) -> Callable[[Progress], None]:
    """Return what draws a bar for all runs and one for each that is computed."""
    tasks: dict[tuple[str, int], TaskID] = {}
    whole = bars.add_task("all runs", total=1.0, facts="")

    def show(step: Progress) -> None:
        key = (step.variant, step.seed)
        if key not in tasks:
            tasks[key] = bars.add_task(f"{step.variant} seed {step.seed}", total=1.0, facts="")
        running = step.status == "running"
        bars.update(tasks[key], completed=step.share, facts=_run_facts(step), visible=running)
        done = f"{step.runs_done} of {counted(step.runs, 'run')} done"
        facts = f"{done}, {counted(step.workers, 'worker')}, about {left(step)} left"
        bars.update(whole, completed=step.runs_done / step.runs, facts=facts)

    return show


def _run_facts(step: Progress) -> str:
    accuracy = "" if math.isnan(step.accuracy) else f", accuracy {step.accuracy:.1%}"
    return f"round {step.round}, simulated {seconds_text(step.time_s)}{accuracy}"


@contextmanager
def sweep_shown(console: Console) -> Iterator[Callable[[SweepProgress], None]]:
    """Yield the progress callback of a sweep."""
    if console.is_terminal:
        with _bars(console) as bars:
            task = bars.add_task("sweep", total=1.0, facts="starting")
            yield lambda step: bars.update(
                task, completed=step.runs_done / step.runs, facts=_sweep_facts(step)
            )
        return
    print_line = _Lines(console)
    yield lambda step: print_line(_sweep_facts(step), last=step.runs_done >= step.runs)


def _sweep_facts(step: SweepProgress) -> str:
    extra = f", {step.broken} broken" if step.broken else ""
    extra += f", {counted(step.workers_lost, 'worker')} lost" if step.workers_lost else ""
    left = "?" if math.isnan(step.left_s) else seconds_text(step.left_s)
    return (
        f"{step.points_done} of {counted(step.points, 'point')}, {step.runs_done} of "
        f"{counted(step.runs, 'run')}, {counted(step.workers, 'worker')}; "
        f"{step.trainings} trained, {step.shared} shared{extra}; about {left} left"
    )


@contextmanager
def words_shown(console: Console, first: str) -> Iterator[Callable[[object], None]]:
    """Yield the progress callback of a plan, or of an explanation; what it does `first` is shown at once."""
    if console.is_terminal:
        with console.status(Text(first)) as status:
            yield lambda step: status.update(Text(str(step)))
        return
    console.print(first)
    print_line = _Lines(console)
    yield lambda step: print_line(str(step))
