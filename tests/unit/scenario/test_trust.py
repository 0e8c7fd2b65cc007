"""A scenario of a stranger runs nothing: its own Python and installed packages need `--trust`."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import data
from typer.testing import CliRunner

import sflsim
from sflsim import registry
from sflsim.cli import app
from sflsim.errors import ScenarioError
from sflsim.learning.config import Workload
from sflsim.learning.models.torch_module import TorchModule
from sflsim.retime.rebuild import rebuilt
from sflsim.scenario import Scenario
from sflsim.scenario.loading import vary
from sflsim.session import Options, Requirements, Session

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
    with registry.forgetting():
        yield tmp_path
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
    text = text.replace("kind: mlp", f"kind: torch-module\n    module: {folder}/network.py:small").replace(
        "    hidden:\n    - 64\n    - 64\n    adapters: null\n", ""
    )
    (folder / "run" / "scenario.yaml").write_text(text)
    for command in ("summary", "plot", "report", "explain", "trace"):
        shown = CliRunner().invoke(app, [command, str(folder / "run")])
        assert shown.exit_code == (2 if command == "explain" else 0), shown.output
        assert ("its code is run only with --trust" in shown.output) == (command == "explain")
        assert not executed(folder)


def test_trusted_it_trains_also_in_workers(folder: Path) -> None:
    """The blocks that the function returns are cut by name; one and two workers give the same tables."""
    with pytest.raises(ScenarioError, match="--trust"):
        sflsim.load_scenario(folder / "own.yaml")
    scenario = sflsim.load_scenario(folder / "own.yaml", trust=True)
    alone = sflsim.simulate(scenario)
    assert executed(folder)
    assert Requirements(scenario).costs(2).client_model_bytes == 4 * (64 * 12 + 12 + 12 * 12 + 12)
    together = sflsim.simulate(scenario, workers=2)
    assert alone.evaluations.equals(together.evaluations)
    assert alone.evaluations["loss"].nunique() > 2


def test_its_code_is_part_of_the_keys(folder: Path) -> None:
    """A changed file is another network, whatever its weights."""
    keys = []
    for text in (NETWORK, NETWORK + "\n# changed\n", NETWORK):
        (folder / "network.py").write_text(text)
        sys.modules.pop("sflsim_scenario_network", None)
        scenario = sflsim.load_scenario(folder / "own.yaml", trust=True)
        keys.append(Session(scenario, Options()).materials.task(2, 0).key)
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("network.py:large", ["no function 'large'", "small"]),
        ("network.py:one_block", ["two blocks or more"]),
        ("network.py:number", ["returned int"]),
        ("missing.py:small", ["no file missing.py"]),
        ("no_such_package.networks:small", ["the import of", "no_such_package"]),
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


def test_pairs_and_copies(folder: Path) -> None:
    """Blocks may come as pairs; trust goes along with copies, not with another module."""
    model = TorchModule(module=f"{folder / 'network.py'}:pairs").with_trust()
    assert model.block_names == ["first", "second", "out"]
    for one in (model.model_copy(), copy(model), deepcopy(model)):
        assert one.trusted
    assert not model.model_copy(update={"module": f"{folder / 'network.py'}:small"}).trusted


def untrusted(folder: Path) -> dict[str, Callable[[], Any]]:
    """Every door by which a stranger's scenario may come in, without trust."""
    path, place = folder / "own.yaml", f"{folder / 'network.py'}:small"
    data = yaml.safe_load(SCENARIO) | {"sweep": None, "plan": None}
    data["workload"]["model"]["module"] = place
    harmless = sflsim.load_scenario(path, ["workload.model=mlp", "workload.cut=1", "sweep=null", "plan=null"])
    workload = data["workload"]
    return {
        "load_scenario": lambda: sflsim.load_scenario(path),
        "parse_scenario": lambda: sflsim.parse_scenario(path.read_text(), folder=folder),
        "Scenario": lambda: Scenario(**data),
        "model_validate": lambda: Scenario.model_validate(data),
        "model_validate with a context": lambda: Scenario.model_validate(data, context={"base_dir": folder}),
        "model_validate_json": lambda: Scenario.model_validate_json(json.dumps(data)),
        "model_copy": lambda: harmless.model_copy(update={"workload": Workload.model_validate(workload)}),
        "model_copy of a trusted one": lambda: harmless.with_trust().model_copy(
            update={"workload": Workload.model_validate(workload)}
        ),
        "model_construct": lambda: harmless.model_copy(
            update={
                "workload": harmless.workload.model_copy(
                    update={"model": TorchModule.model_construct(module=place), "cut": 2}
                )
            }
        ),
        "vary": lambda: vary(Scenario(**data), ["stop.rounds=1"]),
        "rebuilt": lambda: rebuilt(Scenario(**data), data),
    }


