"""Which combinations of a plan are one point, and which are refused since given costs cannot follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import COSTS, data, read
from typer.testing import CliRunner

import sflsim
from sflsim.algorithms.common.unsplit import Unsplit
from sflsim.cli import app
from sflsim.errors import ScenarioError
from sflsim.learning.costs import FOLLOWS
from sflsim.learning.profiling.measure import workload_costs
from sflsim.planner.plan import Plan, plan
from sflsim.registry import algorithms
from sflsim.scenario.unread import unread
from sflsim.terminal.plan import format_pareto

MODEL = {"kind": "mlp", "hidden": [8, 8, 8]}
WORKLOAD = {"model": MODEL, "cut": 1, "batch_size": 8}
OTHER = {"cut": 2, "slots": 3, "compute": "7 FLOP/s"} | dict.fromkeys(
    ("auxiliary_forward", "auxiliary_backward"), "7 FLOP"
)
UNSPLIT = ["fedavg", "fedasync", {"algorithm": "fedbuff", "b": 1}]


def scenario(decisions: dict[str, Any], variants: list[Any], **fields: Any) -> sflsim.Scenario:
    """Return a scenario without a target, whose plan has these decisions; its costs are derived."""
    block = {"decisions": decisions, "objectives": ["time"], **fields.pop("plan", {})}
    settings = {"workload": WORKLOAD, "variants": variants, "stop": {"rounds": 3}, **fields}
    return read(data(**settings) | {"plan": block})


def shown(found: Plan) -> str:
    """Return the headings of the front as it stands on the terminal."""
    table = format_pareto(found)
    assert table is not None
    return " ".join(str(column.header).replace("\n", "") for column in table.columns)


@pytest.mark.parametrize("targets", [[1, 2], [2]])
def test_a_front_of_one_point_keeps_its_columns(targets: list[int]) -> None:
    """What was decided is shown, although the one point on the front has one value of it."""
    found = plan(scenario({"server.slots": targets, "workload.cut": [1, 2]}, ["splitfed-v1", "sl"]))
    assert len(found.pareto) == 1
    assert {"variant", "workload.cut", "server.slots", "time_s"} <= set(found.pareto.columns)
    headings = shown(found)
    assert "variant" in headings
    assert "workload.cut" in headings
    assert ("server.slots" in headings) == (len(targets) > 1)


@pytest.mark.parametrize(
    "decisions",
    [
        {"workload.cut": [1, 2, 3]},
        {"workload.cut": [1, 2], "server.slots": [1, 2], "server.compute": ["4 FLOP/s", "8 FLOP/s"]},
        {"workload": [WORKLOAD | {"cut": cut} for cut in (1, 2, 3)]},
        {"variants[fed].cut": [1, 2]},
        {"workload.costs.activation": ["8 byte", "16 byte"]},
    ],
    ids=lambda decisions: " ".join(decisions),
)
def test_algorithms_that_do_not_cut_are_one_point(decisions: dict[str, Any]) -> None:
    """However many cuts, servers and costs of the cut are searched; one that cuts has a point for each."""
    found = plan(scenario(decisions, [*UNSPLIT, "splitfed-v1"])).points
    counts = found["algorithm"].value_counts()
    assert counts[["fedavg", "fedasync", "fedbuff"]].tolist() == [1, 1, 1]
    values = [len(one) for path, one in decisions.items() if not path.startswith("variants")]
    assert counts["splitfed-v1"] == (1 if not values else values[0] if len(values) == 1 else 8)


def test_what_is_paid_for_is_a_point_of_its_own() -> None:
    """A larger server costs money, also where nobody computes on it."""
    decisions = {"server.compute": ["4 FLOP/s", "8 FLOP/s"]}
    priced = {"objectives": ["time", "cost"], "prices": {"tflops_hour": 1e9}}
    assert len(plan(scenario(decisions, ["fedavg"])).points) == 1
    assert plan(scenario(decisions, ["fedavg"], plan=priced)).points["cost"].nunique() == 2


def test_a_variant_with_a_cut_of_its_own_is_one_point() -> None:
    """The workload's cut says nothing to it, unless its own is decided, too."""
    variants = ["splitfed-v1", {"algorithm": "sl", "cut": 2}]
    counts = plan(scenario({"workload.cut": [1, 2, 3]}, variants)).points["algorithm"].value_counts()
    assert counts.to_dict() == {"splitfed-v1": 3, "sl": 1}
    both = {"workload.cut": [1, 2], "variants[sl].cut": [None, 3]}
    points = plan(scenario(both, variants)).points
    assert (points["algorithm"] == "sl").sum() == 3  # cut 1, cut 2, and 3 of its own


