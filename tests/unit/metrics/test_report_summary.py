"""The summary against numbers worked out by hand."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from sflsim.formatting import byte_unit, mean_text, number_text, seconds_text, target_text, time_unit
from sflsim.metrics.summary import SUMMARY_COLUMNS, summarize
from sflsim.terminal.summary import format_summary


def evaluations(*rows: tuple[str, int, float, int, float]) -> pd.DataFrame:
    """Rows (variant, seed, time_s, round, accuracy); each round costs 1 KiB up, 512 B down, 2 s and 3 s."""
    table = pd.DataFrame(rows, columns=["variant", "seed", "time_s", "round", "accuracy"])
    costs = {"uplink_bytes": 1024.0, "downlink_bytes": 512.0, "client_busy_s": 2.0, "server_busy_s": 3.0}
    return table.assign(**{name: table["round"] * cost for name, cost in costs.items()})


def runs(*rows: tuple[str, int, str], memory_bytes: float = 2048.0) -> pd.DataFrame:
    """Rows (variant, seed, status) of runs of 40 rounds and 400 s."""
    table = pd.DataFrame(rows, columns=["variant", "seed", "status"])
    return table.assign(rounds=40, time_s=400.0, server_busy_s=120.0, client_memory_bytes=memory_bytes)


EVALUATIONS = evaluations(
    ("slow", 0, 0.0, 0, 0.1),
    ("slow", 0, 100.0, 10, 0.5),
    ("slow", 0, 200.0, 20, 0.9),
    ("slow", 0, 300.0, 30, 0.8),
    ("slow", 1, 0.0, 0, 0.1),
    ("slow", 1, 120.0, 10, 0.95),
    ("slow", 1, 240.0, 20, 1.0),
    ("bad", 0, 0.0, 0, 0.1),
    ("bad", 0, 50.0, 10, 0.2),
)
RUNS = runs(("slow", 0, "completed"), ("slow", 1, "completed"), ("bad", 0, "diverged"))


def test_costs_are_means_at_the_first_evaluation_at_or_above_the_target() -> None:
    """Seed 0 gets to 90 % in round 20 at 200 s (a later fall does not count), seed 1 in round 10 at 120 s."""
    row = summarize(EVALUATIONS, RUNS, 0.9).iloc[0]

    assert (row["variant"], row["seeds"], row["seeds_reached"], row["target"]) == ("slow", 2, 2, 0.9)
    assert (row["rounds"], row["time_s"]) == (15.0, 160.0)
    assert (row["uplink_bytes"], row["downlink_bytes"]) == (15 * 1024.0, 15 * 512.0)
    assert (row["client_busy_s"], row["server_busy_s"], row["peak_memory_bytes"]) == (30.0, 45.0, 2048.0)


def test_final_accuracy_is_the_mean_and_sample_deviation_of_the_last_evaluations() -> None:
    """The last evaluations are 0.8 and 1.0: mean 0.9, deviation 0.1 x sqrt 2."""
    row = summarize(EVALUATIONS, RUNS, 0.9).iloc[0]

    assert row["accuracy_mean"] == pytest.approx(0.9)
    assert row["accuracy_std"] == pytest.approx(0.1 * math.sqrt(2))


def test_only_the_seeds_that_got_there_enter_the_costs() -> None:
    """At 97 % only seed 1 counts."""
    row = summarize(EVALUATIONS, RUNS, 0.97).iloc[0]

    assert (row["seeds_reached"], row["time_s"]) == (1, 240.0)


def test_a_variant_that_never_got_there_has_no_costs() -> None:
    """A seed that diverged has no final accuracy, and no cost of a target that it did not reach."""
    row = summarize(EVALUATIONS, RUNS, 0.9).iloc[1]

    assert tuple(row[["variant", "status", "seeds_reached"]].to_list()) == ("bad", "diverged", 0)
    absent = ["accuracy_mean", "accuracy_std", "rounds", "time_s", "uplink_bytes", "server_busy_s"]
    assert row[absent].isna().all()


def test_means_over_seeds_leave_out_those_that_diverged() -> None:
    """Seed 1 of 'slow' diverged after 240 s at 100 %: accuracy and whole-run costs are those of seed 0."""
    ends = runs(("slow", 0, "completed"), ("slow", 1, "diverged"), ("bad", 0, "diverged"))
    summary = summarize(EVALUATIONS, ends)
    assert summary["status"].to_list() == ["diverged 1 of 2", "diverged"]
    assert summary["accuracy_mean"].to_list()[0] == pytest.approx(0.8)
    assert summary.loc[0, ["rounds", "time_s"]].to_list() == [40.0, 400.0]
    assert summary.loc[1, ["accuracy_mean", "rounds", "time_s", "server_busy_s"]].isna().all()
    assert "Runs that diverged have none; the means leave them out." in rendered(summary)
    assert "diverged" not in rendered(summarize(EVALUATIONS, ends.assign(status="completed")))


def test_status_counts_the_seeds_that_were_not_completed() -> None:
    """One diverged and one interrupted seed of three."""
    table = runs(("a", 0, "diverged"), ("a", 1, "completed"), ("a", 2, "interrupted"))

    assert summarize(None, table).loc[0, "status"] == "diverged 1 of 3, interrupted 1 of 3"


def test_without_target_the_costs_are_those_of_the_whole_run() -> None:
    """Rounds, time and server come from the run, traffic from an evaluation in its last round."""
    last = evaluations(("slow", 0, 400.0, 40, 0.8), ("bad", 0, 300.0, 30, 0.2))
    ends = RUNS[RUNS["seed"] == 0].assign(status="completed")
    row, bad = (summarize(last, ends).iloc[place] for place in (0, 1))

    assert (row["rounds"], row["time_s"], row["server_busy_s"]) == (40.0, 400.0, 120.0)
    assert row["uplink_bytes"] == 40 * 1024.0
    assert bad["time_s"] == 400.0
    assert math.isnan(bad["uplink_bytes"])
    assert row["seeds_reached"] is pd.NA


@pytest.mark.parametrize("table", [None, EVALUATIONS.iloc[:0], EVALUATIONS.assign(accuracy=float("nan"))])
def test_a_timing_only_run_shows_the_whole_run_whatever_the_target(table: pd.DataFrame | None) -> None:
    """Nothing was trained, so no target can be reached."""
    summary = summarize(table, RUNS, 0.9)

    assert summary["variant"].to_list() == ["slow", "bad"]
    assert summary.loc[0, "time_s"] == 400.0
    assert summary["target"].isna().all()
    assert summary["accuracy_mean"].isna().all()


def test_a_run_without_evaluations_among_others_is_kept() -> None:
    """A variant that diverged before its first evaluation has a row without an accuracy."""
    summary = summarize(EVALUATIONS, pd.concat([runs(("first", 0, "diverged")), RUNS]), 0.9)

    assert summary["variant"].to_list() == ["first", "slow", "bad"]
    assert math.isnan(summary.loc[0, "accuracy_mean"])
    assert summary.loc[0, "seeds_reached"] == 0


@pytest.mark.parametrize("table", [None, pd.DataFrame(), RUNS.iloc[:0]])
def test_no_runs_give_an_empty_summary(table: pd.DataFrame | None) -> None:
    """The columns stand, and the terminal table can be drawn."""
    summary = summarize(None, table, 0.9)

    assert (0, list(SUMMARY_COLUMNS)) == (len(summary), list(summary.columns))
    assert format_summary(summary).row_count == 0


def rendered(summary: pd.DataFrame, width: int = 110) -> str:
    """Return the terminal's text."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(format_summary(summary))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_table_has_units_and_explains_the_dash() -> None:
    """Times of 160 s read in minutes, 15 KiB in KiB; 'bad' shows a dash and its status."""
    lines = rendered(summarize(EVALUATIONS, RUNS, 0.9)).splitlines()
    slow = next(line for line in lines if line.startswith("slow")).split()
    bad = next(line for line in lines if line.startswith("bad"))

    assert slow[1:] == ["90.0", "±14.1", "2/2", "15", "2.67", "15.0", "7.50", "30.0", "45.0", "2.00"]
    assert ["(diverged)", "-", "0/1", *"------", "2.00"] == bad.split()[1:]
    assert "'-': not reached by any seed." in [line.strip() for line in lines]


