"""The live progress of a command: bars on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from sflsim.experiment.simulate import Progress
from sflsim.formatting import NONE, counted, seconds_text
from sflsim.sweeps.sweep import SweepProgress
from sflsim.terminal.notebook import NotebookBars

if TYPE_CHECKING:
    from sflsim.explainer.explain import ExplainProgress
    from sflsim.planner.progress import PlanProgress

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


class Drawn(Protocol):
    """Bars: those of rich on a terminal, those of a notebook."""

    def add_task(self, description: str, *, total: float, facts: str) -> Any:
        """Add a bar and return what names it."""

    def update(self, task: Any, /, *, completed: float, facts: str, visible: bool) -> None:
        """Move a bar, and change what stands beside it."""


@contextmanager
def _drawn(console: Console) -> Iterator[Drawn | None]:
    """Yield bars with a description on the left and facts on the right; None where nothing can be redrawn."""
    if console.is_jupyter:
        bars = NotebookBars()
        yield bars
        bars.draw()
    elif console.is_terminal:
        name, facts = (
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[facts]}", markup=False),
        )
        with Bars(name, BarColumn(bar_width=24), facts, console=console, transient=True) as drawn:
            yield drawn
    else:
        yield None


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

    with _drawn(console) as bars:
        yield _run_lines(_Lines(console), left) if bars is None else _run_bars(bars, left)


def _run_lines(print_line: _Lines, left: Callable[[Progress], str]) -> Callable[[Progress], None]:
    """Return what prints a line on the run that has just moved."""

    def show(step: Progress) -> None:
        state = "" if step.status in ("running", "completed") else f" {step.status};"
        beside = f", {counted(step.workers, 'worker')}" if step.workers > 1 else ""
        about = f"[{step.runs_done}/{step.runs}{beside}] {step.variant} seed {step.seed}:{state}"
        print_line(f"{about} {_run_facts(step)}; {left(step)} left", last=step.status != "running")

    return show


def _run_bars(bars: Drawn, left: Callable[[Progress], str]) -> Callable[[Progress], None]:
    """Return what draws a bar for all runs and one for each that is computed."""
    tasks: dict[tuple[str, int], Any] = {}
    whole = bars.add_task("all runs", total=1.0, facts="")

    def show(step: Progress) -> None:
        key = (step.variant, step.seed)
        if key not in tasks:
            tasks[key] = bars.add_task(f"{step.variant} seed {step.seed}", total=1.0, facts="")
        running = step.status == "running"
        bars.update(tasks[key], completed=step.share, facts=_run_facts(step), visible=running)
        done = f"{step.runs_done} of {counted(step.runs, 'run')} done"
        facts = f"{done}, {counted(step.workers, 'worker')}, about {left(step)} left"
        bars.update(whole, completed=step.runs_done / step.runs, facts=facts, visible=True)

    return show


def _run_facts(step: Progress) -> str:
    accuracy = "" if math.isnan(step.accuracy) else f", accuracy {step.accuracy:.1%}"
    return f"round {step.round}, simulated {seconds_text(step.time_s)}{accuracy}"


@contextmanager
def sweep_shown(console: Console) -> Iterator[Callable[[SweepProgress], None]]:
    """Yield the progress callback of a sweep."""
    with _drawn(console) as bars:
        if bars is None:
            print_line = _Lines(console)
            yield lambda step: print_line(_sweep_facts(step), last=step.runs_done >= step.runs)
            return
        task = bars.add_task("sweep", total=1.0, facts="starting")
        yield lambda step: bars.update(
            task, completed=step.runs_done / step.runs, facts=_sweep_facts(step), visible=True
        )


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
def words_shown(console: Console, first: str) -> Iterator[Callable[[ExplainProgress | PlanProgress], None]]:
    """Yield the progress callback of a plan, or of an explanation; what it does `first` is shown at once."""
    if console.is_terminal:
        with console.status(Text(first)) as status:
            yield lambda step: status.update(Text(str(step)))
        return
    with _drawn(console) as bars:
        if bars is None:
            console.print(first)
            print_line = _Lines(console)
            yield lambda step: print_line(str(step))
            return
        task = bars.add_task("", total=1.0, facts=first)
        yield lambda step: bars.update(
            task, completed=step.done / max(step.total, 1), facts=str(step), visible=True
        )


@contextmanager
def show_progress() -> Iterator[Callable[[Any], None]]:
    """Yield what `simulate`, `sweep`, `plan` and `explain` take as `progress`; it shows bars.

    They are drawn on a terminal and in a notebook, until the block ends. Elsewhere a line is printed now and
    then, to standard error.
    """
    console = Console(stderr=True)
    kind: type | None = None
    shown: list[Any] = []  # what shows steps of this kind
    with ExitStack() as stack:

        def told(step: Any) -> None:
            nonlocal kind
            if type(step) is not kind:  # another command in the same block
                stack.close()
                entered: AbstractContextManager[Any]
                if isinstance(step, Progress):
                    entered = run_shown(console)
                elif isinstance(step, SweepProgress):
                    entered = sweep_shown(console)
                else:
                    entered = words_shown(console, str(step))
                kind = type(step)
                shown[:] = [stack.enter_context(entered)]
            shown[0](step)

        yield told
