"""A run without spans has the tables of the run with them; what needs spans says that there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from support import FAST, SLOW, data, read, whole
from typer.testing import CliRunner

from sflsim.cli import app
from sflsim.clock import spans as recording
from sflsim.errors import RunError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explainer.explain import explain

TABLES = ("evaluations", "clients", "runs")
VARIANTS: list[dict[str, Any]] = [
    {"name": "plain", "algorithm": "splitfed-v1", "local_iterations": 2},
    {"name": "asks more", "algorithm": "splitfed-v1", "over_selection": 2},
    {"name": "late", "algorithm": "mu-splitfed", "tau": 2, "deadline": "20 s"},
    {"name": "buffers", "algorithm": "gas", "q_c": 2, "q_s": 2},
]


def scenario(**fleet: Any) -> Any:
    """Return a scenario in which clients are dropped, and drop out where the fleet says so."""
    straggler = {"kind": "exponential", "mean": "8 s"}
    groups = [{**FAST, "count": 3}, {**SLOW, "count": 3}]
    group = {"clients": 6, "participants": 3, "groups": groups, "straggler": straggler}
    return data(
        seeds=[1, 2], variants=VARIANTS, fleet={**group, **fleet}, stop={"rounds": 12},
        evaluate={"every": "5 rounds"},
    )  # fmt: skip


FLEETS = [{}, {"availability": {"kind": "markov", "on": "90 s", "off": "20 s"}}]


@pytest.fixture(scope="module", params=FLEETS, ids=["always there", "come and go"])
def pair(request: pytest.FixtureRequest) -> tuple[Run, Run]:
    """Return a run with its spans and the same run without; the sink gets a few spans at a time."""
    content = scenario(**request.param)
    patch = pytest.MonkeyPatch()
    patch.setattr(recording, "FLUSH_SPANS", 7)
    try:
        return tuple(  # type: ignore[return-value]
            simulate(read(content), timing_only=True, keep_spans=keep) for keep in (True, False)
        )
    finally:
        patch.undo()


def test_the_other_tables_are_the_same(pair: tuple[Run, Run]) -> None:
    """To the last bit, dropped and wasted work included; there is some of it."""
    full, bare = pair
    assert bare.spans.empty
    assert len(full.spans) > 500
    for name in TABLES:
        assert_frame_equal(getattr(full, name), getattr(bare, name), check_exact=True)
    assert (full.runs.set_index("variant").loc["asks more", "dropped"] > 0).all()


def test_clients_are_sums_of_spans(pair: tuple[Run, Run]) -> None:
    """The clients' columns, summed by pandas from the table of spans, are those of the sink."""
    full, bare = pair
    keys = ["variant", "seed", "client"]
    own = whole(full.spans)
    own = own[own["actor"] == own["client"]]
    own = own.assign(seconds=own["end_s"] - own["start_s"])
    clients = bare.clients.set_index(keys)
    for column, value, activity in (
        ("compute_s", "seconds", "compute"),
        ("slowdown_s", "seconds", "slowdown"),
        ("uplink_s", "seconds", "uplink"),
        ("downlink_s", "seconds", "downlink"),
        ("wait_s", "seconds", "wait"),
        ("uplink_bytes", "bytes", "uplink"),
        ("downlink_bytes", "bytes", "downlink"),
    ):
        check(clients[column], own[own["activity"] == activity].groupby(keys)[value].sum())
    check(clients["flop"], own.groupby(keys)["flop"].sum())
    lost = own[own["outcome"].isin(("wasted", "lost"))].groupby(keys)
    shared = clients.index.get_level_values("variant") != "buffers"
    check(clients["rounds"][shared], own.groupby(keys)["round"].nunique())
    check(clients["dropped"][shared], lost["round"].nunique())
    made = full.spans[full.spans["activity"] == "contribution"].groupby(keys).size()
    begun = clients["rounds"][~shared] - clients["dropped"][~shared]
    left = begun - made.reindex(begun.index, fill_value=0)  # those under way at the end
    assert left.between(0, 1).all()
    check(clients["wasted_s"], lost["seconds"].sum())
    check(clients["wasted_bytes"], lost["bytes"].sum())


def check(found: pd.Series, sums: pd.Series) -> None:
    """Compare a column with sums that lack the clients with none."""
    expected = sums.reindex(found.index).fillna(0.0)
    assert found.to_numpy(float) == pytest.approx(expected.to_numpy(float), rel=1e-12, abs=1e-12)


def test_what_needs_spans_says_that_there_are_none(pair: tuple[Run, Run], tmp_path: Path) -> None:
    """Also from the folder of such a run; what needs none is shown."""
    bare = Run.load(pair[1].save(tmp_path / "run"))
    with pytest.raises(RunError, match="kept no spans"):
        bare.trace(tmp_path / "trace.json")
    with pytest.raises(RunError, match="kept no spans"):
        explain(bare)
    assert not (tmp_path / "run" / "trace.json").exists()
    assert len(bare.summary()) == len(VARIANTS)


@pytest.mark.parametrize("command", ["explain", "trace"])
def test_commands_that_need_spans_name_the_remedy(
    pair: tuple[Run, Run], tmp_path: Path, command: str
) -> None:
    """In one line, without a traceback, with exit code 2."""
    folder = pair[1].save(tmp_path / "run", plots=False)
    result = CliRunner().invoke(app, [command, str(folder)], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "is made from spans; the run kept no spans (--spans none" in result.stderr
    assert "run it again with them" in result.stderr


def test_pictures_that_are_not_drawn_are_named(pair: tuple[Run, Run], tmp_path: Path) -> None:
    """`sflsim plot` draws what it can and says what is missing and why; of a whole run all is there."""
    folder = pair[1].save(tmp_path / "run", plots=False)
    result = CliRunner().invoke(app, ["plot", str(folder)], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "no picture of the accuracy: nothing was learned" in result.stderr
    assert "no Gantt charts and no picture of where the time goes: the run kept no spans" in result.stderr
    assert [line for line in pair[0].not_drawn() if "Gantt" in line] == []


def test_the_report_says_why_two_of_its_parts_are_empty(pair: tuple[Run, Run], tmp_path: Path) -> None:
    """Rounds in detail and where the time goes; that of a run with spans draws them."""
    pytest.importorskip("plotly")
    words = "Not drawn: the run kept no spans (--spans none, or keep_spans=False); run it again with them"
    full, bare = (run.report(tmp_path / "page.html").read_text(encoding="utf-8") for run in pair)
    assert bare.count(words) == 2
    assert words not in full


def test_spans_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--spans none` writes a folder with an empty table; another word is refused."""
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text(read(scenario()).to_yaml(), encoding="utf-8")
    given = ["run", "one.yaml", "--timing-only", "--workers", "1", "--out", "out", "--spans"]
    assert CliRunner().invoke(app, [*given, "none"]).exit_code == 0
    assert Run.load("out").spans.empty
    refused = CliRunner().invoke(app, [*given, "some"])
    assert refused.exit_code == 2
    assert "allowed: all, none" in refused.output + (refused.stderr or "")
