"""Folders of plans and sweeps: what was written is read, and what is damaged is named in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import data, read

import sflsim
from sflsim.errors import RunError
from sflsim.planner.plan import Plan
from sflsim.sweeps.sweep import Sweep

SLOTS = {"server.slots": [1, 2]}
Saved = tuple[type[Plan] | type[Sweep], Plan | Sweep]


@pytest.fixture(scope="module", params=["plan", "sweep"])
def saved(request: pytest.FixtureRequest) -> Saved:
    if request.param == "plan":
        return Plan, sflsim.plan(read(data(plan={"decisions": SLOTS, "objectives": ["time"]})))
    return Sweep, sflsim.sweep(read(data()), SLOTS, timing_only=True)


def kind(saved: Saved) -> str:
    return saved[0].__name__.lower()


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, str], None]:
    """Return the damage that changes what the manifest says."""

    def damage(folder: Path, name: str) -> None:
        file = folder / f"{name}.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(change(content)), encoding="utf-8")

    return damage


def without_a_column(folder: Path, name: str) -> None:
    file = folder / ("points.parquet" if name == "plan" else "sweep.parquet")
    pd.read_parquet(file).drop(columns="point").to_parquet(file)


def _set(content: dict[str, Any], value: Any) -> dict[str, Any]:
    return content | ({"explanation": value} if "explanation" in content else {"over": value})


def not_text(folder: Path, name: str) -> None:
    (folder / f"{name}.json").write_bytes(bytes(range(256)))


def a_folder_instead(folder: Path, name: str) -> None:
    (folder / f"{name}.json").unlink()
    (folder / f"{name}.json").mkdir()


DAMAGES: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "another kind of manifest": (edited(lambda content: [1]), "manifest cannot be read"),
    "no part that is needed": (
        edited(lambda content: {"status": content.get("status")}),
        "manifest cannot be read",
    ),
    "another status or objective": (
        edited(lambda content: content | {"status": 3, "objectives": ["speed"]}),
        "manifest cannot be read",
    ),
    "no objectives": (
        edited(lambda content: {key: content[key] for key in content if key not in ("objectives", "status")}),
        "manifest cannot be read",
    ),
    "another type": (edited(lambda content: _set(content, 3)), "manifest cannot be read"),
    "no text": (not_text, "manifest cannot be read"),
    "a column less": (without_a_column, "the columns point are missing"),
    "a folder for a manifest": (a_folder_instead, "manifest cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(saved: Saved, tmp_path: Path, damage: str) -> None:
    """Never a traceback, never half of a result."""
    form, found = saved
    folder = found.save(tmp_path / "it")
    spoil, words = DAMAGES[damage]
    spoil(folder, kind(saved))
    with pytest.raises(RunError, match=words):
        form.load(folder)


@pytest.mark.parametrize("missing", ["manifest", "scenario.yaml", "table"])
def test_what_is_missing_is_named(saved: Saved, tmp_path: Path, missing: str) -> None:
    """By file, with the question whether it is the folder of a plan or a sweep at all."""
    form, found = saved
    table = "points.parquet" if form is Plan else "sweep.parquet"
    file = {"manifest": f"{kind(saved)}.json", "table": table}.get(missing, missing)
    folder = found.save(tmp_path / "it")
    (folder / file).unlink()
    with pytest.raises(RunError, match=f"no {file}; is this the folder of a {kind(saved)}"):
        form.load(folder)


def test_the_other_kind_is_refused(saved: Saved, tmp_path: Path) -> None:
    """A plan is no sweep."""
    form, found = saved
    folder = found.save(tmp_path / "it")
    with pytest.raises(RunError, match="is this the folder of a"):
        (Sweep if form is Plan else Plan).load(folder)


def test_a_folder_is_written_anew_byte_for_byte(saved: Saved, tmp_path: Path) -> None:
    """What is loaded and saved again is the same folder."""
    form, found = saved
    first = found.save(tmp_path / "one")
    second = form.load(first).save(tmp_path / "other")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
