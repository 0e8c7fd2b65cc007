"""The exit code of every command: 0 right, 1 the run failed, 2 the input (docs/how-to/run-folder.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support import data
from typer.main import get_command
from typer.testing import CliRunner

from sflsim.cli import app

GOOD = {
    "run": "run s.yaml --no-plots --timing-only --workers 1 --out new",
    "sweep": "sweep s.yaml --over server.slots=1,2 --timing-only --workers 1 --out new",
    "new": "new own.yaml",
    "validate": "validate s.yaml",
    "partition": "partition s.yaml",
    "schema": "schema",
    "plot": "plot done",
    "report": "report done",
    "summary": "summary done",
    "compare": "compare learned",
    "verify": "verify done --workers 1",
    "explain": "explain done --no-what-if",
    "trace": "trace done --out t.json",
    "export": "export done --to csv --out exported",
    "catalog": "catalog",
    "memory": "memory s.yaml",
    "calibrate": "calibrate learn.yaml --repeat 3 --rest 0",
    "plan": "plan s.yaml --no-cache --workers 1 --out new",
    "cache": "cache show",
}
UNTIL_INTERRUPTED = {"explore"}
WRONG = {
    "schema": "schema more",
    "catalog": "catalog --file nowhere.yaml",
    "cache": "cache prune --size much",
    "calibrate": "calibrate nowhere.yaml",
}
FAILED = (
    "run hot.yaml --no-plots --no-cache --workers 1 --out new",
    "sweep hot.yaml --over server.slots=1,2 --no-cache --workers 1 --out new",
)


def code(command: str) -> int:
    result = CliRunner().invoke(app, command.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Work in a folder with scenarios and a run."""
    monkeypatch.chdir(tmp_path)
    hot = [{"algorithm": "splitfed-v1", "client_optimizer": {"lr": 1e6}, "server_optimizer": {"lr": 1e6}}]
    scenarios = {
        "s": data(plan={"decisions": {"server.slots": [1]}}),
        "hot": data(variants=hot, stop={"rounds": 3}),
        "learn": data(),
        "two": data(variants=[{"algorithm": "splitfed-v1"}, {"algorithm": "splitfed-v2"}]),
    }
    for name, content in scenarios.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert code("run s.yaml --no-plots --timing-only --workers 1 --out done") == 0
    if request.node.name.endswith("[compare]"):
        assert code("run two.yaml --no-plots --no-cache --workers 1 --out learned") == 0


def test_every_command_is_here() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group
    assert set(GOOD) | UNTIL_INTERRUPTED == commands


@pytest.mark.parametrize("command", sorted(UNTIL_INTERRUPTED))
def test_wrong_input_ends_what_serves(command: str, here: None) -> None:
    assert code(f"{command} nowhere") == 2


def test_a_page_needs_a_store_that_keeps(here: None) -> None:
    """Without one nothing that is trained would ever be drawn."""
    Path("file").touch()
    assert code("explore learn.yaml --cache file") == 2


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow) if name == "calibrate" else name for name in GOOD]
)
def test_right_and_wrong_input(command: str, here: None) -> None:
    if command == "report":
        pytest.importorskip("plotly")
    assert code(GOOD[command]) == 0
    assert code(WRONG.get(command, f"{command} nowhere")) == 2


@pytest.mark.parametrize("command", FAILED)
def test_a_run_that_failed(command: str, here: None) -> None:
    """All of it diverged; a full disk and a dead worker have tests of their own."""
    assert code(command) == 1
