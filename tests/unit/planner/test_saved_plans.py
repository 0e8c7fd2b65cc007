"""Saved plans: those of earlier versions can be read, those of a later one are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import data, read

from sflsim.errors import RunError
from sflsim.planner.plan import Plan, plan
from sflsim.planner.saved import FORMAT, RENAMED


@pytest.fixture
def made() -> Plan:
    block = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}
    return plan(read(data(variants=["splitfed-v1"], stop={"rounds": 2}, plan=block)))


def test_a_plan_of_the_first_format_is_read(made: Plan, tmp_path: Path) -> None:
    """Its columns get today's names, and it is saved in today's form."""
    folder = made.save(tmp_path / "old")
    former = {new: old for old, new in RENAMED.items()}
    made.points.rename(columns=former).to_parquet(folder / "points.parquet")
    manifest = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert manifest.pop("format") == FORMAT
    assert manifest.pop("decided") == ["variant", "algorithm", "server.slots"]
    (folder / "plan.json").write_text(json.dumps(manifest), encoding="utf-8")
    loaded = Plan.load(folder)
    pd.testing.assert_frame_equal(loaded.points, made.points)
    assert loaded.manifest == made.manifest
    pd.testing.assert_frame_equal(Plan.load(loaded.save(tmp_path / "new")).points, made.points)


def test_a_plan_that_does_not_say_what_was_decided_is_refused(made: Plan, tmp_path: Path) -> None:
    """Without a traceback."""
    del made.manifest["decided"]
    with pytest.raises(RunError, match="decided"):
        Plan.load(made.save(tmp_path / "plan"))


def test_a_plan_of_a_later_format_is_refused(made: Plan, tmp_path: Path) -> None:
    """It is said what to do; so is what is no format at all."""
    for other in (FORMAT + 1, 0, "two"):
        made.manifest["format"] = other
        with pytest.raises(RunError, match="install a newer sflsim"):
            Plan.load(made.save(tmp_path / str(other)))


@pytest.mark.parametrize("damage", [{"decided": [["x"]]}, {"objectives": [["time"]]}, {"format": None}])
def test_a_damaged_plan_is_refused(damage: dict[str, Any], made: Plan, tmp_path: Path) -> None:
    """One line says that the folder cannot be read."""
    folder = made.save(tmp_path / "plan")
    manifest = json.loads((folder / "plan.json").read_text(encoding="utf-8")) | damage
    if manifest["format"] is None:  # the first format, without the columns that it had
        del manifest["format"], manifest["decided"]
        pd.DataFrame({"point": [0]}).to_parquet(folder / "points.parquet")
    (folder / "plan.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(RunError):
        Plan.load(folder)
