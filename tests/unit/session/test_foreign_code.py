"""What a user's code raises is a mistake of the scenario: at its component, with the place in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import yaml
from pydantic import BaseModel, ConfigDict, model_validator
from support import data, read

import sflsim
from sflsim import registry
from sflsim.algorithms.splitfed_v1 import SplitFedV1
from sflsim.errors import RunFailed, ScenarioError
from sflsim.learning.data.base import Data
from sflsim.learning.data.partition import IID
from sflsim.learning.models.mlp import MLP
from sflsim.session import Options, Session

HERE = Path(__file__).name

NETWORK = """
import torch
from torch import nn

class Last(nn.Module):
    def __init__(self, fails):
        super().__init__()
        self.linear, self.fails = nn.Linear(4, 10), fails

    def forward(self, x):
        y = self.linear(x)
        if self.fails == "tuple":
            return y, x
        if self.fails == "item":
            return y + float(y.sum() > 1e9)
        if self.fails == "backward":
            return Unlearnable.apply(y)
        if self.fails == "later" and not x.is_meta and len(x) == 5:
            raise KeyError("five")
        return y

class Unlearnable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise NotImplementedError("no gradient here")

    generate_vmap_rule = True

def small(fails: str):
    if fails == "exit":
        raise SystemExit(0)
    return nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), Last(fails))
"""


def line_of(text: str, code: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if code in line)


@pytest.mark.parametrize(("fails", "code"), [
    ("tuple", ""),
    ("item", "float(y.sum()"),
    ("backward", "no gradient here"),
    ("exit", "raise SystemExit"),
    ("later", 'KeyError("five")'),
])  # fmt: skip
def test_a_network(fails: str, code: str, tmp_path: Path) -> None:
    """It is refused before any training if a trial shows it, else when it fails; never a traceback."""
    (tmp_path / "network.py").write_text(NETWORK)
    model = {"kind": "torch-module", "module": "network.py:small", "arguments": {"fails": fails}}
    workload = {"model": model, "cut": 1, "batch_size": 5 if fails == "later" else 8}
    path = tmp_path / "own.yaml"
    fleet = {"clients": 2, "groups": [{"device": "jetson-nano"}]}
    path.write_text(yaml.safe_dump(data(workload=workload, fleet=fleet)))
    scenario = sflsim.load_scenario(path, trust=True)
    with pytest.raises(ScenarioError) as caught:
        sflsim.simulate(scenario) if fails == "later" else Session(scenario, Options()).check()
    (problem,) = caught.value.problems
    assert problem.path.startswith("workload.model")
    assert Path(problem.file).name == "own.yaml"
    if code:
        assert f"network.py:{line_of(NETWORK, code)}" in problem.found
    else:
        assert "returns a tuple" in problem.found


class Broken(Exception):
    """An error that simpy cannot make again from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def fails(*arguments: Any) -> Any:
    raise Broken("of mine", "two")


def overlap(labels: Any, clients: int, seed: int) -> list[Any]:
    return [np.arange(len(labels))] * clients


def too_far(labels: Any, clients: int, seed: int) -> list[Any]:
    return [np.arange(len(labels)) + 1, np.array([0])]


def plug_ins() -> dict[str, Any]:
    """Return classes of one component of each kind, whose `act` a test fills."""

    class OwnModel(BaseModel):
        model_config = ConfigDict(frozen=True)
        kind: Literal["own"] = "own"
        block_names: tuple[str, ...] = ("a", "b")

        def build(self, shape: Any, classes: int) -> Any:
            return MLP(hidden=(4,)).build(shape, classes)

    class OwnData(BaseModel):
        model_config = ConfigDict(frozen=True)
        kind: Literal["own"] = "own"
        classes: int = 2
        sample_shape: tuple[int, ...] = (4,)

        def training_labels(self) -> Any:
            return np.arange(16) % 2

        def load(self) -> Data:
            x, y = torch.randn(16, 4), torch.arange(16) % 2
            return Data(x, y, x, y, 2)

    class OwnPartition(IID):
        kind: Literal["own"] = "own"  # type: ignore[assignment]

    class OwnAlgorithm(SplitFedV1):
        class Config(SplitFedV1.Config):
            algorithm: Literal["own"] = "own"  # type: ignore[assignment]

    return {"model": OwnModel, "dataset": OwnData, "partition": OwnPartition, "variants[0]": OwnAlgorithm}


