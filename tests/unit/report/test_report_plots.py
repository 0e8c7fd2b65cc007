"""The pictures: what is drawn, from tables of every odd shape."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from sflsim.report.accuracy import accuracy_band, accuracy_figure, time_to_accuracy_figure
from sflsim.report.front import front_figure
from sflsim.report.gantt import BARS, gantt_figure
from sflsim.report.plots import plot_all
from sflsim.report.style import look, safe_name, save_figure, wrapped


def evaluations(*rows: tuple[str, int, float, int, float]) -> pd.DataFrame:
    """Rows (variant, seed, time_s, round, accuracy)."""
    return pd.DataFrame(rows, columns=["variant", "seed", "time_s", "round", "accuracy"])


def runs(*rows: tuple[str, int, str]) -> pd.DataFrame:
    """Rows (variant, seed, status)."""
    return pd.DataFrame(rows, columns=["variant", "seed", "status"])


def spans(variant: str = "v", clients: int = 2, rounds: int = 4) -> pd.DataFrame:
    """Rounds of 10 s in which each client computes, sends, queues, is served, and waits."""
    rows = []
    for number in range(rounds):
        for index in range(clients):
            name, start_s = f"phone-{index}", 10.0 * number
            rows += [
                (name, "compute", start_s, start_s + 2, number, name),
                (name, "uplink", start_s + 1, start_s + 3, number, name),
                ("server", "queue", start_s + 3, start_s + 4, number, name),
                (f"server:{index % 12}", "serve", start_s + 4, start_s + 6, number, name),
                (name, "wait", start_s + 6, start_s + 10, number, name),
            ]
    columns = ["actor", "activity", "start_s", "end_s", "round", "client"]
    return pd.DataFrame(rows, columns=columns).assign(variant=variant, seed=5)


EVALUATIONS = evaluations(
    ("v", 0, 0, 0, 0.1), ("v", 0, 60, 1, 0.5), ("v", 0, 120, 2, 0.9),
    ("v", 1, 0, 0, 0.3), ("v", 1, 90, 1, 0.7), ("v", 1, 100, 2, 0.8),
    ("w", 0, 0, 0, 0.1), ("w", 0, 240, 1, 0.2),
)  # fmt: skip
RUNS = runs(("v", 0, "completed"), ("v", 1, "completed"), ("w", 0, "diverged"))


def legend_of(figure: Figure) -> list[str]:
    """Return the legend's labels."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_band_is_the_exact_mean_of_step_functions() -> None:
    """The steps of both seeds are the grid; the last evaluation of the seed that ends first holds."""
    band = accuracy_band(EVALUATIONS[EVALUATIONS["variant"] == "v"], "time_s")

    assert band.index.to_list() == [0, 60, 90, 100, 120]
    assert pytest.approx([0.2, 0.4, 0.6, 0.65, 0.85]) == band["mean"].to_list()
    assert band["low"].to_list() == [0.1, 0.3, 0.5, 0.5, 0.8]
    assert band["high"].to_list() == [0.3, 0.5, 0.7, 0.8, 0.9]


def test_the_band_begins_where_every_seed_has_a_value() -> None:
    """Seed 1 is first evaluated at 30 s."""
    band = accuracy_band(
        evaluations(("v", 0, 10, 1, 0.1), ("v", 0, 40, 2, 0.5), ("v", 1, 30, 1, 0.3)), "time_s"
    )

    assert band.index.to_list() == [30, 40]
    assert pytest.approx([0.2, 0.4]) == band["mean"].to_list()


def test_accuracy_over_time_has_a_line_per_variant_in_the_unit_that_fits() -> None:
    """240 s are 4 min; a target and a diverged seed stand in the legend."""
    figure = accuracy_figure(EVALUATIONS, RUNS, 0.8)
    axes = figure.axes[0]

    assert legend_of(figure) == ["v", "w\n(diverged)", "target 80 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("simulated time (min)", "test accuracy (mean, range)")
    assert pytest.approx(list(axes.lines[0].get_xdata())) == [0, 1, 1.5, 100 / 60, 2]
    assert list(axes.lines[2].get_ydata()) == [0.8, 0.8]
    assert axes.lines[0].get_drawstyle() == "steps-post"
    crosses = [tuple(point) for collection in axes.collections[1:] for point in collection.get_offsets()]
    assert (4.0, 0.2) in crosses


def test_accuracy_over_rounds_counts_rounds() -> None:
    """Whole rounds on the axis; without a target no such line."""
    figure = accuracy_figure(EVALUATIONS, RUNS, against="round")

    assert figure.axes[0].get_xlabel() == "rounds"
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 1, 2]
    assert legend_of(figure) == ["v", "w\n(diverged)"]


