"""What runs, sweeps and plans say of themselves, and where they keep what they learn."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import data, read

import sflsim
from sflsim.learning.graph.disk_store import default_folder, folder_of


def test_a_result_says_what_it_holds() -> None:
    scenario = read(data(seeds=[0, 1], plan={"decisions": {"server.slots": [1, 2]}}))
    run = sflsim.simulate(scenario, timing_only=True)
    for word in ("Run 'test'", "1 variant ", "2 seeds", "completed", f"{len(run.spans)} spans"):
        assert word in repr(run)
    sweep = sflsim.sweep(scenario, {"server.slots": [1, 2, 3]}, timing_only=True)
    for word in ("Sweep 'test'", "3 points", "6 runs", "over server.slots", "completed"):
        assert word in repr(sweep)
    plan = sflsim.plan(scenario)
    assert plan.recommended is not None
    for word in ("Plan 'test'", "2 points", f"point {plan.recommended['point']} is recommended"):
        assert word in repr(plan)


def test_a_saved_result_says_it_too(tmp_path: Path) -> None:
    run = sflsim.simulate(read(data()), timing_only=True)
    assert repr(sflsim.Run.load(run.save(tmp_path / "run", plots=False))) == repr(run)


@pytest.mark.parametrize(("cache", "place"), [(None, None), (False, None), ("here", Path.cwd() / "here")])
def test_a_cache_is_a_folder_or_none(cache: str | bool | None, place: Path | None) -> None:
    assert folder_of(cache) == place


def test_true_is_the_store_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs, sweeps and plans alike: nothing is trained twice."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scenario = read(data(plan={"decisions": {"server.slots": [1]}}, target_accuracy=0.01))
    assert sflsim.simulate(scenario, cache=True).manifest["computed_calls"]
    assert default_folder().is_relative_to(tmp_path)
    assert any(default_folder().rglob("*"))
    assert not sflsim.simulate(scenario, cache=True).manifest["computed_calls"]
    assert not sflsim.sweep(scenario, {"server.slots": [1, 2]}, cache=True).manifest["computed_calls"]
    told: list[sflsim.PlanProgress] = []
    assert sflsim.plan(scenario, cache=True, progress=told.append).recommended is not None
    assert told