@pytest.fixture
def own() -> Iterator[dict[str, Any]]:
    with registry.forgetting():
        found = plug_ins()
        sflsim.register_model(found["model"])
        sflsim.register_dataset(found["dataset"])
        sflsim.register_partition(found["partition"])
        sflsim.register_algorithm(found["variants[0]"])
        yield found


def scenario(component: str) -> sflsim.Scenario:
    workload = {**data()["workload"], "batch_size": 4}
    variants = [{"algorithm": "own"}] if component == "variants[0]" else data()["variants"]
    if component != "variants[0]":
        workload[component] = "own"
    return read(data(workload=workload, variants=variants))


def a_label_too_large(self: Any) -> Data:
    x, y = torch.randn(16, 4), torch.arange(16)
    return Data(x, y, x, y, 2)


def another_shape(self: Any) -> Data:
    x, y = torch.randn(16, 5), torch.arange(16) % 2
    return Data(x, y, x, y, 2)


def raising_generator(self: Any, sim: Any) -> Any:
    yield sim.env.timeout(1.0)
    fails()


@pytest.mark.parametrize(("component", "method", "does", "word"), [
    ("model", "build", fails, "of mine"),
    ("dataset", "load", fails, "of mine"),
    ("dataset", "training_labels", fails, "of mine"),
    ("dataset", "training_labels", lambda self: np.array([0, 2**40] * 8), "from 0 to 1099511627776"),
    ("dataset", "training_labels", lambda self: np.linspace(0, 1, 16), "float64"),
    ("dataset", "load", a_label_too_large, "labels from 0 to 15 for 2 classes"),
    ("dataset", "load", another_shape, "(5,)"),
    ("partition", "partition", fails, "of mine"),
    ("partition", "partition", lambda self, *args: overlap(*args), "two clients"),
    ("partition", "partition", lambda self, *args: too_far(*args), "to 1438"),
    ("partition", "partition", lambda self, *args: [], "0 shards"),
    ("variants[0]", "check", fails, "of mine"),
    ("variants[0]", "check_fleet", lambda self, **facts: fails(), "of mine"),
    ("variants[0]", "client_memory_bytes", fails, "of mine"),
    ("variants[0]", "participate", fails, "of mine"),
    ("variants[0]", "protocol", raising_generator, "of mine"),
    ("variants[0]", "aggregate", fails, "of mine"),
])  # fmt: skip
def test_a_plug_in(
    own: dict[str, Any], component: str, method: str, does: Callable[..., Any], word: str
) -> None:
    setattr(own[component], method, does)
    with pytest.raises(ScenarioError) as caught:
        sflsim.simulate(scenario(component))
    (problem,) = caught.value.problems
    assert problem.path == component if component == "variants[0]" else f"workload.{component}"
    assert word in problem.found
    assert problem.file == "test.yaml"
    if word == "of mine":
        line = line_of(Path(__file__).read_text(), 'raise Broken("of mine"')
        assert f"({HERE}:{line})" in problem.found


@pytest.mark.usefixtures("own")
def test_a_callback_is_no_component() -> None:
    """What the caller's own callback raises reaches the caller, though a plug-in stands in the same file."""
    with pytest.raises(Broken):
        sflsim.simulate(scenario("variants[0]"), progress=fails)


def test_a_validator_of_a_plug_in() -> None:
    """Whatever a plug-in's Config raises while it is read stands at its place."""

    class Strict(IID):
        kind: Literal["strict"] = "strict"  # type: ignore[assignment]

        @model_validator(mode="after")
        def _strict(self) -> Any:
            raise KeyError("of mine")

    with registry.forgetting():
        sflsim.register_partition(Strict)
        workload = {**data()["workload"], "partition": "strict"}
        with pytest.raises(ScenarioError, match="of mine") as caught:
            read(data(workload=workload))
    assert caught.value.problems[0].path == "workload.partition"


def test_what_is_not_a_users_stays_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that passes through no code of a user's is not blamed on the scenario."""
    session = Session(read(data()), Options(timing_only=True))
    monkeypatch.setattr(SplitFedV1, "check", lambda self, costs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.check()


@pytest.mark.parametrize("ask", [lambda: np.empty(2**58), lambda: torch.empty(2**58)], ids=["numpy", "torch"])
def test_memory_that_cannot_be_had_is_a_run_that_failed(ask: Callable[[], object]) -> None:
    """It is nobody's mistake in the scenario, and no bug: one line, with what was asked for."""

    class Greedy(sflsim.MemoryStore):
        def put(self, key: str, value: Any) -> None:
            ask()

    with pytest.raises(RunFailed, match="batch_size"):
        sflsim.simulate(read(data()), store=Greedy())