@pytest.mark.parametrize(("names", "hint"), [(["slow", "bad"], False), (["bad"], True)])
def test_a_target_that_no_variant_reaches(names: list[str], hint: bool) -> None:
    """The legend names the option that shows what another target took."""
    chosen, ended = (table[table["variant"].isin(names)] for table in (EVALUATIONS, RUNS))
    assert ("--target" in rendered(summarize(chosen, ended, 0.9))) == hint


def test_a_terminal_of_80_characters_breaks_no_number() -> None:
    """Only the names of variants wrap."""
    text = rendered(
        summarize(EVALUATIONS.replace("slow", "mu-splitfed tau=adaptive"), RUNS.iloc[2:], 0.9), 80
    )

    assert max(len(line) for line in text.splitlines()) <= 80
    assert all(word in text for word in ("90.0 ±14.1", "accuracy", "downlink", "7.50", "tau=adaptive"))


def test_columns_that_long_names_leave_no_room_for_are_named() -> None:
    """Columns go, the last first, and the legend names them."""
    long = "fedavg-with-a-name-of-one-long-word"
    text = rendered(summarize(EVALUATIONS.replace("slow", long), RUNS.replace("slow", long), 0.9), 80)

    assert max(len(line) for line in text.splitlines()) <= 80
    assert all(word in text for word in (long[:30], "rounds", "90.0 ±14.1"))
    heading, _, below = text.partition("───")
    assert "memory" not in heading
    assert "client memory" in " ".join(below.partition("Left out")[2].split())


