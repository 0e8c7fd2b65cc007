"""`no`, `off`, `true` and 1 mean one thing in a whole scenario, also where it hands arguments on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import data, read

import sflsim
from sflsim.errors import ScenarioError
from sflsim.learning.models.torch_module import TorchModule
from sflsim.learning.signatures import misfits, unknown
from sflsim.session import Options, Session

OPTIMIZER = {"name": "SGD", "lr": 0.1, "momentum": 0.9}


def refused(content: dict[str, Any]) -> str:
    with pytest.raises(ScenarioError) as caught:
        Session(read(content), Options(timing_only=True)).check()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"nesterov": "no"},
            ["client_optimizer.nesterov", "found 'no'", "true or false", "did you mean false?"],
        ),
        ({"nesterov": "off"}, ["did you mean false?"]),
        ({"nesterov": "Yes"}, ["did you mean true?"]),
        ({"nesterov": 1}, ["found 1", "true or false"]),
        ({"momentum": True}, ["client_optimizer.momentum", "found true", "a number"]),
        ({"momentum": "0.9"}, ["client_optimizer.momentum", "found '0.9'", "a number"]),
        ({"dampening": None}, ["client_optimizer.dampening"]),
        ({"lr": True}, ["client_optimizer.lr", "found true", "a number"]),
        ({"name": "Adam", "betas": [0.9, True]}, ["client_optimizer."]),
        ({"name": "Adam", "amsgrad": "no"}, ["client_optimizer."]),
    ],
)
def test_an_optimizer_is_typed_by_its_signature(changes: dict[str, Any], words: list[str]) -> None:
    text = refused(
        data(variants=[{"algorithm": "splitfed-v1", "client_optimizer": {**OPTIMIZER, **changes}}])
    )
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "settings",
    [
        {**OPTIMIZER, "nesterov": True, "weight_decay": 0},
        {"name": "Adam", "betas": [0.5, 1e-3], "amsgrad": False, "eps": 1},
        {"name": "Adafactor", "eps": [None, 0.001]},
        {"name": "Rprop", "etas": [0.5, 2]},
    ],
)
def test_right_arguments_pass(settings: dict[str, Any]) -> None:
    variants = [{"algorithm": "splitfed-v1", "client_optimizer": settings}]
    Session(read(data(variants=variants)), Options(timing_only=True)).check()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("workload.model.weights_strict", "no", ["workload.model.weights_strict", "did you mean false?"]),
        ("workload.model.weights_strict", "0", ["found 0; allowed: true or false"]),
        ("variants[0].server_optimizer.lr", "true", ["server_optimizer.lr", "found true", "a number"]),
        ("workload.batch_size", "true", ["workload.batch_size", "found true", "a number"]),
        ("workload.cut", "true", ["workload.cut", "found true"]),
        ("workload.partition", "{kind: dirichlet, alpha: true}", ["workload.partition.alpha", "found true"]),
        ("plan", "{constraints: {device_memory: off}}", ["plan.constraints.device_memory", "mean false?"]),
        ("plan", "{prices: {server_hour: true}}", ["plan.prices.server_hour", "found true"]),
        ("fleet.groups[0].link.in_order", "no", ["link.in_order", "did you mean false?"]),
        ("fleet.events", "[{at: 3 s, leave: yes}]", ["fleet.events[0].leave", "did you mean true?"]),
        (
            "catalog",
            "{links: {own: {replaces: no, figures: {}}}}",
            ["catalog.links.own.replaces", "did you mean false?"],
        ),
    ],
)
def test_a_truth_value_is_no_number_and_no_word(path: str, value: str, words: list[str]) -> None:
    content = data()
    content["workload"]["model"] = {"kind": "mlp", "hidden": [8]}
    with pytest.raises(ScenarioError) as caught:
        read(content, [f"{path}={value}"])
    for word in words:
        assert word in str(caught.value)


def test_names_may_be_such_words() -> None:
    """They are text, as in YAML 1.2."""
    variants = [{"algorithm": "splitfed-v1", "name": word} for word in ("no", "off", "yes")]
    assert [one.name for one in read(data(variants=variants)).variants] == ["no", "off", "yes"]


def network(width: int, scale: float = 1, *, bias: bool = True, act: str = "relu", free=None):  # type: ignore[no-untyped-def]
    """Return nothing: it is asked for its signature."""


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"width": 8, "scale": 2, "bias": False, "act": "no", "free": "no"}, []),
        ({"width": True}, ["width"]),
        ({"width": 8.5}, ["width"]),
        ({"width": "8"}, ["width"]),
        ({"width": 8, "bias": "no"}, ["bias"]),
        ({"width": 8, "bias": 0}, ["bias"]),
        ({"width": 8, "scale": True, "act": False}, ["scale", "act"]),
    ],
)
def test_a_function_is_typed_by_its_signature(given: dict[str, Any], names: list[str]) -> None:
    assert [one.path for one in misfits(network, given)] == names


def test_names_of_arguments() -> None:
    assert unknown(network, {"width": 1}) == []
    (problem,) = unknown(network, {"widht": 1})
    assert problem.remedy == "did you mean 'width'?"
    assert unknown(lambda **more: None, {"any": 1}) == []


def test_a_users_function(tmp_path: Path) -> None:
    """Types from defaults where there are no annotations; the path is that of the argument."""
    (tmp_path / "own_arguments.py").write_text(
        "from torch import nn\n"
        "def small(width=8, bias=True):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width, bias=bias), nn.Linear(width, 10))\n"
    )

    def model(**arguments: Any) -> TorchModule:
        place = f"{tmp_path / 'own_arguments.py'}:small"
        return TorchModule(module=place, arguments=arguments).with_trust()

    assert len(model(width=4, bias=False).build((64,), 10)) == 3
    for arguments, words in (
        ({"bias": "no"}, ["workload.model.arguments.bias", "did you mean false?"]),
        ({"width": True}, ["workload.model.arguments.width", "found true"]),
        ({"widht": 4}, ["the unknown argument 'widht'", "did you mean 'width'?"]),
    ):
        with pytest.raises(ScenarioError) as caught:
            model(**arguments).build((64,), 10)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("scale_attn_weights: no", ["workload.model.config.scale_attn_weights", "did you mean false?"]),
        ("hidden_size: true", ["workload.model.config.hidden_size", "found true"]),
        ("n_layer: 2.5", ["workload.model.config.n_layer"]),
        ("resid_pdrop: '0.1'", ["workload.model.config.resid_pdrop"]),
    ],
)
def test_a_librarys_config(changes: str, words: list[str]) -> None:
    pytest.importorskip("transformers")
    from sflsim.learning.models.transformer import Transformer

    small = sflsim.scenario.yaml_lines.read_yaml(f"{{model_type: gpt2, n_head: 2, {changes}}}", "<test>")
    with pytest.raises(ScenarioError) as caught:
        Transformer(config=small.data).block_names  # noqa: B018
    for word in words:
        assert word in str(caught.value)
