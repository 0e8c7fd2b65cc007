"""What a page shows equals what `run` gives; changes are timed, trained on request, pinned and saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import data, read

from sflsim.errors import SflsimError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import Progress, simulate
from sflsim.explorer.board import Board
from sflsim.explorer.controls import Controls
from sflsim.explorer.curves import Curves
from sflsim.explorer.explorer import Explorer
from sflsim.explorer.retimer import Retimer
from sflsim.explorer.shown import keys_of
from sflsim.explorer.watch import Watch
from sflsim.metrics.attribution import of_whom, where_time_goes
from sflsim.report.html_curves import curves
from sflsim.report.html_gantt import gantt_run
from sflsim.report.html_run import time_bars
from sflsim.scenario import load_scenario
from sflsim.scenario.schema import Scenario
from sflsim.session import Options
from sflsim.workers.backends import InlineBackend
from sflsim.workers.pool import Pool, ignore

pytestmark = pytest.mark.filterwarnings("ignore:stop.rounds")  # means updates for one of the variants
OPTIMIZERS = {side: {"lr": 0.5} for side in ("client_optimizer", "server_optimizer")}
FIELDS: dict[str, Any] = {
    "name": "explored",
    "seeds": [0, 1],
    "variants": [
        {"algorithm": "splitfed-v1", **OPTIMIZERS},
        {"algorithm": "fedasync", "optimizer": {"lr": 0.5}},
        {
            "algorithm": "splitfed-v1",
            "name": "diverges",
            "client_optimizer": {"lr": 1e6},
            "server_optimizer": {"lr": 1e6},
        },
    ],
    "stop": {"rounds": 4},
    "evaluate": {"every": "2 rounds"},
    "target_accuracy": "30%",
}
TABLES = ("spans", "evaluations", "clients", "runs", "link_throughput")


class Place:
    """An explorer, worked off in this process, its results in a folder."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.folder = folder
        options = Options(cache=folder / "store")
        self.board = Board()
        self.explorer = Explorer(Controls(scenario), options, self.board, save=self.write)
        self.pool = Pool(InlineBackend(Retimer(options), ignore), 1)

    def write(self, run: Run) -> Path:
        return run.save(self.folder / "saved", plots=False)

    def settle(self) -> dict[str, Any]:
        """Do all that waits, the background too, and return the parts of the page."""
        self.explorer.work_off(self.pool)
        self.explorer.background.wait()
        self.explorer.work_off(self.pool)
        return self.parts

    def trained(self) -> dict[str, Any]:
        self.settle()
        self.explorer.train()
        return self.settle()

    @property
    def parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = self.board.since(0)["parts"]
        return parts

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.parts["status"]
        return status


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the scenario as it is learns."""
    folder = tmp_path_factory.mktemp("learned")
    simulate(read(data(**FIELDS)), cache=folder / "store")
    return folder


@pytest.fixture
def place(learned: Path) -> Iterator[Place]:
    made = Place(read(data(**FIELDS)), learned)
    made.settle()
    yield made
    made.pool.close()


def expected(run: Run, names: list[str] | None = None) -> dict[str, Any]:
    """Return what the parts of a page are by a run's tables."""
    names = names or [variant.name for variant in run.scenario.variants]
    drawn = curves(run.evaluations, run.runs, None)
    assert drawn is not None
    gantt = [
        {"variant": names.index(str(name)), "seed": seed, **(gantt_run(spans, 2000) or {})}
        for (name, seed), spans in run.spans.groupby(["variant", "seed"], sort=False)
    ]
    bars = time_bars(where_time_goes(run.spans), names, of_whom(run.spans))
    return {"curves": drawn["curves"], "gantt": gantt, "time": bars}


def assert_as_run(place: Place, scenario: Scenario) -> None:
    """Every figure of the page, to the last bit, is that of a run that knows nothing of this one."""
    wanted, parts = expected(simulate(scenario)), place.parts
    assert parts["accuracy"]["curves"][: len(scenario.variants)] == wanted["curves"]
    assert parts["time"] == wanted["time"]
    assert parts["gantt"]["runs"] == wanted["gantt"]