def test_amounts_read_in_the_unit_that_fits() -> None:
    """Values beside each unit's bound."""
    assert [seconds_text(time_s) for time_s in (0.85, 120, 0, math.nan)] == ["850 ms", "2.00 min", "0 s", "-"]
    assert [time_unit(longest_s)[0] for longest_s in (0.85, 119, 120, 7140, 7200, 172800)] == [
        "ms",
        "s",
        "min",
        "min",
        "h",
        "d",
    ]
    assert [byte_unit(size) for size in (math.nan, 1023, 1024, 3e9, 1e30)] == [
        ("B", 1.0),
        ("B", 1.0),
        ("KiB", 1024.0),
        ("GiB", 1024.0**3),
        ("PiB", 1024.0**5),
    ]
    assert [time_unit(longest_s) for longest_s in (0, math.inf, 5)] == [("s", 1.0)] * 3
    assert [number_text(number) for number in (0.12, 12.34, 1234.4, 1.234e7, 0)] == [
        "0.120",
        "12.3",
        "1234",
        "1.23e+07",
        "0",
    ]
    assert [mean_text(number) for number in (93.33, 300, math.nan)] == ["93.3", "300", "-"]
    assert [target_text(target) for target in (0.9, 0.925)] == ["90 %", "92.5 %"]


def test_waste_shows_where_there_is_any() -> None:
    """Dropped participants add two columns and a line that explains them; without any there is neither."""
    rows = [("v", 0, "completed", 10, 60.0, 1.0, 2**20, dropped, 30.0 * dropped, 2**20) for dropped in (0, 4)]
    columns = ["variant", "seed", "status", "rounds", "time_s", "server_busy_s", "client_memory_bytes"]
    texts = []
    for row in rows:
        runs = pd.DataFrame([row], columns=[*columns, "dropped", "wasted_s", "wasted_bytes"])
        summary = summarize(None, runs)
        texts.append(rendered(summary, width=140))
        assert summary["wasted_s"].tolist() == [30.0 * row[7]]
    assert "wasted" not in texts[0].lower()
    assert "traffic" in texts[1]
    assert "2.00" in texts[1]
