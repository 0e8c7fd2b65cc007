"""A sweep on a terminal: its progress while it is computed, its table when it is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pandas as pd
from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from sflsim.formatting import NONE, byte_unit, in_one_unit, seconds_text, target_text, time_unit
from sflsim.sweeps.sweep import Sweep, SweepProgress
from sflsim.terminal.plan import over_lines
from sflsim.terminal.progress import LINE_EVERY_S

ROWS_SHOWN = 60


@contextmanager
def sweep_shown(console: Console) -> Iterator[Callable[[SweepProgress], None]]:
    """Yield a progress callback that draws on `console` until the block ends."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("sweep"), BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=1.0)

        def show(step: SweepProgress) -> None:
            bars.update(task, completed=step.runs_done / step.runs, description=_facts(step))

        yield show


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0

    def __call__(self, step: SweepProgress) -> None:
        if step.runs_done < step.runs and time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + LINE_EVERY_S
        self._console.print(_facts(step), highlight=False, markup=False)


def _facts(step: SweepProgress) -> str:
    extra = f", {step.broken} broken" if step.broken else ""
    extra += f", {step.workers_lost} workers lost" if step.workers_lost else ""
    left = "?" if math.isnan(step.left_s) else seconds_text(step.left_s)
    return (
        f"{step.points_done} of {step.points} points, {step.runs_done} of {step.runs} runs; "
        f"{step.trainings} trained, {step.shared} shared{extra}; about {left} left"
    )


def format_sweep(sweep: Sweep, console: Console) -> Iterator[Table | Text]:
    """Yield the sweep's summary, a row per point and variant (at most ROWS_SHOWN), and what to know of it."""
    rows = sweep.summary()
    columns = _columns(sweep, rows.head(ROWS_SHOWN))
    table = _table(columns, {path: path for path in sweep.over})
    unlimited = console.options.update(width=1_000_000)
    if console.measure(table, options=unlimited).maximum > console.width:
        table = _table(columns, {path: over_lines(path) for path in sweep.over})
    yield table
    yield Text(_caption(sweep, len(rows)), style="italic")


def _table(columns: Mapping[str, Sequence[str]], swept: Mapping[str, str]) -> Table:
    """Return a table of texts; `swept` gives the heading of each path, of which no line is broken."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for header in columns:
        if header in ("variant", *swept):
            text = Text(swept.get(header, header))  # Text: paths have brackets, which are no markup
            widest = max(map(len, text.plain.splitlines()))
            table.add_column(text, overflow="fold", vertical="bottom", min_width=widest)
        else:
            table.add_column(Text(header.replace(" ", "\n")), justify="right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _columns(sweep: Sweep, rows: pd.DataFrame) -> dict[str, list[str]]:
    columns = {name: [str(cell) for cell in rows[name]] for name in ("point", *sweep.over, "variant")}
    if rows["broken"].any():
        columns["broken"] = [str(count) if count else "" for count in rows["broken"]]
    columns["accuracy (%)"] = [NONE if math.isnan(one) else f"{100 * one:.1f}" for one in rows["accuracy"]]
    if sweep.table["target"].notna().any():
        pairs = zip(rows["reached"], rows["seeds"], strict=True)
        columns["seeds there"] = [f"{reached}/{seeds}" for reached, seeds in pairs]
    for column, header, unit_of in (("time_s", "time", time_unit), ("uplink_bytes", "uplink", byte_unit)):
        header, texts = in_one_unit(header, rows[column], unit_of)
        columns[header] = texts
    return columns


def _caption(sweep: Sweep, rows: int) -> str:
    targets = sorted(set(sweep.table["target"].dropna()))
    end = f"first evaluation at {' or '.join(map(target_text, targets))}" if targets else "end of the run"
    whole = "; accuracy at the end of the run" if targets else ""
    lines = [f"Means over seeds; time and uplink up to the {end}{whole}."]
    broken = sweep.table[sweep.table["status"] != "completed"]
    if len(broken):
        first = broken.iloc[0]
        why = first["error"] or f"{first['status']} {first['reason']}"
        lines.append(f"{len(broken)} of {len(sweep.table)} runs broken, first point {first['point']}: {why}")
    if rows > ROWS_SHOWN:
        lines.append(f"The first {ROWS_SHOWN} of {rows} rows; all are in sweep.csv.")
    done = sweep.manifest
    lines.append(
        f"{done['points']} points, {done['runs']} runs: {done['trainings']} trained, {done['shared']} shared."
    )
    return "\n".join(lines)