def test_at_first_it_shows_what_run_gives(place: Place) -> None:
    """All is known, nothing is trained, and curves, times and rounds are those of the run's tables."""
    assert (place.status["lacking"], place.status["timed"]) == ([], 6)
    assert_as_run(place, read(data(**FIELDS)))


def test_a_change_of_the_clock_is_timed_and_not_trained(place: Place) -> None:
    """A slower server: the same learning at other times, equal to a run of that scenario from nothing."""
    before = place.parts["accuracy"]
    place.explorer.change({"server.compute": "1 FLOP/s"})
    parts = place.settle()
    assert parts["accuracy"] != before
    assert place.status["lacking"] == []
    assert place.status["overrides"] == ["server.compute=1 FLOP/s"]
    assert_as_run(place, read(data(**FIELDS), ["server.compute=1 FLOP/s"]))


def test_what_must_be_trained_says_so_and_is_trained_on_request(place: Place, learned: Path) -> None:
    """Another order of arrivals: old curves stay beside what is known; after training all is as of a run."""
    sent = {"fleet.groups[0].device.compute": "1 FLOP/s", "fleet.groups[1].device.compute": "64 FLOP/s"}
    place.explorer.change(sent)
    parts = place.settle()
    assert place.status["lacking"] == ["fedasync"]
    assert place.status["training_s"] > 0
    assert [look["name"] for look in parts["variants"] if look.get("faint")] == ["fedasync (before)"]
    with pytest.raises(SflsimError):
        place.explorer.save({})
    place.explorer.train()
    parts = place.settle()
    assert place.status["lacking"] == []
    assert [look["name"] for look in parts["variants"] if look.get("faint")] == []
    scenario, _ = place.explorer.controls.changed(sent)
    assert_as_run(place, scenario)


@pytest.mark.slow
def test_other_participants(place: Place) -> None:
    """Fewer participants must be trained; the old curves stay beside what is known, which is nothing."""
    place.explorer.change({"fleet.participants": "1"})
    assert len(place.settle()["accuracy"]["curves"]) == 6
    place.trained()
    assert_as_run(place, read(data(**FIELDS), ["fleet.participants=1"]))


def test_accuracies_of_clients_are_not_asked_for(tmp_path: Path) -> None:
    """A shorter run is known by the curve of a longer one, though its clients' accuracies are not."""
    fields = {**FIELDS, "evaluate": {"every": "1 round", "clients": True}}
    simulate(read(data(**fields | {"stop": {"rounds": 3}})), cache=tmp_path)
    retimer = Retimer(Options(cache=tmp_path))
    known = retimer.curve(read(data(**fields | {"stop": {"rounds": 2}})), 0, 0)
    retimer.close()
    assert known.status == "completed"
    assert [row.round for row in known.rows] == [0, 1, 2]


@pytest.mark.slow
def test_superseded_changes_are_dropped(place: Place) -> None:
    """Of many changes the last one is shown, whatever was on its way."""
    for compute in ("2 FLOP/s", "3 FLOP/s", "5 FLOP/s"):
        place.explorer.change({"server.compute": compute})
    place.settle()
    assert_as_run(place, read(data(**FIELDS), ["server.compute=5 FLOP/s"]))


def test_other_seeds_are_other_curves(learned: Path) -> None:
    """A setting of the seeds leaves all else of a run as it was."""
    scenario, retimer = read(data(**FIELDS)), Retimer(Options(cache=learned / "store"))
    first, second = (retimer.curve(scenario, 0, seed) for seed in (0, 1))
    retimer.close()
    assert len(first.rows) == len(second.rows)
    curves, key = Curves(), keys_of(scenario)[:1]
    before, after = (
        curves.draw(["splitfed-v1"], key, [runs]) for runs in ({0: first, 1: second}, {5: second, 6: second})
    )
    assert before[0].curve != after[0].curve
    assert after == Curves().draw(["splitfed-v1"], key, [{5: second, 6: second}])


