"""`sflsim new` and scenarios by name, as a user without a clone meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sflsim.cli import app
from sflsim.scenario.shipped import shipped

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_new_writes_a_scenario_and_the_schema_beside_it() -> None:
    """What it writes is valid, and its first line leads to the schema."""
    result = call("new", "here/my.yaml", "--like", "plan")
    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("here").iterdir()} == {"my.yaml", "sflsim.schema.json"}
    first = Path("here/my.yaml").read_text(encoding="utf-8").splitlines()[0]
    schema = json.loads(Path("here", first.partition("$schema=")[2]).read_text(encoding="utf-8"))
    assert "workload" in schema["properties"]
    assert call("validate", "here/my.yaml").exit_code == 0


def test_new_overwrites_nothing() -> None:
    Path("my.yaml").write_text("mine", encoding="utf-8")
    result = call("new", "my.yaml")
    assert (result.exit_code, Path("my.yaml").read_text(encoding="utf-8")) == (2, "mine")
    assert not Path("sflsim.schema.json").exists()


@pytest.mark.parametrize("arguments", [("x.txt",), ("my.yaml", "--like", "nothing"), ("my.yaml/x.yaml",)])
def test_new_with_wrong_arguments(arguments: tuple[str, ...]) -> None:
    Path("my.yaml").mkdir() if "/" not in arguments[0] else Path("my.yaml").write_text("", encoding="utf-8")
    assert call("new", *arguments).exit_code == 2


def test_a_shipped_scenario_runs_by_name() -> None:
    short = ("--set", "stop={rounds: 1}", "--set", "seeds=[0]", "--timing-only", "--workers", 1)
    assert call("run", "quickstart", *short).exit_code == 0
    assert Path("runs/quickstart/run.json").exists()


@pytest.mark.slow
def test_the_wheel_holds_them(tmp_path: Path) -> None:
    """Every shipped scenario is in a wheel that is built from the repository, as it is there."""
    pytest.importorskip("setuptools")
    source = tmp_path / "clone"
    for name in ("sflsim", "scenarios"):
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = (sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "-q")
    subprocess.run([*build, "-w", tmp_path], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("sflsim/scenarios/")}
        assert held == {f"sflsim/scenarios/{name}.yaml" for name in shipped()}
        for name, path in shipped().items():
            assert archive.read(f"sflsim/scenarios/{name}.yaml") == path.read_bytes()