def test_one_seed_with_one_evaluation_is_a_point() -> None:
    """A run stopped after its first evaluation still draws, with time going forward."""
    axes = accuracy_figure(evaluations(("v", 0, 0, 0, 0.1))).axes[0]

    assert (len(axes.lines[0].get_xdata()), axes.get_ylabel()) == (1, "test accuracy")
    assert axes.get_xlim() == pytest.approx((-0.02, 1.02))


def test_twenty_variants_look_different_and_all_stand_in_the_legend() -> None:
    """Colours repeat with another line and marker; long names are wrapped, never cut."""
    names = [
        f"an-algorithm-with-a-name-that-goes-on-and-on server_learning_rate={index}" for index in range(20)
    ]
    table = evaluations(*[(name, 0, time_s, time_s, 0.5) for name in names for time_s in (0, 10)])
    figure = accuracy_figure(table, None, 0.9)
    figure.draw_without_rendering()
    box, legend = figure.bbox, figure.legends[0].get_window_extent()

    assert names == [label.replace("\n", " ") for label in legend_of(figure)[:-1]]
    assert len({look(index) for index in range(35)}) == 35
    assert box.x0 <= legend.x0
    assert legend.x1 <= box.x1
    assert box.y0 <= legend.y0
    assert figure.axes[0].get_window_extent().height > 250


def test_time_to_accuracy_shows_the_mean_the_seeds_and_what_was_not_reached() -> None:
    """At 85 % only one of v's seeds arrives, at 2 min, and w does not."""
    figure = time_to_accuracy_figure(EVALUATIONS, RUNS, 0.85)
    axes = figure.axes[0]

    assert [label.get_text() for label in axes.get_yticklabels()] == ["v", "w"]
    assert [bar.get_width() for bar in axes.patches] == [2.0]
    assert [text.get_text() for text in axes.texts] == ["2.00 min\n1 of 2 seeds", "not reached"]
    assert axes.get_xlabel() == "simulated time to 85 % accuracy (min)"


def test_time_to_accuracy_of_all_seeds_is_their_mean() -> None:
    """At 80 % v's seeds arrive at 120 s and 100 s."""
    axes = time_to_accuracy_figure(EVALUATIONS, RUNS, 0.8).axes[0]

    assert pytest.approx([bar.get_width() for bar in axes.patches]) == [110 / 60]
    assert pytest.approx(list(axes.lines[0].get_xdata())) == [2.0, 100 / 60]
    assert axes.texts[0].get_text() == "1.83 min"


def test_gantt_shows_the_first_rounds_of_those_who_took_part() -> None:
    """Two clients and two slots, three rounds of 10 s with a line at each end."""
    figure = gantt_figure(spans(), "v")
    axes = figure.axes[0]
    bars = {
        item.get_label(): len(item.get_paths())
        for item in axes.collections
        if isinstance(item, PolyCollection)
    }

    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "phone-0",
        "phone-1",
        "server slot 0",
        "server slot 1",
    ]
    assert bars == {
        "compute": 6,
        "uplink": 6,
        "serve": 6,
        "wait": 6,
        "server": 12,
        "slowdown": 0,
        "downlink": 0,
        "absence": 0,
        "latency": 0,
    }
    assert [text.get_text() for text in axes.texts] == ["round 0", "round 1", "round 2"]
    assert [line.get_xdata()[0] for line in axes.lines[:3]] == [10.0, 20.0, 30.0]
    assert axes.get_xlabel() == "simulated time (s)"
    absent = {BARS[name][0] for name in ("slowdown", "downlink", "absence", "latency")}
    assert {bar[0] for bar in BARS.values()} - absent == set(legend_of(figure))


def test_gantt_of_many_clients_shows_a_spread_and_says_so() -> None:
    """16 of 100 clients and 8 of 12 slots."""
    axes = gantt_figure(spans(clients=100), "v", rounds=1).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]

    assert (len(names), names[0], names[15]) == (24, "phone-0", "phone-93")
    assert "16 of 100 clients, 8 of 12 server slots shown" in axes.get_xlabel()


