"""`sflsim validate` finds what `run` would refuse; with --deep also what one round of training shows."""

from __future__ import annotations

import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import COSTS, FREE, UNLIMITED, data
from typer.testing import CliRunner, Result

import sflsim
from sflsim.cli import app

MLP = {"kind": "mlp", "hidden": [8]}


def validated(folder: Path, *options: str, **fields: Any) -> Result:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(data(**fields), sort_keys=False))
    return CliRunner().invoke(app, ["validate", str(path), *options])


def test_no_library_is_loaded_that_the_default_does_not_need() -> None:
    """Neither torch nor pint's definitions of units, which take longer than all else together."""
    script = "import sys; from sflsim.cli import app; app(sys.argv[1:], standalone_mode=False)"
    told = "print([name for name in ('torch', 'pint', 'pandas', 'matplotlib') if name in sys.modules])"
    command = [sys.executable, "-c", f"{script}; {told}", "validate", "quickstart"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


NO_TIME = {
    "workload": {"model": MLP, "cut": 1, "batch_size": 8, "costs": FREE},
    "fleet": {"clients": 2, "groups": [{"device": {"compute": "1 GFLOP/s"}, "link": UNLIMITED}]},
    "server": {"link": UNLIMITED},
}


def test_a_stop_that_never_comes(tmp_path: Path) -> None:
    """A time, where no round takes any; with rounds, or a round that takes time, it comes."""
    result = validated(tmp_path, **NO_TIME, stop={"time": "1 s"})
    assert (result.exit_code, "stop" in result.stderr) == (2, True)
    with pytest.raises(sflsim.ScenarioError) as caught:
        sflsim.simulate(sflsim.load_scenario(tmp_path / "own.yaml"), timing_only=True)
    assert caught.value.problems[0].found in result.stderr
    assert validated(tmp_path, **NO_TIME, stop={"time": "1 s", "rounds": 5}).exit_code == 0
    assert validated(tmp_path, stop={"time": "1 h"}).exit_code == 0


def test_a_stop_before_the_first_round_ends(tmp_path: Path) -> None:
    result = validated(tmp_path, stop={"time": "1 ms"})
    assert (result.exit_code, "before its first round" in result.stderr) == (0, True)


def test_deep_trains_a_round(tmp_path: Path) -> None:
    """A network that fails at a loss that only training meets: found with --deep alone."""
    (tmp_path / "network.py").write_text(
        "from torch import nn\n"
        "class Fails(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if len(x) == 7 and not x.is_meta:\n"
        "            raise ValueError('seven')\n"
        "        return super().forward(x)\n"
        "def make():\n"
        "    return nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), Fails(4, 10))\n"
    )
    model = {"kind": "torch-module", "module": "network.py:make"}
    workload = {"model": model, "cut": 1, "batch_size": 7, "costs": COSTS}
    assert validated(tmp_path, "--trust", workload=workload).exit_code == 0
    result = validated(tmp_path, "--trust", "--deep", workload=workload)
    assert (result.exit_code, "network.py:5" in result.stderr) == (2, True)
    assert validated(tmp_path, "--trust", "--deep", workload={**workload, "batch_size": 8}).exit_code == 0


@pytest.mark.parametrize(("place", "key", "belongs"), [
    ("fleet", "device", "fleet.groups[]"),
    ("fleet", "link", "fleet.groups[]"),
    ("fleet.groups[0]", "slots", "server"),
    ("", "rounds", "stop"),
    ("", "batch_size", "workload"),
    ("workload", "hidden", "workload.model"),
    ("workload", "clients", "fleet"),
    ("variants[0]", "batch_size", "workload"),
    ("variants[0]", "lr", "variants[].client_optimizer"),
    ("variants[0]", "tau", "mu-splitfed"),
    ("workload.model", "dense", "cnn"),
    ("stop", "every", "evaluate"),
])  # fmt: skip
def test_a_key_that_exists_elsewhere(place: str, key: str, belongs: str, tmp_path: Path) -> None:
    """It is answered with where it belongs, not with the word that is spelled most like it."""
    content = deepcopy(data())
    here: Any = content
    for step in re.findall(r"\w+", place):
        here = here[int(step) if step.isdigit() else step]
    assert key not in here
    here[key] = 1
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(sflsim.ScenarioError) as caught:
        sflsim.load_scenario(tmp_path / "own.yaml")
    (remedy,) = (problem.remedy for problem in caught.value.problems if problem.found.endswith(f"'{key}'"))
    assert remedy.endswith(f" {belongs}")


@pytest.mark.parametrize(("place", "key", "meant"), [("", "seed", "seeds"), ("fleet", "client", "clients")])
def test_a_misspelled_key(place: str, key: str, meant: str, tmp_path: Path) -> None:
    """A word one letter off is a misspelling, though it is a key of something else."""
    content = deepcopy(data())
    (content[place] if place else content)[key] = 1
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(sflsim.ScenarioError, match=f"did you mean '{meant}'"):
        sflsim.load_scenario(tmp_path / "own.yaml")


@pytest.mark.parametrize(("model", "names"), [
    ({"kind": "mlp", "hidden": 8}, ["hidden-1", "output"]),
    ({"kind": "mlp", "hidden": [8, 4]}, ["hidden-1", "hidden-2", "output"]),
    ({"kind": "cnn", "channels": 4, "dense": 8}, ["conv-1", "dense", "output"]),
    ({"kind": "cnn", "channels": [4], "dense": [8]}, ["conv-1", "dense", "output"]),
    ({"kind": "cnn", "channels": 4, "dense": [8, 6]}, ["conv-1", "dense-1", "dense-2", "output"]),
])  # fmt: skip
def test_sizes_of_layers_have_one_shape(model: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    """A list, or a number for one layer, in every model; what is written out reads to the same."""
    workload = {**data()["workload"], "model": model}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(data(workload=workload), sort_keys=False))
    scenario = sflsim.load_scenario(tmp_path / "own.yaml")
    assert scenario.workload.model.block_names == names
    assert [name for name, _ in scenario.workload.model.build((1, 8, 8), 10)] == names
    assert sflsim.parse_scenario(scenario.to_yaml()) == scenario


@pytest.mark.parametrize("wrong", [True, "8", 2.5, [], 0, [0]])
def test_no_size_of_a_layer(wrong: Any, tmp_path: Path) -> None:
    for model in ({"kind": "mlp", "hidden": wrong}, {"kind": "cnn", "dense": wrong}):
        workload = {**data()["workload"], "model": model}
        assert validated(tmp_path, workload=workload).exit_code == 2