def test_a_cut_that_says_which_layers_are_trained_is_read() -> None:
    """With adapters on one part alone FedLoRA trains other layers at another cut."""
    for on, matters in (("both", False), ("client", True), ("server", True)):
        content = {"workload": WORKLOAD | {"model": MODEL | {"adapters": {"rank": 2, "on": on}}}}
        paths = unread(content, {"algorithm": "fedlora", "cut": None})
        assert ("workload.cut" not in paths) == matters


def test_what_is_declared_unread_is_unread() -> None:
    """Not one number of any table changes with it."""
    names = [name for name, one in algorithms().items() if issubclass(one, Unsplit) and name != "fedlora"]
    variants = [{"algorithm": name} for name in names]
    paths = {path for name in names for path in algorithms()[name].unread}
    changes = [
        f"{path}={OTHER.get(path.split('.')[-1], '7 byte')}"
        for path in paths
        if not path.startswith("variants.")
    ]
    content = data(workload=WORKLOAD, variants=variants, stop={"rounds": 3})
    runs = [
        sflsim.simulate(read(content), timing_only=True),
        sflsim.simulate(read(content, changes), timing_only=True),
        sflsim.simulate(
            read(content | {"variants": [one | {"cut": 3} for one in variants]}), timing_only=True
        ),
    ]
    assert len(changes) > 8
    tables = [[one.spans, one.evaluations, one.clients.drop(columns="cut")] for one in runs]
    before, *after = [[one.drop(columns="variant").to_csv() for one in each] for each in tables]
    assert after == [before, before]


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("cut", {}),
        ("batch_size", {"batch_size": 16}),
        ("model", {"model": {"kind": "cnn", "channels": [4, 4], "dense": 8}}),
    ],
)
def test_costs_follow_what_they_are_said_to(what: str, other: dict[str, Any]) -> None:
    """What the model gives changes with nothing that it is not declared to follow."""
    here = read(data(workload=WORKLOAD)).workload
    there = read(data(workload=WORKLOAD | other)).workload
    one, two = (
        workload_costs(here, [1])[1],
        workload_costs(there, [2 if what == "cut" else 1])[2 if what == "cut" else 1],
    )
    for key in COSTS:
        name = key + ("_flop" if key.endswith(("forward", "backward")) else "_bytes")
        if getattr(one, name) != getattr(two, name):
            assert key in FOLLOWS[what], key
    assert any(getattr(one, f"{key}_bytes", 0) != getattr(two, f"{key}_bytes", 0) for key in FOLLOWS[what])


def refused(act: Callable[[], Any]) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        act()
    assert all("workload.costs" in one.found for one in caught.value.problems)
    assert all("leave them out" in one.remedy for one in caught.value.problems)
    return [one.path for one in caught.value.problems]


SEARCHED: list[tuple[str, list[Any], dict[str, str]]] = [
    ("workload.cut", [1, 2], {"activation": "8 byte"}),
    ("workload.cut", [1, 2], COSTS),
    ("workload.batch_size", [8, 16], {"client_forward": "8 FLOP"}),
    ("workload.model.hidden", [[8, 8], [4, 4]], {"client_model": "8 byte"}),
    ("workload.model", [MODEL, "cnn"], {"whole_live": "8 byte"}),
    ("variants[splitfed-v1].cut", [1, 2], {"client_live": "8 byte"}),
]