DOORS = (
    "load_scenario", "parse_scenario", "Scenario", "model_validate", "model_validate with a context",
    "model_validate_json", "model_copy", "model_copy of a trusted one", "model_construct", "vary", "rebuilt",
)  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_every_door_asks(door: str, folder: Path) -> None:
    """Another scenario was trusted in this process before; that is no trust in this one."""
    (folder / "trusted").mkdir()
    for name in ("network.py", "own.yaml"):
        (folder / "trusted" / name).write_text((folder / name).read_text())
    Session(sflsim.load_scenario(folder / "trusted" / "own.yaml", trust=True), Options()).check()
    sys.modules.pop("sflsim_scenario_network", None)
    with pytest.raises(ScenarioError, match="its code is run only with --trust"):
        sflsim.simulate(untrusted(folder)[door]())
    assert not executed(folder)


def test_trust_is_never_pickled_nor_saved(folder: Path) -> None:
    """Workers are handed trust by their options; whoever unpickles or loads gives it anew."""
    trusted = sflsim.load_scenario(folder / "own.yaml", ["sweep=null", "plan=null"], trust=True)
    assert trusted.trusted
    sent = pickle.loads(pickle.dumps(trusted))
    assert not sent.trusted
    assert not sent.workload.model.trusted
    assert sent == trusted
    assert deepcopy(trusted).trusted
    assert vary(trusted, ["stop.rounds=1"]).trusted
    sflsim.simulate(trusted, timing_only=True).save(folder / "run", plots=False)
    (folder / "executed").unlink()
    sys.modules.pop("sflsim_scenario_network", None)
    loaded = sflsim.Run.load(folder / "run")
    assert not loaded.scenario.trusted
    for one in (sent, loaded.scenario):
        with pytest.raises(ScenarioError, match="its code is run only with --trust"):
            sflsim.simulate(one)
    assert not executed(folder)
    again = sflsim.Run.load(folder / "run", trust=True).scenario
    assert again.trusted
    assert again == trusted
    assert sflsim.simulate(sent.with_trust(), timing_only=True).evaluations.equals(
        sflsim.simulate(again, timing_only=True).evaluations
    )


def test_a_sweep_hands_trust_to_its_workers(folder: Path) -> None:
    scenario = sflsim.load_scenario(folder / "own.yaml", ["plan=null"], trust=True)
    found = sflsim.sweep(scenario, workers=2, timing_only=True)
    assert set(found.table["status"]) == {"completed"}
    with pytest.raises(ScenarioError, match="its code is run only with --trust"):
        sflsim.sweep(pickle.loads(pickle.dumps(scenario)), timing_only=True)


def test_one_command_for_two_scenarios(folder: Path) -> None:
    """`--trust` is given for each of the scenarios that a command names, and for no later command."""
    both = [str(folder / "own.yaml"), str(folder / "own.yaml")]
    assert CliRunner().invoke(app, ["validate", "--trust", *both]).exit_code == 0
    shown = CliRunner().invoke(app, ["validate", *both])
    assert shown.exit_code == 2
    assert "its code is run only with --trust" in shown.output


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


ALGORITHM = """
from typing import Literal
from sflsim.algorithms.splitfed_v1 import SplitFedV1

class Renamed(SplitFedV1):
    class Config(SplitFedV1.Config):
        algorithm: Literal["renamed"] = "renamed"
"""


def test_an_algorithm_of_a_package_runs_in_every_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With trust it is found wherever it is asked for; without, it is refused."""
    (folder / "renaming.py").write_text(ALGORITHM)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    point = EntryPoint("renamed", "renaming:Renamed", "sflsim.algorithms")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    content = data(variants=["renamed"], sweep={"server.slots": [1, 2]})
    content["plan"] = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}
    Path("renamed.yaml").write_text(yaml.safe_dump(content))
    change = ["--set", "sweep=null", "--set", "plan=null"]
    commands = [
        ["validate", "renamed.yaml"],
        ["run", "renamed.yaml", "--timing-only", "--out", "run", "--workers", "1", *change],
        ["sweep", "renamed.yaml", "--timing-only", "--out", "sweep", "--workers", "1"],
        ["plan", "renamed.yaml", "--out", "plan", "--workers", "1"],
        ["memory", "renamed.yaml", *change],
    ]
    for command in commands:
        refused = CliRunner().invoke(app, command)
        assert (refused.exit_code, "the installed renaming offers it" in refused.stderr) == (2, True), command
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--trust"])
        assert result.exit_code == 0, (command, result.stderr, result.exception)
