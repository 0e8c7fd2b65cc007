"""A plan whose trainings diverge: point, report, answer and command say so, and in which round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support import data, read
from typer.testing import CliRunner

from sflsim.cli import app
from sflsim.planner.plan import Plan, plan

pytest.importorskip("torch")

HOT = {"algorithm": "splitfed-v1", "client_optimizer": {"lr": 1e6}, "server_optimizer": {"lr": 1e6}}
SOUND = {
    "algorithm": "splitfed-v2",
    "client_optimizer": {"lr": 0.5},
    "server_optimizer": {"lr": 0.5},
    "local_iterations": 40,
}


def content(variants: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a scenario of few rounds, whose target every sound training reaches."""
    settings: dict[str, Any] = {"stop": {"rounds": 4}, "target_accuracy": 0.3}
    block = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}
    return data(variants=variants, plan=block, **settings)


def when(found: Plan) -> set[str]:
    """Return what the points say of the rounds in which they diverged."""
    return set(found.points["diverged"]) - {""}


@pytest.fixture(scope="module")
def all_hot() -> Plan:
    return plan(read(content([HOT])))


def test_every_part_says_in_which_round(all_hot: Plan, tmp_path: Path) -> None:
    """Table, answer, page and manifest."""
    (round_,) = when(all_hot)
    assert round_.startswith("in round ")
    assert all_hot.points["exact"].all()
    assert not all_hot.points["feasible"].any()
    assert f"Its training diverged {round_}" in all_hot.explanation
    assert "Trainings that diverged:" in all_hot.explanation
    assert "lower" in all_hot.explanation
    assert "raise 'stop'" not in all_hot.explanation
    assert 0 < all_hot.manifest["trainings"] == all_hot.manifest["diverged"]
    page = all_hot.report(tmp_path / "plan.html").read_text(encoding="utf-8")
    assert f"{len(all_hot.points)} diverged" in page
    assert round_ in page


def test_what_diverged_is_no_alternative() -> None:
    """Beside a sound algorithm one that diverges is told with its round."""
    found = plan(read(content([HOT | {"name": "hot"}, SOUND])))
    assert found.manifest["diverged"] < found.manifest["trainings"]
    assert found.recommended is not None
    assert found.recommended["algorithm"] == "splitfed-v2"
    (round_,) = when(found)
    (line,) = (line for line in found.explanation.splitlines() if "splitfed-v1: always violates" in line)
    assert round_ in line


@pytest.mark.parametrize(("variants", "code"), [([HOT], 1), ([HOT, SOUND], 0)], ids=["all", "some"])
def test_the_command_fails_where_all_trainings_diverged(
    variants: list[dict[str, Any]], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of `run` and `sweep`; what was found is written all the same."""
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(content(variants), sort_keys=False)
    Path("plan.yaml").write_text(text, encoding="utf-8")
    arguments = ["plan", "plan.yaml", "--no-cache", "--workers", "1", "--out", "there"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    assert len(Plan.load("there").points) == 2 * len(variants)
    assert "diverged in round" in result.output
