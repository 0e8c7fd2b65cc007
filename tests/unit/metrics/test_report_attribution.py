"""Where the time goes, against rounds small enough to attribute by hand."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from sflsim.metrics.attribution import CATEGORIES, attribute, where_time_goes
from sflsim.report.attribution import COLORS, LABELS, where_time_goes_figure

COLUMNS = ["actor", "activity", "start_s", "end_s", "client"]


def spans(*rows: tuple[str, str, float, float, str], variant: str = "v", round: int = 0) -> pd.DataFrame:
    """Rows (actor, activity, start_s, end_s, client) of one round of seed 0."""
    return pd.DataFrame(rows, columns=COLUMNS).assign(variant=variant, seed=0, round=round)


# MU-SplitFed's overlaps: uplink beside compute from 4 to 5, the server beside both from 5 to 9.
ROUND = spans(
    ("a", "downlink", 0, 1, "a"),
    ("a", "slowdown", 1, 3, "a"),
    ("a", "compute", 3, 4, "a"),
    ("a", "compute", 4, 6, "a"),
    ("a", "uplink", 4, 5, "a"),
    ("server", "queue", 5, 6, "a"),
    ("a", "uplink", 6, 7, "a"),
    ("a", "latency", 7, 7.5, "a"),
    ("server:0", "serve", 6, 9, "a"),
    ("a", "absence", 7.25, 8, "a"),
    ("a", "downlink", 9, 9.5, "a"),
    ("a", "wait", 10, 12, "a"),
)


def test_each_instant_goes_to_the_first_cause_in_the_order_of_priority() -> None:
    """Compute hides uplink and queue, absence latency and server; the gap from 9.5 to 10 is nobody's."""
    row = attribute(ROUND).iloc[0]

    expected = {
        "compute": 3.0,
        "slowdown": 2.0,
        "uplink": 1.0,
        "downlink": 1.5,
        "absence": 0.75,
        "latency": 0.25,
        "server": 1.0,
        "wait": 2.0,
        "other": 0.5,
    }
    assert expected == row[list(CATEGORIES)].to_dict()


@pytest.mark.parametrize(("above", "below"), list(pairwise(CATEGORIES[:-1])))
def test_of_two_that_overlap_the_higher_gets_the_time(above: str, below: str) -> None:
    """Both last from 0 to 2, the lower one to 3."""
    activity = {"server": "serve"}
    table = spans(("a", activity.get(below, below), 0, 3, "a"), ("a", activity.get(above, above), 0, 2, "a"))
    row = attribute(table).iloc[0]

    assert (row[above], row[below]) == (2.0, 1.0)


def test_participants_do_not_mix() -> None:
    """Same instants, other client, round or variant: a row each, in the order of appearance."""
    more = ROUND.assign(client=ROUND["client"].replace("a", "b"), actor=ROUND["actor"].replace("a", "b"))
    table = pd.concat([ROUND, more, ROUND.assign(round=1), ROUND.assign(variant="w")])
    rows = attribute(table.sort_values("start_s", kind="stable"))

    assert list(rows[["variant", "round", "client"]].itertuples(index=False, name=None)) == [
        ("v", 0, "a"),
        ("v", 0, "b"),
        ("v", 1, "a"),
        ("w", 0, "a"),
    ]
    assert (rows[list(CATEGORIES)] == rows[list(CATEGORIES)].iloc[0]).all(axis=None)


def test_an_actor_is_its_own_client_and_the_server_is_none() -> None:
    """Aggregation at the server, and a span that a kill left without an end, are left out."""
    table = spans(
        ("a", "compute", 0, 1, ""), ("server:0", "serve", 0, 9, ""), ("a", "uplink", 1, np.nan, "a")
    )
    rows = attribute(table)

    assert rows["client"].to_list() == ["a"]
    assert rows[list(CATEGORIES)].to_numpy().sum() == 1.0


