"""A sweep as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sflsim.formatting import counted, target_text
from sflsim.sweeps.columns import sweep_columns
from sflsim.sweeps.sweep import Sweep
from sflsim.terminal.tables import add_rows, new_table, over_lines

ROWS_SHOWN = 60


def format_sweep(sweep: Sweep, console: Console) -> Iterator[Table | Text]:
    """Yield the sweep's summary, a row per point and variant (at most ROWS_SHOWN), and what to know of it."""
    rows = sweep.summary()
    columns = sweep_columns(sweep, rows.head(ROWS_SHOWN))
    table = _table(columns, {path: path for path in sweep.over})
    unlimited = console.options.update(width=1_000_000)
    if console.measure(table, options=unlimited).maximum > console.width:
        table = _table(columns, {path: over_lines(path) for path in sweep.over})
    yield table
    yield Text(_caption(sweep, len(rows)), style="italic")


def _table(columns: Mapping[str, Sequence[str]], swept: Mapping[str, str]) -> Table:
    """Return a table of texts; `swept` gives the heading of each path, of which no line is broken."""
    table = new_table(padding=0)
    for header in columns:
        if header in ("variant", *swept):
            text = Text(swept.get(header, header))  # Text: paths have brackets, which are no markup
            widest = max(map(len, text.plain.splitlines()))
            table.add_column(text, overflow="fold", vertical="bottom", min_width=widest)
        else:
            table.add_column(Text(header.replace(" ", "\n")), justify="right", no_wrap=True)
    add_rows(table, zip(*columns.values(), strict=True))
    return table


def _caption(sweep: Sweep, rows: int) -> str:
    targets = sorted(set(sweep.table["target"].dropna()))
    end = f"first evaluation at {' or '.join(map(target_text, targets))}" if targets else "end of the run"
    whole = "; accuracy at the end of the run" if targets else ""
    lines = [f"Means over seeds; time and uplink up to the {end}{whole}."]
    broken = sweep.table[sweep.table["status"] != "completed"]
    if len(broken):
        first = broken.iloc[0]
        why = first["error"] or f"{first['status']} {first['reason']}"
        lines.append(
            f"{len(broken)} of {counted(len(sweep.table), 'run')} broken, first point {first['point']}: {why}"
        )
    if rows > ROWS_SHOWN:
        lines.append(f"The first {ROWS_SHOWN} of {rows} rows; all are in sweep.csv.")
    done = sweep.manifest
    lines.append(
        f"{counted(done['points'], 'point')}, {counted(done['runs'], 'run')}: "
        f"{done['trainings']} trained, {done['shared']} shared."
    )
    return "\n".join(lines)