def test_gantt_takes_the_seed_that_is_asked_for() -> None:
    """The synthetic spans have seed 5 only."""
    assert gantt_figure(spans(), "v", seed=1).texts[0].get_text() == "no spans were recorded"
    assert len(gantt_figure(spans(), "v", seed=5).axes) == 1


@pytest.mark.parametrize(
    "table", [None, pd.DataFrame(), EVALUATIONS.iloc[:0], EVALUATIONS.assign(accuracy=math.nan)]
)
def test_without_accuracies_a_figure_says_so(table: pd.DataFrame | None) -> None:
    """The functions can be called on what a timing-only run has."""
    for figure in (accuracy_figure(table, RUNS, 0.9), time_to_accuracy_figure(table, RUNS, 0.9)):
        assert figure.texts[0].get_text() == "no accuracy was evaluated"


def test_all_pictures_are_written_with_safe_names(tmp_path: Path) -> None:
    """Five kinds of picture; two variants whose names differ in a slash only do not collide."""
    work = pd.concat([spans("a/b tau=1"), spans("a b tau=1")])
    paths = plot_all({"evaluations": EVALUATIONS, "runs": RUNS, "spans": work}, tmp_path / "plots", 0.8)

    assert [path.name for path in paths] == [
        "accuracy_time.png",
        "accuracy_rounds.png",
        "time_to_accuracy.png",
        "gantt_a-b-tau-1.png",
        "gantt_a-b-tau-1-2.png",
        "where_time_goes.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_only_pictures_with_data_are_written(tmp_path: Path) -> None:
    """A timing-only run has spans, a run without target no time to it, an empty run nothing."""
    timing = plot_all({"evaluations": EVALUATIONS.iloc[:0], "spans": spans()}, tmp_path, 0.9)
    no_target = plot_all({"evaluations": EVALUATIONS, "runs": RUNS}, tmp_path)

    assert [path.name for path in timing] == ["gantt_v.png", "where_time_goes.png"]
    assert [path.name for path in no_target] == ["accuracy_time.png", "accuracy_rounds.png"]
    assert plot_all({}, tmp_path, 0.9) == []


def test_equal_tables_give_equal_bytes_whatever_the_users_settings(tmp_path: Path) -> None:
    """No date, no software name, and no leak of settings in or out."""
    first = save_figure(accuracy_figure(EVALUATIONS, RUNS, 0.8), tmp_path / "first.png").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        second = save_figure(accuracy_figure(EVALUATIONS, RUNS, 0.8), tmp_path / "second.png").read_bytes()
        assert matplotlib.rcParams["font.size"] == 30

    assert first == second
    assert b"Software" not in first
    assert b"tIME" not in first


def test_names_become_files_and_lines_without_loss() -> None:
    """File names are safe on every system; wrapping keeps every character."""
    taken: set[str] = set()

    assert [safe_name(name, taken) for name in ("A b", "a/b", "", "../")] == [
        "A-b",
        "a-b-2",
        "variant",
        "variant-2",
    ]
    assert len(safe_name("x" * 300, taken)) == 80
    assert wrapped("one two", 4) == "one\ntwo"
    assert wrapped("x" * 30, 7).replace("\n", "") == "x" * 30


def test_the_front_joins_what_nothing_beats() -> None:
    """Points in the units of their axes; a figure that is a lower bound has no place."""
    points = pd.DataFrame(
        {
            "time_s": [60.0, 120.0, 240.0, 240.0],
            "cost": [9.0, 4.0, 8.0, 1.0],
            "pareto": [True, True, False, False],
            "recommended": [False, True, False, False],
            "feasible": True,
            "exact": [True, True, True, False],
        }
    )
    figure = front_figure(points, ("time_s", "time", "s"), ("cost", "cost", "EUR"))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (min)", "cost (EUR)")
    front, best = axes.get_lines()
    assert front.get_xydata().tolist() == [[1.0, 9.0], [2.0, 4.0]]  # type: ignore[union-attr]
    assert best.get_xydata().tolist() == [[2.0, 4.0]]  # type: ignore[union-attr]
    assert legend_of(figure) == ["feasible", "Pareto front", "recommended"]
    assert front_figure(points.assign(feasible=False), ("time_s", "time", "s"), ("cost", "cost", "EUR")).texts
