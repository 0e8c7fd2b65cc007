"""A round of an asynchronous algorithm is an update of the global model: in tables, pictures, a warning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from support import FAST, SLOW, data, read, whole
from typer.testing import CliRunner

from sflsim.cli import app
from sflsim.errors import SflsimWarning
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.formatting import time_unit
from sflsim.metrics.attribution import CATEGORIES, where_time_goes
from sflsim.metrics.contributions import contributions
from sflsim.metrics.critical_path import critical_path
from sflsim.report.gantt import BARS, gantt_figure
from sflsim.report.html_gantt import gantt

BUFFERED: dict[str, Any] = {"algorithm": "fedbuff", "b": 3}
SYNCHRONOUS: dict[str, Any] = {"algorithm": "fedavg"}


def run_of(*variants: dict[str, Any], **fields: Any) -> Run:
    """Return a run of six clients, four at work, whose delays are drawn; each update is evaluated."""
    groups = [{**FAST, "count": 3}, {**SLOW, "count": 3}]
    straggler = {"kind": "exponential", "mean": "3 s", "redraw": "round"}
    for group in groups:
        group.pop("straggler", None)
    fleet = {"clients": 6, "participants": 4, "groups": groups, "straggler": straggler}
    stop = {"stop": {"rounds": 8}, "evaluate": {"every": "1 round"}}
    return simulate(read(data(variants=list(variants), fleet=fleet, **{**stop, **fields})), timing_only=True)


@pytest.fixture(scope="module")
def run() -> Run:
    return run_of(BUFFERED)


def updates_s(run: Run) -> np.ndarray[Any, Any]:
    """Return when the global model was updated."""
    return run.evaluations["time_s"].to_numpy()[1:]


def test_the_round_of_a_span_is_the_update_that_came_next(run: Run) -> None:
    """At or after the end of what it is part of: a message arrives as a whole."""
    spans = whole(run.spans)
    expected = np.searchsorted(updates_s(run), spans["end_s"]) + 1
    assert spans["round"].tolist() == expected.tolist()
    assert run.spans["round"].max() == run.runs["rounds"].iloc[0] == 8
    travels = run.spans.index[run.spans["activity"] == "latency"]
    assert (run.spans.loc[travels, "round"].to_numpy() == run.spans.loc[travels - 1, "round"]).all()


def test_a_full_buffer_of_contributions_makes_a_round(run: Run) -> None:
    """Each is recorded from its start until the server has it, which is when its last message arrives."""
    made = run.spans[run.spans["activity"] == "contribution"]
    assert made.groupby("round").size().tolist() == [BUFFERED["b"]] * 8
    assert made.groupby("round")["end_s"].max().tolist() == updates_s(run).tolist()
    spans = whole(run.spans)
    for row in made.itertuples():
        own = spans[(spans["client"] == row.client) & (spans["activity"] != "contribution")]
        own = own[(own["start_s"] >= row.start_s) & (own["end_s"] <= row.end_s)]
        assert (own["start_s"].min(), own["end_s"].max()) == (row.start_s, row.end_s)


def test_a_synchronous_run_has_no_contributions() -> None:
    assert contributions(run_of(SYNCHRONOUS).spans).empty


def test_the_picture_shows_all_of_a_window_and_the_updates_in_it(run: Run) -> None:
    """Three mean contributions long; everything that begins in it is drawn, and every update is a line."""
    axes = gantt_figure(run.spans, "fedbuff").axes[0]
    made = run.spans[run.spans["activity"] == "contribution"]
    until_s = 3 * float((made["end_s"] - made["start_s"]).mean())
    _, length_s = time_unit(until_s)
    assert axes.get_xlim()[1] * length_s == pytest.approx(1.002 * until_s)
    inside = run.spans[(run.spans["start_s"] <= until_s) & run.spans["activity"].isin(list(BARS))]
    bars = [one for one in axes.collections if isinstance(one, PolyCollection)]
    drawn = sum(len(one.get_paths()) for one in bars if one.get_label() != "server")
    assert drawn == len(inside)
    lines = [line.get_xdata()[0] * length_s for line in axes.lines if line.get_linestyle() == "--"]
    assert lines == pytest.approx([at for at in updates_s(run) if at <= until_s])
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "update 1"
    assert not [text for text in texts if text.startswith("round")]


def test_the_page_shows_the_same(run: Run) -> None:
    """When each update was made, and the spans that began before the last of those shown."""
    found = gantt(run.spans, ["fedbuff"])
    assert found is not None
    (data,) = found["runs"]
    assert data["rounds"] == list(range(1, 9))
    assert data["ends_s"] == pytest.approx(updates_s(run).tolist())
    rounds = gantt(run_of(SYNCHRONOUS).spans, ["fedavg"])
    assert rounds is not None
    assert rounds["runs"][0]["ends_s"] is None


def test_picture_and_explanation_tell_the_same_shares(run: Run) -> None:
    """One attribution: each category's share of the picture is that of the path's weighted pieces."""
    path = critical_path(run.spans, run.runs, {"fedbuff": False})
    seconds = (path["end_s"] - path["start_s"]) * path["weight"]
    shares = seconds.groupby(path["activity"]).sum() / seconds.sum()
    picture = where_time_goes(run.spans, share=True).loc["fedbuff"]
    assert picture.sum() == pytest.approx(1)
    assert picture.to_numpy() == pytest.approx(shares.reindex(CATEGORIES, fill_value=0.0).to_numpy())


def weighted(*rows: tuple[str, float, float]) -> list[float]:
    """Return the weights of contributions given by client, begin and end."""
    table = pd.DataFrame(rows, columns=["client", "start_s", "end_s"])
    spans = table.assign(variant="v", seed=0, round=1, actor="server", activity="contribution")
    return contributions(spans)["weight"].tolist()


def test_contributions_count_alike_where_each_client_goes_on_by_itself() -> None:
    """Two of 1 s and one of 4 s, 2 s on average: 2/1, 2/1 and 2/4 times their seconds."""
    assert weighted(("a", 0, 1), ("b", 0, 4), ("a", 1, 2)) == [2.0, 0.5, 2.0]


def test_seconds_count_alike_where_clients_take_turns() -> None:
    """a goes on later, when another has had its place."""
    assert weighted(("a", 0, 1), ("b", 1, 5), ("a", 5, 6)) == [1.0, 1.0, 1.0]


def test_rounds_that_mean_two_things_are_warned_of() -> None:
    """Both kinds, one number of rounds: the warning names the variants and the stop by time."""
    with pytest.warns(SflsimWarning, match=r"8 updates of the global model for fedbuff.*stop: \{time: 2 h\}"):
        run_of(BUFFERED, SYNCHRONOUS)


@pytest.mark.parametrize(
    ("variants", "stop", "told"),
    [
        ([BUFFERED], {"rounds": 8}, False),
        ([SYNCHRONOUS], {"rounds": 8}, False),
        ([BUFFERED, SYNCHRONOUS], {"time": "60 s"}, False),
        ([BUFFERED, SYNCHRONOUS], {"time": "60 s", "rounds": 1000}, False),
        ([BUFFERED, SYNCHRONOUS], {"time": "1 h", "rounds": 4}, True),
    ],
)
def test_a_stop_by_time_is_not_warned_of(
    variants: list[dict[str, Any]], stop: dict[str, Any], told: bool
) -> None:
    """Unless the rounds were made before it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_of(*variants, stop=stop)
    assert any("stop.rounds" in str(one.message) for one in caught) == told


def test_validate_warns_of_them(tmp_path: Path) -> None:
    """The scenario is valid."""
    file = tmp_path / "both.yaml"
    file.write_text(read(data(variants=[BUFFERED, SYNCHRONOUS], stop={"rounds": 8})).to_yaml())
    result = CliRunner().invoke(app, ["validate", str(file)], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert "warning: stop.rounds: 8 means 8 updates of the global model for fedbuff" in result.stderr
