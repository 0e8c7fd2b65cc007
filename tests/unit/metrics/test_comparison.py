"""Comparisons of variants against numbers worked out by hand."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from sflsim.metrics.comparison import Comparison, compare
from sflsim.metrics.intervals import bounded_interval, mean_interval, more_seeds, share_interval
from sflsim.metrics.summary import summarize
from sflsim.terminal.summary import format_summary

T_2 = 4.302652729696142
"""The 97.5 % point of Student's t with two degrees of freedom, from a printed table: 4.303."""


def tables(
    times_s: dict[str, list[float]],
    missed: dict[str, dict[int, str]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluations and runs: each run has accuracy 0 at 0 s and 1 at the time given for its seed.

    Those that `missed`, by variant and seed, have 0.5 there, and the status given.
    """
    missed = missed or {}
    points, ends = [], []
    for variant, of_variant in times_s.items():
        for seed, time_s in enumerate(of_variant):
            status = missed.get(variant, {}).get(seed)
            points += [(variant, seed, 0.0, 0.0), (variant, seed, time_s, 0.5 if status else 1.0)]
            ends.append((variant, seed, status or "completed"))
    evaluations = pd.DataFrame(points, columns=["variant", "seed", "time_s", "accuracy"])
    spent = {"uplink_bytes": 3.0, "downlink_bytes": 1.0, "energy_j": 10.0}
    evaluations = evaluations.assign(**{name: evaluations["time_s"] * rate for name, rate in spent.items()})
    return evaluations, pd.DataFrame(ends, columns=["variant", "seed", "status"])


def row(found: Comparison, variant: str, measure: str = "time_s") -> pd.Series:
    table = found.effects
    return table[(table["variant"] == variant) & (table["measure"] == measure)].iloc[0]


def first(found: Comparison, variant: str) -> list[float]:
    return found.first.set_index("variant").loc[variant, ["share", "low", "high"]].tolist()


def test_an_interval_is_that_of_student() -> None:
    """Of 1, 2, 3: the mean 2, the deviation 1."""
    half = T_2 / math.sqrt(3)
    assert mean_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2.0, 2 - half, 2 + half))
    assert mean_interval(np.array([5.0])) == (5.0, -math.inf, math.inf)
    assert mean_interval(np.array([]))[1:] == (-math.inf, math.inf)


@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 34), (0.8, 15), (1.0, 10), (-0.5, 34)])
def test_more_seeds_are_those_of_printed_tables(effect: float, seeds: int) -> None:
    """Pairs for 80 % power at 5 %, two-sided, by effect over deviation (Cohen's tables, G*Power)."""
    values = effect + np.array([-1.0, 0.0, 1.0])
    assert more_seeds(values, values) == seeds - 3


def test_more_seeds_where_none_help() -> None:
    """No difference is never found; one seed has no spread; bounds on both sides want longer runs."""
    same, one = np.zeros(3), np.ones(1)
    assert more_seeds(same, same) == math.inf
    assert more_seeds(np.array([-1.0, 0.0, 1.0]), np.array([-1.0, 0.0, 1.0])) == math.inf
    assert math.isnan(more_seeds(one, one))
    assert math.isnan(more_seeds(np.array([1.0, -math.inf]), np.array([1.0, math.inf])))


def test_a_bound_opens_one_side_alone() -> None:
    """The least that the mean can be has the interval of the lower bounds; nothing bounds it above."""
    low, high = np.array([1.0, 2.0, 3.0]), np.array([1.0, math.inf, 3.0])
    assert bounded_interval(low, high) == pytest.approx((2.0, 2 - T_2 / math.sqrt(3), math.inf))


def test_a_chance_is_that_of_clopper_and_pearson() -> None:
    """All of three: from the third root of 0.025; none of three: up to one minus it."""
    root = 0.025 ** (1 / 3)
    assert share_interval(3, 3, 3) == pytest.approx((1.0, root, 1.0))
    assert share_interval(0, 0, 3) == pytest.approx((0.0, 0.0, 1 - root))
    assert share_interval(0, 3, 3) == (0.0, 0.0, 1.0)


def test_the_ratio_of_times_is_geometric_and_paired() -> None:
    """Ratios 2, 4, 8: mean 4, deviation log 2, though neither variant's times are alike over the seeds."""
    found = compare(*tables({"a": [10, 100, 1000], "b": [20, 400, 8000]}), "a", 0.8)
    half = T_2 * math.log(2) / math.sqrt(3)
    b = row(found, "b")
    assert b[["effect", "low", "high"]].tolist() == pytest.approx(
        [4.0, 4 * math.exp(-half), 4 * math.exp(half)]
    )
    assert (b["seeds"], b["censored"], b["verdict"]) == (3, 0, "undecided")
    assert b["value"] == pytest.approx(400.0)
    assert row(found, "a")[["effect", "verdict"]].tolist() == [1.0, "baseline"]
    other = row(compare(*tables({"a": [10, 100, 1000], "b": [20, 400, 8000]}), "b", 0.8), "a")
    assert [1 / other["effect"], 1 / other["high"], 1 / other["low"]] == pytest.approx(
        b[["effect", "low", "high"]].tolist()
    )


def test_three_seeds_that_cannot_decide_are_undecided() -> None:
    """Ratios 0.9, 1.1, 1.05 of one variant; 2.0, 2.1, 2.2 of another are decided."""
    found = compare(*tables({"a": [100, 100, 100], "b": [90, 110, 105], "c": [200, 210, 220]}), "a", 0.8)
    assert [row(found, name)["verdict"] for name in "bc"] == ["undecided", "worse"]
    assert row(found, "b")["more_seeds"] > 30
    assert row(found, "c")["more_seeds"] == 0
    assert row(compare(*tables({"a": [200, 210, 220], "b": [100, 100, 100]}), "a", 0.8), "b")["verdict"] == (
        "better"
    )


def test_one_seed_decides_nothing() -> None:
    found = compare(*tables({"a": [1], "b": [100]}), "a", 0.8)
    assert set(found.effects["verdict"]) == {"baseline", "undecided"}
    assert row(found, "b")["effect"] == pytest.approx(100.0)
    assert math.isnan(row(found, "b")["more_seeds"])


def test_a_variant_that_misses_the_target_is_censored() -> None:
    """Seed 1 of b ran 40 s without it: at least 2, 4, 8 times as long. Dropped it would be 4 of two seeds."""
    missed = {"b": {1: "completed"}}
    b = row(compare(*tables({"a": [10, 10, 10], "b": [20, 40, 80]}, missed), "a", 0.8), "b")
    low = 4 * math.exp(-T_2 * math.log(2) / math.sqrt(3))
    assert (b["seeds"], b["censored"]) == (3, 1)
    assert b[["effect", "low", "high"]].tolist() == pytest.approx([4.0, low, math.inf])
    base = row(compare(*tables({"a": [10, 10, 10], "b": [20, 40, 80]}, missed), "b", 0.8), "a")
    assert base[["effect", "low", "high"]].tolist() == pytest.approx([0.25, 0.0, 1 / low])


def test_a_variant_that_always_misses_may_still_be_worse() -> None:
    """It ran 50 times as long as the baseline took, in every seed."""
    missed = dict.fromkeys(range(3), "completed")
    b = row(compare(*tables({"a": [10, 11, 12], "b": [500, 550, 600]}, {"b": missed}), "a", 0.8), "b")
    assert (b["verdict"], b["high"]) == ("worse", math.inf)
    assert b["effect"] == pytest.approx(50.0)


def test_two_that_both_miss_are_undecided_whatever_they_ran() -> None:
    missed = dict.fromkeys(range(3), "completed")
    found = compare(*tables({"a": [10, 11, 12], "b": [500, 550, 600]}, {"a": missed, "b": missed}), "a", 0.8)
    b = row(found, "b")
    assert (b["low"], b["high"], b["verdict"]) == (0.0, math.inf, "undecided")
    assert math.isnan(b["more_seeds"])
    assert first(found, "a") == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("status", ["diverged", "stalled"])
def test_a_run_that_cannot_go_on_took_longer_than_any_of_its_seed(status: str) -> None:
    """It ended after 1 s; the longest run of the seed took 90 s, the baseline 10 s."""
    times = {"a": [10, 10, 10], "b": [1, 1, 1], "c": [90, 90, 90]}
    b = row(compare(*tables(times, {"b": dict.fromkeys(range(3), status)}), "a", 0.8), "b")
    assert (b["effect"], b["verdict"]) == (pytest.approx(9.0), "worse")


def test_a_missing_run_is_no_pair() -> None:
    """An interrupted run has no row; the other seeds are compared."""
    evaluations, runs = tables({"a": [10, 10, 10], "b": [20, 20, 20]})
    kept = [table[(table["variant"] == "a") | (table["seed"] != 2)] for table in (evaluations, runs)]
    b = row(compare(*kept, "a", 0.8), "b")
    assert (b["seeds"], b["effect"]) == (2, pytest.approx(2.0))


def test_who_was_first() -> None:
    """a alone in seed 0, both in seed 1, b in seed 2: half of the seeds each."""
    found = compare(*tables({"a": [1, 5, 9], "b": [2, 5, 3], "c": [7, 7, 7]}), "a", 0.8)
    assert [first(found, name)[0] for name in "abc"] == [0.5, 0.5, 0.0]


def test_who_was_first_may_be_unknown() -> None:
    """b stopped at 5 s, before a got there at 10 s: it may have been there in between."""
    missed = {"b": dict.fromkeys(range(3), "completed")}
    found = compare(*tables({"a": [10, 10, 10], "b": [5, 20, 20]}, missed), "a", 0.8)
    two_of_three = share_interval(2, 3, 3)
    assert first(found, "a") == pytest.approx(list(two_of_three))
    assert first(found, "b") == pytest.approx([0.0, 0.0, share_interval(1, 1, 3).high])


def test_accuracies_at_equal_spending() -> None:
    """a is at 1 after 10 s, b after 20 s, on straight lines: at 10 s 1 and 0.5, their means 0.5 and 0.25."""
    found = compare(*tables({"a": [10, 10], "b": [20, 20]}), "a")
    assert found.target is None
    assert "time_s" not in set(found.effects["measure"])
    ats = {"accuracy_at_time": 10.0, "accuracy_at_bytes": 40.0, "accuracy_at_energy": 100.0}
    for measure, at in ats.items():
        b = row(found, "b", measure)
        assert b[["at", "value", "effect", "low", "high"]].tolist() == [at, 0.5, -0.5, -0.5, -0.5]
        assert b["verdict"] == "worse"
    b = row(found, "b", "mean_accuracy")
    assert b[["at", "value", "effect"]].tolist() == [10.0, 0.25, -0.25]


def test_accuracies_of_runs_that_diverged_do_not_count() -> None:
    """Neither for the means nor for how long is compared; one that stalled keeps what it has."""
    times = {"a": [10, 10, 10], "b": [20, 20, 2]}
    b = row(compare(*tables(times, {"b": {2: "diverged"}}), "a"), "b", "accuracy_at_time")
    assert b[["at", "seeds", "value"]].tolist() == [10.0, 2, 0.5]
    b = row(compare(*tables(times, {"b": {2: "stalled"}}), "a"), "b", "accuracy_at_time")
    assert b[["at", "seeds", "value"]].tolist() == [10.0, 3, 0.5]


def test_unknown_energy_is_not_compared() -> None:
    evaluations, runs = tables({"a": [10, 10], "b": [20, 20]})
    found = compare(evaluations.assign(energy_j=math.nan), runs, "a")
    assert "accuracy_at_energy" not in set(found.effects["measure"])


def test_a_target_that_the_untrained_model_has_decides_nothing() -> None:
    """Both are there at 0 s; a ratio of no time to no time is nothing."""
    evaluations, runs = tables({"a": [10, 10], "b": [20, 20]})
    found = compare(evaluations.assign(accuracy=1.0), runs, "a", 0.8)
    assert row(found, "b")["verdict"] == "undecided"
    assert [first(found, name)[0] for name in "ab"] == [0.5, 0.5]


def test_the_summary_marks_what_the_seeds_cannot_tell_from_the_fastest() -> None:
    """b is beside a; c is not; d missed the target, and ended before a got there."""
    times = {"a": [100, 100, 100], "b": [90, 110, 115], "c": [200, 210, 220], "d": [50, 50, 50]}
    evaluations, runs = tables(times, {"d": dict.fromkeys(range(3), "completed")})
    assert summarize(evaluations, runs, 0.8)["undecided"].tolist() == [False, True, False, True]
    assert not summarize(evaluations, runs)["undecided"].any()
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(format_summary(summarize(evaluations.assign(round=1), runs, 0.8)))
    assert isinstance(console.file, io.StringIO)
    marked = [line[0] for line in console.file.getvalue().splitlines() if "~ " in line and line[1:2] == " "]
    assert marked == ["b"]
    alone = evaluations["seed"] == 0
    assert not summarize(evaluations[alone], runs[runs["seed"] == 0], 0.8)["undecided"].any()