@pytest.mark.parametrize(("path", "values", "costs"), SEARCHED, ids=lambda one: str(one)[:30])
def test_given_costs_cannot_follow(path: str, values: list[Any], costs: dict[str, str]) -> None:
    """A plan and a sweep that would charge the same for different things are refused at their line."""
    fixed = WORKLOAD | {"costs": costs}
    planned = scenario({path: values}, ["splitfed-v1", "fedavg"], workload=fixed)
    assert refused(lambda: plan(planned)) == [f"plan.decisions.{path}"]
    swept = read(data(workload=fixed, variants=["splitfed-v1"], stop={"rounds": 1}, sweep={path: values}))
    assert refused(lambda: sflsim.sweep(swept, timing_only=True)) == [f"sweep.{path}"]
    bare = read(data(workload=fixed, variants=["splitfed-v1"], stop={"rounds": 1}))
    assert refused(lambda: sflsim.sweep(bare, {path: values}, timing_only=True)) == [path]


@pytest.mark.parametrize(
    ("path", "values", "costs"),
    [
        ("workload.cut", [1, 2], {"labels": "8 byte", "scalar": "8 byte", "whole_live": "8 byte"}),
        ("workload.batch_size", [8, 16], {"client_model": "8 byte", "server_model": "8 byte"}),
        ("workload.model.hidden", [[8, 8], [4, 4]], {"labels": "8 byte"}),
        ("workload.cut", [1], COSTS),
        ("server.slots", [1, 2], COSTS),
    ],
    ids=lambda one: str(one)[:30],
)
def test_given_costs_that_need_not_follow_are_fine(
    path: str, values: list[Any], costs: dict[str, str]
) -> None:
    fixed = WORKLOAD | {"costs": costs}
    assert len(plan(scenario({path: values}, ["splitfed-v1"], workload=fixed)).points) == len(values)
    swept = read(data(workload=fixed, variants=["splitfed-v1"], stop={"rounds": 1}, sweep={path: values}))
    assert len(sflsim.sweep(swept, timing_only=True).table) == len(values)


def test_costs_that_nobody_reads_are_fine() -> None:
    """FedAvg does not cut; whole workloads bring their own costs."""
    fixed = WORKLOAD | {"costs": COSTS}
    assert len(plan(scenario({"workload.cut": [1, 2]}, ["fedavg"], workload=fixed)).points) == 1
    whole = [fixed | {"cut": cut} for cut in (1, 2)]
    assert len(plan(scenario({"workload": whole}, ["splitfed-v1"], workload=fixed)).points) == 2


def test_variants_with_several_cuts_at_one_set_of_costs_are_refused() -> None:
    variants = [{"algorithm": "splitfed-v1", "cut": [1, 2]}]
    fixed = WORKLOAD | {"costs": COSTS}
    assert refused(lambda: plan(scenario({"server.slots": [1, 2]}, variants, workload=fixed))) == ["variants"]


@pytest.mark.parametrize(
    ("costs", "asked", "words"),
    [
        (COSTS, [], "other cuts"),
        (COSTS, ["--cut", "2"], "other cuts"),
        (COSTS, ["--cut", "1", "--batch-size", "9"], "a batch of 8"),
        (COSTS, ["--cut", "1", "--precision", "bf16"], "bf16"),
        (COSTS, ["--cut", "1"], ""),
        ({"client_model": "8 byte"}, ["--cut", "1", "--batch-size", "9"], ""),
        ({"client_forward": "8 FLOP", "labels": "8 byte"}, [], ""),
        ({"whole_live": "8 byte"}, [], ""),
    ],
)
def test_memory_refuses_what_given_costs_cannot_follow(
    costs: dict[str, str], asked: list[str], words: str, tmp_path: Any
) -> None:
    """Another cut, batch size or precision; what the tables do not show, or what need not follow, is fine."""
    file = tmp_path / "asked.yaml"
    file.write_text(read(data(workload=WORKLOAD | {"costs": costs})).to_yaml())
    result = CliRunner().invoke(app, ["memory", str(file), *asked])
    assert result.exit_code == (2 if words else 0), result.output
    assert not words or (words in result.output and "workload.costs" in result.output)