def test_a_change_that_does_not_fit_changes_nothing(place: Place) -> None:
    """The error is the one of a scenario, and the page stays as it was."""
    before = place.board.since(0)["parts"]
    for sent in ({"fleet.participants": "3"}, {"server.compute": "soon"}, {"workload.model": "x"}):
        with pytest.raises(SflsimError):
            place.explorer.change(sent)
    assert place.settle() == before


def test_pins_stay_as_they_were(place: Place) -> None:
    """A pinned curve is the one that was shown, until it is removed; what is not shown is refused."""
    first = place.parts["accuracy"]["curves"][0]
    place.explorer.pin({"names": ["splitfed-v1"]})
    place.explorer.change({"server.compute": "1 FLOP/s"})
    parts = place.settle()
    assert [look["name"] for look in parts["variants"]][3:] == ["splitfed-v1 (pin 1)"]
    assert parts["accuracy"]["curves"][3] == first
    assert parts["accuracy"]["curves"][0] != first
    place.explorer.pin({"names": ["splitfed-v1", "fedasync"]})
    assert [pin["name"] for pin in place.parts["pins"]] == ["pin 1", "pin 2"]
    place.explorer.unpin({"name": "pin 1"})
    assert [look["name"] for look in place.parts["variants"]][3:] == [
        "splitfed-v1 (pin 2)",
        "fedasync (pin 2)",
    ]
    for sent in ({"names": ["nobody"]}, {"names": "splitfed-v1"}, {}):
        with pytest.raises(SflsimError):
            place.explorer.pin(sent)


def test_what_is_saved_is_the_run(place: Place, tmp_path: Path) -> None:
    """The folder holds the tables of `run` of the settings, with the page's target; `run` takes it."""
    place.folder = tmp_path
    place.explorer.change({"server.compute": "2 FLOP/s"})
    place.settle()
    place.explorer.save({"target": "45%"})
    place.settle()
    assert place.status["background"]["done"].endswith("saved")
    saved = Run.load(tmp_path / "saved")
    again = simulate(load_scenario(tmp_path / "saved"))
    assert again.scenario.target_accuracy == 0.45
    assert again.scenario.to_data()["server"]["compute"] == "2.0 FLOP/s"
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(saved, name), getattr(again, name), check_exact=True)


@pytest.mark.slow
def test_a_training_that_is_stopped_goes_on_later(learned: Path, tmp_path: Path) -> None:
    """Stopped at an evaluation, it is lacking still; what was learned is kept."""
    place = Place(read(data(**{**FIELDS, "stop": {"rounds": 9}})), tmp_path)
    place.settle()
    place.explorer.train()
    place.explorer.background.stop()
    place.settle()
    assert place.status["background"]["done"]
    assert place.status["lacking"]
    place.explorer.train()
    place.settle()
    assert place.status["lacking"] == []
    place.pool.close()


def test_the_page_of_a_run_that_goes_on() -> None:
    """At each moment it shows the evaluations so far; at the end all of them."""
    scenario, board = read(data(**FIELDS)), Board()
    watch, seen = Watch(scenario, board), []

    def told(step: Progress) -> None:
        watch(step)
        seen.append(board.since(0)["parts"]["status"]["timed"])

    run = simulate(scenario, progress=told)
    parts = board.since(0)["parts"]
    assert parts["accuracy"]["curves"] == expected(run)["curves"]
    assert parts["status"] == {"runs": 6, "timed": 6}
    assert parts["accuracy"]["target"] == scenario.target_accuracy
    other = Board()
    simulate(scenario, progress=Watch(scenario, other, target=0.25))
    assert other.since(0)["parts"]["accuracy"]["target"] == 0.25
    assert seen == sorted(seen)


def test_a_board_tells_what_is_new_and_only_that() -> None:
    """Parts that did not change are not sent again; its end answers at once."""
    board = Board(one=1, two=2)
    first = board.since(0)
    assert first["parts"] == {"one": 1, "two": 2}
    board.put(one=1)
    assert board.since(first["number"])["parts"] == {}
    board.put(two=3)
    assert board.since(first["number"])["parts"] == {"two": 3}
    board.end()
    assert board.since(board.since(0)["number"], patience_s=60)["ended"]
