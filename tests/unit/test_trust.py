"""A scenario of a stranger runs nothing: its own Python and installed packages need `--trust`."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import sflsim
from sflsim import registry
from sflsim.cli import app
from sflsim.errors import ScenarioError
from sflsim.learning.models.torch_module import TorchModule
from sflsim.session import Options, Session

NETWORK = """
from collections import OrderedDict
from pathlib import Path
from torch import nn

Path(__file__).with_name("executed").touch()

def small(width=8, classes=10):
    return nn.Sequential(OrderedDict(
        first=nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU()),
        second=nn.Sequential(nn.Linear(width, width), nn.ReLU()),
        out=nn.Linear(width, classes),
    ))

def pairs():
    return list(small().named_children())

def one_block():
    return nn.Sequential(nn.Linear(64, 10))

def number():
    return 3
"""
SCENARIO = """
name: own
workload:
  dataset: digits
  model: {kind: torch-module, module: 'network.py:small', arguments: {width: 12}}
  cut: second
fleet: {clients: 2, groups: [{device: raspberry-pi-4}]}
variants: [splitfed-v1, mu-splitfed]
stop: {rounds: 2}
sweep: {workload.batch_size: [8, 16]}
plan: {decisions: {server.slots: [1, 2]}, objectives: [time]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "own.yaml").write_text(SCENARIO)
    yield tmp_path
    registry._trust[0] = False
    registry._installed.cache_clear()
    sys.modules.pop("sflsim_scenario_network", None)


def executed(folder: Path) -> bool:
    return (folder / "executed").exists()


@pytest.mark.parametrize("command", ["run", "validate", "sweep", "plan", "memory"])
def test_every_command_refuses_and_runs_nothing(command: str, folder: Path) -> None:
    shown = CliRunner().invoke(app, [command, str(folder / "own.yaml")])
    assert shown.exit_code in (1, 2)
    assert "its code is run only with --trust" in shown.output
    assert not executed(folder)


def test_a_strangers_run_folder_runs_nothing(folder: Path) -> None:
    """Its saved scenario names code that lies beside it; tables and pictures are shown without it."""
    saved = sflsim.simulate(
        sflsim.load_scenario(folder / "own.yaml", ["workload.model=mlp", "workload.cut=1"])
    )
    saved.save(folder / "run")
    text = (folder / "run" / "scenario.yaml").read_text()
    text = text.replace("kind: mlp", "kind: torch-module\n    module: ../network.py:small").replace(
        "    hidden:\n    - 64\n    - 64\n    adapters: null\n", ""
    )
    (folder / "run" / "scenario.yaml").write_text(text)
    for command in ("summary", "plot", "report", "explain", "trace"):
        shown = CliRunner().invoke(app, [command, str(folder / "run")])
        assert shown.exit_code == (2 if command == "explain" else 0), shown.output
        assert not executed(folder)


def test_trusted_it_trains_also_in_workers(folder: Path) -> None:
    """The blocks that the function returns are cut by name; one and two workers give the same tables."""
    with pytest.raises(ScenarioError, match="--trust"):
        sflsim.load_scenario(folder / "own.yaml")
    scenario = sflsim.load_scenario(folder / "own.yaml", trust=True)
    alone = sflsim.simulate(scenario)
    assert executed(folder)
    assert Session(scenario, Options()).costs(2).client_model_bytes == 4 * (64 * 12 + 12 + 12 * 12 + 12)
    together = sflsim.simulate(scenario, workers=2)
    assert alone.evaluations.equals(together.evaluations)
    assert alone.evaluations["loss"].nunique() > 2


def test_its_code_is_part_of_the_keys(folder: Path) -> None:
    """A changed file is another network, whatever its weights."""
    registry.trust()
    keys = []
    for text in (NETWORK, NETWORK + "\n# changed\n", NETWORK):
        (folder / "network.py").write_text(text)
        sys.modules.pop("sflsim_scenario_network", None)
        for known in (sflsim.learning.lineage.package_version, sflsim.learning.lineage.source_version):
            known.cache_clear()
        scenario = sflsim.load_scenario(folder / "own.yaml")
        keys.append(Session(scenario, Options())._task(2, 0).key)
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("network.py:large", ["no function 'large'", "small"]),
        ("network.py:one_block", ["two blocks or more"]),
        ("network.py:number", ["returned int"]),
        ("missing.py:small", ["no file missing.py"]),
        ("no_such_package.networks:small", ["cannot be imported", "no_such_package"]),
        ("network.py", ["file.py:function"]),
        ("network.py:small(classes=3)", ["file.py:function"]),
    ],
)
def test_what_cannot_be_used_is_named(module: str, words: list[str], folder: Path) -> None:
    change = f"workload.model={{kind: torch-module, module: '{module}'}}"
    with pytest.raises(ScenarioError) as caught:
        Session(sflsim.load_scenario(folder / "own.yaml", [change], trust=True), Options()).check()
    for word in words:
        assert word in str(caught.value)


def test_outputs_must_be_the_classes(folder: Path) -> None:
    change = "workload.model.arguments={classes: 7}"
    with pytest.raises(ScenarioError, match=r"output of shape \(2, 7\)"):
        Session(sflsim.load_scenario(folder / "own.yaml", [change], trust=True), Options()).check()


def test_pairs_and_own_processes(folder: Path) -> None:
    """Blocks may come as pairs; a Config made in one's own Python is one's own code; it can be sent on."""
    model = TorchModule(module=f"{folder / 'network.py'}:pairs")
    assert model.block_names == ["first", "second", "out"]
    assert pickle.loads(pickle.dumps(model)).block_names == model.block_names


def test_an_installed_component_is_loaded_where_it_is_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is named, and not imported before somebody trusts it."""
    (folder / "stranger.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('executed').touch()\n"
        "from sflsim.learning.models.mlp import MLP\nfrom typing import Literal\n"
        "class Net(MLP):\n    kind: Literal['strange'] = 'strange'\n"
    )
    monkeypatch.syspath_prepend(folder)
    point = EntryPoint("strange", "stranger:Net", "sflsim.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    change: list[Any] = ["workload.model=strange", "workload.cut=1", "sweep=null", "plan=null"]
    with pytest.raises(ScenarioError, match="the installed stranger offers it: its code is run only with"):
        sflsim.load_scenario(folder / "own.yaml", change)
    CliRunner().invoke(app, ["schema"])
    assert not executed(folder)
    run = sflsim.simulate(sflsim.load_scenario(folder / "own.yaml", change, trust=True))
    assert executed(folder)
    assert set(run.runs["status"]) == {"completed"}
