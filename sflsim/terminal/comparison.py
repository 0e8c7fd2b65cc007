"""A comparison of variants for the terminal."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from sflsim.formatting import NONE, UNIT_OF, counted, in_unit, number_text, target_text
from sflsim.metrics.comparison import Comparison
from sflsim.report.summary_text import UNDECIDED
from sflsim.terminal.tables import add_columns, add_rows, new_table

Row = Mapping[Hashable, Any]
# By measure: the heading of its column, what is said of it in the legend, and the unit of what is spent.
ACCURACIES = {
    "accuracy_at_time": ("at equal time", "after {spent}", "s"),
    "mean_accuracy": ("over that time", "over the first {spent} (area under accuracy against time)", "s"),
    "accuracy_at_bytes": ("at equal bytes", "once {spent} are sent and received", "byte"),
    "accuracy_at_energy": ("at equal energy", "once the clients have used {spent}", "J"),
}
RATIO = (
    "Ratio: time to the target over the baseline's, geometric mean over the seeds. A run that missed it took "
    "longer than to its last evaluation ('>': at least, '<': at most).\n"
    "First: share of the seeds in which it was first, and where the chance of that lies."
)
DIFFERENCE = "Percentage points more than the baseline, mean over the seeds ± half of the interval."


def format_comparison(found: Comparison) -> Iterator[str | Table]:
    """Yield the times to the target, the accuracies at equal spending, and what is undecided."""
    yield f"Compared with {found.baseline}, seed by seed. Intervals of 95 %, each for itself."
    effects: dict[str, list[dict[Hashable, Any]]] = {
        str(name): rows.to_dict("records") for name, rows in found.effects.groupby("measure", sort=False)
    }
    if "time_s" in effects:
        yield _times(found, effects["time_s"])
    yield _accuracies(found.baseline, {name: effects[name] for name in ACCURACIES if name in effects})
    yield from _undecided(found)


def _times(found: Comparison, rows: Sequence[Row]) -> Table:
    assert found.target is not None, "times are those to a target"
    table = new_table(f"\nTime to {target_text(found.target)}", RATIO, padding=(0, 1, 0, 0))
    add_columns(table, ["variant"], overflow="fold")
    add_columns(table, ["verdict"], ["ratio", "interval", "seeds\nthere", "first (%)"])
    firsts = {row["variant"]: row for row in found.first.to_dict("records")}
    for row in rows:
        first = firsts[row["variant"]]
        share, low, high = (number_text(100 * first[name], 2) for name in ("share", "low", "high"))
        cells = [row["variant"], row["verdict"], _ratio(row), _interval(row)]
        cells += [f"{first['seeds_reached']}/{first['seeds']}", f"{share} ({low} to {high})"]
        add_rows(table, [cells])
    return table


def _ratio(row: Row) -> str:
    """Return the ratio of times; where runs were censored, the least or the most that it is."""
    sign = (
        "" if not row["censored"] or row["verdict"] == "baseline" else ">" if row["high"] == math.inf else "<"
    )
    return NONE if math.isnan(row["effect"]) else f"{sign}{number_text(row['effect'])}"


def _interval(row: Row) -> str:
    """Return the interval of a ratio, as far as something bounds it."""
    low, high = (number_text(row[end]) for end in ("low", "high"))
    if row["verdict"] == "baseline" or (row["low"] == 0 and row["high"] == math.inf):
        return NONE
    if row["low"] == 0:
        return f"under {high}"
    return f"over {low}" if row["high"] == math.inf else f"{low} to {high}"


def _accuracies(baseline: str, effects: Mapping[str, Sequence[Row]]) -> Table:
    lines = [f"{DIFFERENCE} In the row of {baseline}: its accuracy. '{UNDECIDED}': undecided."]
    for name, rows in effects.items():
        heading, words, unit = ACCURACIES[name]
        spent = in_unit(float(rows[0]["at"]), UNIT_OF[unit])
        lines.append(f"{heading.capitalize()}: {words.format(spent=spent)}.")
    table = new_table("\nAccuracy (%)", "\n".join(lines), padding=(0, 1, 0, 0))
    add_columns(table, ["variant"], overflow="fold")
    add_columns(table, [], [ACCURACIES[name][0].replace(" ", "\n", 1) for name in effects], no_wrap=True)
    columns = [[_difference(row) for row in rows] for rows in effects.values()]
    variants = [row["variant"] for rows in list(effects.values())[:1] for row in rows]
    add_rows(table, zip(variants, *columns, strict=True))
    return table


def _difference(row: Row) -> str:
    """Return the difference of an accuracy from the baseline's, or of the baseline the accuracy."""
    if row["verdict"] == "baseline":
        return NONE if math.isnan(row["value"]) else f"{100 * row['value']:.1f}"
    mark = UNDECIDED if row["verdict"] == "undecided" else ""
    if math.isnan(row["effect"]):
        return NONE
    half = row["high"] - row["effect"]
    return f"{100 * row['effect']:+z.1f}{f' ±{100 * half:.1f}' if math.isfinite(half) else ''}{mark}"


def _undecided(found: Comparison) -> Iterator[str]:
    """Yield a line for each variant that the seeds cannot tell from the baseline, with what would help."""
    rows = found.effects[found.effects["verdict"] == "undecided"]
    if rows.empty:
        yield "\nThese seeds decide all of it."
        return
    yield "\nUndecided with these seeds, and about how many more would decide (with a chance of 80 %):"
    for variant, of_variant in rows.groupby("variant", sort=False):
        parts = [f"{_words(str(row['measure']))} {_further(row)}" for row in of_variant.to_dict("records")]
        yield f"  {variant}: {', '.join(parts)}"


def _words(measure: str) -> str:
    return "time" if measure == "time_s" else f"accuracy {ACCURACIES[measure][0]}"


def _further(row: Row) -> str:
    """Return how many more seeds would decide."""
    further = row["more_seeds"]
    if math.isnan(further):
        return "(two seeds at least)" if row["seeds"] < 2 else "(longer runs, or a lower target)"
    return "(over 1000)" if further == math.inf else f"({counted(int(further), 'seed')})"
