"""Devices that are too small, and the table of what fits where."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest
from support import data, read
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app
from sflsim.errors import ScenarioError

MIB = 2**20
# 1 MiB of parameters: first-order training takes 2 + 4 + 1 MiB, a zeroth-order client 1 + 1 MiB.
COSTS = {"client_model": "1 MiB", "client_saved": "4 MiB", "client_live": "1 MiB"}


def scenario(memory: str, on_oom: str = "refuse", **more: Any) -> sflsim.Scenario:
    groups = [
        {"name": "small", "count": 3, "device": {"compute": "1 GFLOP/s", "memory": memory}},
        {"name": "large", "count": 2, "device": {"compute": "1 GFLOP/s", "memory": "1 GiB"}},
    ]
    return read(
        {
            "name": "oom",
            "workload": {"model": {"kind": "mlp", "hidden": [8, 8]}, "costs": COSTS},
            "fleet": {"clients": 5, "participants": 4, "groups": groups, "on_oom": on_oom},
            "variants": ["splitfed-v1", "mu-splitfed"],
            "stop": {"rounds": 3},
            **more,
        }
    )


def test_devices_that_are_too_small_are_refused_by_name_and_amount() -> None:
    """First order does not fit 5 MiB, zeroth order does; nothing is said of the groups that suffice."""
    with pytest.raises(ScenarioError) as caught:
        sflsim.simulate(scenario("5 MiB"))
    (problem,) = caught.value.problems
    assert problem.path == "fleet.groups[0].device"
    assert problem.found == "5.000 MiB of memory"
    assert problem.allowed == "7.000 MiB or more, for splitfed-v1"
    assert "on_oom: exclude" in problem.remedy


def test_they_are_left_out_variant_by_variant() -> None:
    """With `exclude` only the two large devices take part where the small ones cannot; others as ever."""
    run = sflsim.simulate(scenario("5 MiB", "exclude"), timing_only=True)
    everybody = sflsim.simulate(scenario("6 GiB"), timing_only=True)
    groups = run.clients.groupby("variant")["group"].unique().map(sorted).to_dict()
    assert groups == {"splitfed-v1": ["large"], "mu-splitfed": ["large", "small"]}
    assert run.runs["left_out"].tolist() == ["small (needs 7.000 MiB, has 5.000 MiB)", ""]
    same = "variant == 'mu-splitfed'"
    own, others = (one.spans.query(same).reset_index(drop=True) for one in (run, everybody))
    assert own.equals(others)


def test_ignoring_runs_them_all() -> None:
    run = sflsim.simulate(scenario("5 MiB", "ignore"), timing_only=True)
    assert set(run.clients["group"]) == {"small", "large"}
    assert set(run.runs["left_out"]) == {""}


def test_a_fleet_of_which_nobody_is_left_is_refused() -> None:
    fleet = {
        "clients": 1,
        "on_oom": "exclude",
        "groups": [{"device": {"compute": "1 GFLOP/s", "memory": "1 kB"}}],
    }
    with pytest.raises(ScenarioError, match="1000 B of memory"):
        sflsim.simulate(scenario("5 MiB", fleet=fleet))


def test_asynchronous_places_go_to_those_that_are_left() -> None:
    """Two large devices, four places: two work, and none of the small ones ever does."""
    variants = [{"algorithm": "fedasync"}, {"algorithm": "fedbuff", "b": 1}]
    costs = {**COSTS, "whole_saved": "4 MiB", "whole_live": "1 MiB", "server_model": "1 MiB"}
    workload = {"model": {"kind": "mlp", "hidden": [8, 8]}, "costs": costs}
    run = sflsim.simulate(
        scenario("5 MiB", "exclude", variants=variants, workload=workload), timing_only=True
    )
    assert set(run.clients["group"]) == {"large"}
    assert (run.clients["rounds"] > 0).all()


def test_the_table_of_cuts_and_needs() -> None:
    """One row for every cut, one alone for what is not cut; half the bytes in half the precision."""
    asked = read(
        {
            "name": "table",
            "workload": {"model": {"kind": "mlp", "hidden": [48, 32]}, "batch_size": 32},
            "fleet": {
                "clients": 1,
                "groups": [
                    {"name": "tiny", "device": {"compute": "1 GFLOP/s", "memory": "30 kB"}},
                ],
            },
            "variants": ["fedavg", "splitfed-v1", "mu-splitfed"],
            "stop": {"rounds": 1},
        }
    )
    full, half = sflsim.memory(asked), sflsim.memory(asked, precision="bf16")
    assert full.cuts["last_block"].tolist() == ["hidden-1", "hidden-2"]
    assert full.cuts["client_parameters_bytes"].tolist() == [12480.0, 18752.0]
    assert half.cuts["client_parameters_bytes"].tolist() == [6240.0, 9376.0]
    assert full.needs[["variant", "cut"]].apply(tuple, axis=1).tolist() == [
        ("fedavg", 0), ("splitfed-v1", 1), ("splitfed-v1", 2), ("mu-splitfed", 1), ("mu-splitfed", 2),
    ]  # fmt: skip
    # Parameters 12,480; a step 39,104 (learning/test_costs.py); forward: input, and ReLU's in- and output.
    assert full.needs["client_bytes"].tolist()[1:4:2] == [51584.0, 12480.0 + 4 * 32 * (64 + 48 + 48)]
    assert full.needs["too_small"].tolist() == ["tiny"] * 5
    smaller = sflsim.memory(asked, batch_size=4)
    assert smaller.needs["too_small"].tolist() == ["tiny", "", "tiny", "", ""]


def test_what_the_server_needs(tmp_path: Any) -> None:
    """All replicas at once, the least, and how many at a time fit in the scenario's memory, by hand.

    Server parts of 32 bytes for 3 participants: model and 3 replicas, or model, mean and one replica.
    """
    content = data(variants=["splitfed-v1", "splitfed-v2"])
    content["fleet"] = {"clients": 3, "groups": [{**content["fleet"]["groups"][0], "count": 3}]}
    columns = ["server_bytes", "server_least_bytes", "server_replicas"]
    for memory, places, shown in (
        (None, [None, None], "no server.memory"),
        ("128 byte", [None, None], " all "),
        ("127 byte", [1, None], " 1 "),
        ("95 byte", [0, None], " none "),
    ):
        asked = read(content | {"server": {**content["server"], "memory": memory}})
        needs = sflsim.memory(asked).needs[columns]
        assert needs["server_bytes"].tolist() == [128, 32]
        assert needs["server_least_bytes"].tolist() == [96, 32]
        assert [None if isnan(one) else one for one in needs["server_replicas"]] == places
        file = tmp_path / "asked.yaml"
        file.write_text(asked.to_yaml())
        output = CliRunner().invoke(app, ["memory", str(file)], env={"COLUMNS": "200"}).output
        words = " ".join(output.split())
        assert shown in words


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(sflsim.SflsimError, match="fp32, bf16, fp16"):
        sflsim.memory(scenario("5 GiB"), precision="int8")


def test_on_the_command_line(tmp_path: Any) -> None:
    """`sflsim memory` marks what does not fit; `sflsim run` says whom it leaves out before it trains."""
    file = tmp_path / "oom.yaml"
    file.write_text(scenario("5 MiB", "exclude").to_yaml())
    shown = CliRunner().invoke(app, ["memory", str(file), "--cut", "1"])
    assert shown.exit_code == 0
    assert sflsim.memory(scenario("5 MiB", "exclude"), cuts=[1]).needs["too_small"].tolist() == ["small", ""]
    assert shown.output.count("✗ small") == 1
    table = CliRunner().invoke(app, ["memory", str(file), "--cut", "1", "--csv"])
    assert "splitfed-v1,splitfed-v1,1,hidden-1,32,fp32" in table.output
    here = ["--timing-only", "--workers", "1", "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, ["run", str(file), *here])
    assert ran.exit_code == 0, ran.output
    (said,) = (line for line in ran.output.splitlines() if "memory: small" in line)
    assert all(words in said for words in ("splitfed-v1", "7.000 MiB", "5.000 MiB"))