def test_an_unknown_activity_is_other() -> None:
    """A third party's activity lengthens the round and takes no time from a known one."""
    row = attribute(spans(("a", "compute", 0, 1, "a"), ("a", "dreaming", 0, 3, "a"))).iloc[0]

    assert (row["compute"], row["other"]) == (1.0, 2.0)


def test_the_causes_of_random_spans_add_up_and_agree_with_a_fine_grid() -> None:
    """An oracle that asks at every half of a grid of quarters which activity of highest rank is on."""
    rng = np.random.default_rng(0)
    names = ["compute", "slowdown", "uplink", "downlink", "absence", "latency", "serve", "wait"]
    start = rng.integers(0, 40, 60) / 4
    table = spans(*[("a", names[rng.integers(8)], s, s + rng.integers(0, 12) / 4, "a") for s in start])
    low, high = table["start_s"].min(), table["end_s"].max()
    expected = dict.fromkeys(CATEGORIES, 0.0)
    for instant in np.arange(low, high, 0.25) + 0.125:
        on = set(table.loc[(table["start_s"] < instant) & (table["end_s"] > instant), "activity"])
        on = {"server" if name == "serve" else name for name in on}
        expected[next((name for name in CATEGORIES if name in on), "other")] += 0.25

    assert expected == attribute(table).iloc[0][list(CATEGORIES)].to_dict()


def test_means_are_over_participants_and_rounds_and_shares_over_their_sum() -> None:
    """One round of 2 s compute, one of 4 s compute and 2 s wait: mean 3 s and 1 s, shares 3/4 and 1/4."""
    first = spans(("a", "compute", 0, 2, "a"))
    second = spans(("b", "compute", 2, 6, "b"), ("b", "wait", 6, 8, "b"), round=1)
    table = pd.concat([first, second])

    assert tuple(where_time_goes(table).loc["v", ["compute", "wait"]]) == (3.0, 1.0)
    assert tuple(where_time_goes(table, share=True).loc["v", ["compute", "wait"]]) == (0.75, 0.25)


@pytest.mark.parametrize("table", [None, pd.DataFrame(), ROUND.iloc[:0]])
def test_no_spans_give_no_rows_and_a_figure_that_says_so(table: pd.DataFrame | None) -> None:
    """Functions take what a run without spans has."""
    assert attribute(table).empty
    assert where_time_goes(table).empty
    assert where_time_goes_figure(table).texts[0].get_text() == "no spans were recorded"


def calls_of_attribute(copies: int) -> int:
    """Return how many calls of Python functions `attribute` makes for so many participants' rounds."""
    table = ROUND.iloc[np.tile(np.arange(len(ROUND)), copies)].assign(
        round=np.repeat(np.arange(copies), len(ROUND))
    )
    counted = Counter[str]()
    sys.setprofile(lambda frame, event, _: counted.update([event]))
    try:
        rows = attribute(table)
    finally:
        sys.setprofile(None)
    assert len(rows) == copies
    return counted["call"]


def test_more_spans_take_no_more_python() -> None:
    """Spans are worked on as columns, so that half a million of them take seconds."""
    calls_of_attribute(10)  # what is imported and cached at first
    assert calls_of_attribute(5_000) < 1.5 * calls_of_attribute(50)


def test_the_figure_stacks_every_cause_that_took_time() -> None:
    """Bars end at the round's length, in scenario order, with all causes in the legend."""
    figure = where_time_goes_figure(pd.concat([ROUND, ROUND.assign(variant="w")]))
    axes = figure.axes[0]
    ends = [max(bar.get_x() + bar.get_width() for bar in bars) for bars in axes.containers]

    assert [label.get_text() for label in axes.get_yticklabels()] == ["v", "w"]
    assert list(LABELS.values()) == [text.get_text() for text in figure.legends[0].get_texts()]
    assert pytest.approx(max(ends)) == 12.0
    assert axes.get_xlabel() == "mean time of a participant's round (s)"
    assert set(CATEGORIES) == set(COLORS) == set(LABELS)
