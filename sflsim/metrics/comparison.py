"""The variants of a run compared with one of them, seed by seed, as all see the same fleet and slowdowns.

A run that missed the target is censored: its time is more than what it ran.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sflsim.metrics.intervals import Interval, Values, bounded_interval, more_seeds, share_interval
from sflsim.metrics.tables import RUN_COLUMNS, first_at_target, last_evaluations, measured, with_columns

EFFECTS = (
    "variant",
    "measure",
    "at",
    "seeds",
    "censored",
    "value",
    "effect",
    "low",
    "high",
    "verdict",
    "more_seeds",
)
FIRST = ("variant", "seeds", "seeds_reached", "share", "low", "high")
TIME = "time_s"
BUDGETS = {
    "accuracy_at_time": "time_s",
    "accuracy_at_bytes": "bytes",
    "accuracy_at_energy": "energy_j",
}
"""Accuracies at equal spending, and what is spent."""
MEAN_ACCURACY = "mean_accuracy"
BASELINE, BETTER, WORSE, UNDECIDED = "baseline", "better", "worse", "undecided"


@dataclass(frozen=True)
class Comparison:
    """What sets variants apart from `baseline`, and what the seeds cannot decide.

    `effects` has a row per variant and measure. `time_s`: the time to `target`, and the geometric mean of its
    ratio to the baseline's. `accuracy_at_time`, `accuracy_at_bytes`, `accuracy_at_energy`: the accuracy once
    `at` seconds, bytes (up and down) or joules are spent, the most that every run reached; `mean_accuracy`:
    the area under accuracy against time up to `at`, divided by it; of these the mean difference from the
    baseline's. `seeds` are those in which both have a value, `censored` those of them in which one or both
    missed the target; `value` is the mean over them (of times geometric, at least this where censored).
    `low` and `high` are the ends of the 95 % interval of `effect`, `more_seeds` about how many further seeds
    would decide (infinite: over a thousand; NaN: not to be said, or longer runs are wanted).

    `first` says in which `share` of the seeds each variant was the first at the target (equals share a seed),
    and from where to where the chance of it lies.
    """

    baseline: str
    target: float | None
    effects: pd.DataFrame
    first: pd.DataFrame


@dataclass(frozen=True)
class _Values:
    """Bounds of one measure, [variants, seeds]; equal where it is known, NaN where there is none."""

    variants: list[str]
    low: Values
    high: Values


def compare(
    evaluations: pd.DataFrame, runs: pd.DataFrame, baseline: str, target: float | None = None
) -> Comparison:
    """Return how the variants of a run differ from `baseline`; without a target no times are compared."""
    runs = with_columns(runs, RUN_COLUMNS)
    times = None if target is None else times_to_target(evaluations, runs, target)
    rows = [] if times is None else list(_effects(TIME, math.nan, times, baseline))
    for measure, at, values in _accuracies(evaluations, runs):
        rows += _effects(measure, at, values, baseline)
    first = [] if times is None else list(_first(times))
    return Comparison(
        baseline, target, pd.DataFrame(rows, columns=list(EFFECTS)), pd.DataFrame(first, columns=list(FIRST))
    )


def times_to_target(evaluations: pd.DataFrame, runs: pd.DataFrame, target: float) -> _Values:
    """Return the times to the target in s: a run that missed it took longer than to its last evaluation.

    One that diverged or stalled would never have got there: it took longer than any run of its seed.
    """
    reached = _by_seed(first_at_target(evaluations, target), "time_s", runs)
    ends = _by_seed(last_evaluations(measured(evaluations)), "time_s", runs)
    never = _by_seed(runs.assign(never=runs["status"].isin(["diverged", "stalled"])), "never", runs) == 1
    longest = np.nanmax(np.append(ends, np.zeros((1, ends.shape[1])), axis=0), axis=0)
    least = np.where(never, longest, ends)
    low = np.where(np.isnan(reached), least, reached)
    return _Values(_names(runs), low, np.where(np.isnan(reached) & ~np.isnan(low), math.inf, reached))


def undecided_beside_fastest(times: _Values) -> list[str]:
    """Return the variants whose times the seeds cannot tell from those of the fastest.

    The fastest has reached the target in most seeds, and has of these the least geometric mean.
    """
    reached = np.isfinite(times.high).sum(axis=1)
    if not times.variants or not reached.max() or times.low.shape[1] < 2:
        return []
    with np.errstate(divide="ignore"):
        means = np.nanmean(np.log(times.low), axis=1, where=~np.isnan(times.low))
    fastest = times.variants[int(np.where(reached == reached.max(), means, math.inf).argmin())]
    rows = _effects(TIME, math.nan, times, fastest)
    return [row["variant"] for row in rows if row["verdict"] == UNDECIDED]


def _names(runs: pd.DataFrame) -> list[str]:
    return [str(name) for name in runs["variant"].unique()]


def _by_seed(table: pd.DataFrame, column: str, runs: pd.DataFrame) -> Values:
    """Return a column of a table with one row per variant and seed as [variants, seeds], those of `runs`."""
    rows = {name: row for row, name in enumerate(_names(runs))}
    columns = {int(seed): column for column, seed in enumerate(runs["seed"].unique())}
    wide = np.full((len(rows), len(columns)), math.nan)
    for variant, seed, value in zip(table["variant"], table["seed"], table[column], strict=True):
        if str(variant) in rows and int(seed) in columns:
            wide[rows[str(variant)], columns[int(seed)]] = value
    return wide


def _accuracies(evaluations: pd.DataFrame, runs: pd.DataFrame) -> Iterator[tuple[str, float, _Values]]:
    """Yield each measure of accuracy with the spending that it is at; those of runs that did not diverge.

    A run that stalled keeps its accuracy. Between two evaluations it lies on the line, as in the picture.
    """
    keys = zip(runs["variant"], runs["seed"], strict=True)
    status: dict[Any, str] = dict(zip(keys, runs["status"], strict=True))
    table = measured(evaluations)
    table = table.assign(bytes=table["uplink_bytes"] + table["downlink_bytes"])
    curves = {
        key: rows.sort_values("time_s", kind="stable")
        for key, rows in table.groupby(["variant", "seed"], sort=False)
        if status.get(key) != "diverged"
    }
    whole = [rows for key, rows in curves.items() if status.get(key) != "stalled"] or list(curves.values())
    for measure, column in BUDGETS.items():
        at = min((float(rows[column].iloc[-1]) for rows in whole), default=math.nan)
        if at > 0:
            yield measure, at, _each(curves, runs, column, np.array([at]))
            if column == "time_s":
                yield MEAN_ACCURACY, at, _each(curves, runs, column, np.array([0.0, at]))


def _each(curves: Mapping[Any, pd.DataFrame], runs: pd.DataFrame, column: str, ends: Values) -> _Values:
    """Return of each curve its accuracy at one end, or its mean between two."""
    rows = []
    for (variant, seed), curve in curves.items():
        spent, accuracy = curve[column].to_numpy(float), curve["accuracy"].to_numpy(float)
        inside = spent[(spent > ends[0]) & (spent < ends[-1])]
        points = np.concatenate([ends[:1], inside, ends[1:]])
        heights = np.interp(points, spent, accuracy)
        area = np.diff(points) @ (heights[1:] + heights[:-1]) / 2
        mean = heights[0] if len(ends) == 1 else area / (ends[1] - ends[0])
        rows.append((variant, seed, mean))
    values = _by_seed(pd.DataFrame(rows, columns=["variant", "seed", "mean"]), "mean", runs)
    return _Values(_names(runs), values, values)


def _effects(measure: str, at: float, values: _Values, baseline: str) -> Iterator[dict[str, Any]]:
    """Yield a row per variant: its mean, and what sets it apart from the baseline in the seeds of both."""
    is_ratio, base = measure == TIME, values.variants.index(baseline)
    with np.errstate(divide="ignore"):
        lows, highs = (np.log(bound) if is_ratio else bound for bound in (values.low, values.high))
    for number, variant in enumerate(values.variants):
        paired = ~np.isnan(lows[[number, base]]).any(axis=0)
        low, high, base_low, base_high = (
            bound[row, paired] for row in (number, base) for bound in (lows, highs)
        )
        mean = float(low.mean()) if len(low) else math.nan
        effect, verdict, further = Interval(0.0, 0.0, 0.0), BASELINE, 0.0
        if number != base:
            with np.errstate(invalid="ignore"):  # of times of zero
                least, most = low - base_high, high - base_low
            effect = bounded_interval(least, most)
            verdict = _verdict(effect, less_is_better=is_ratio)
            further = more_seeds(least, most) if verdict == UNDECIDED else 0.0
        if is_ratio:
            mean, effect = float(np.exp(mean)), Interval(*np.exp(effect).tolist())
        yield {
            "variant": variant,
            "measure": measure,
            "at": at,
            "seeds": int(paired.sum()),
            "censored": int((np.isinf(high) | np.isinf(base_high)).sum()),
            "value": mean,
            **dict(zip(("effect", "low", "high"), effect, strict=True)),
            "verdict": verdict,
            "more_seeds": further,
        }


def _verdict(effect: Interval, less_is_better: bool) -> str:
    """Return on which side of zero the interval lies."""
    if effect.low > 0:
        return WORSE if less_is_better else BETTER
    if effect.high < 0:
        return BETTER if less_is_better else WORSE
    return UNDECIDED


def _first(times: _Values) -> Iterator[dict[str, Any]]:
    """Yield a row per variant: in which share of the seeds it was first at the target.

    Where a run that missed the target ended before the first of the others got there, or where none did,
    each that may have been first counts for the upper end alone.
    """
    complete = ~np.isnan(times.low).any(axis=0)
    low, high = times.low[:, complete], times.high[:, complete]
    best = high.min(axis=0)
    there = (high == best) & np.isfinite(best)
    is_known = (there | (low >= best)).all(axis=0)
    certain = np.where(there & is_known, 1 / np.maximum(there.sum(axis=0), 1), 0.0)
    possible = np.where(is_known & there.any(axis=0), certain, there | (low < best))
    for number, variant in enumerate(times.variants):
        share = share_interval(certain[number].sum(), possible[number].sum(), low.shape[1])
        reached = int(np.isfinite(times.high[number]).sum())
        yield dict(zip(FIRST, (variant, low.shape[1], reached, *share), strict=True))
