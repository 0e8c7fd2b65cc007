"""Objectives and constraints: each is declared once, and all else follows; the server's energy by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import data, read

from sflsim.errors import ScenarioError
from sflsim.planner.plan import Plan, plan
from sflsim.report.html_points import kind_of
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.plan_criteria import CONSTRAINTS, GROUP_CONSTRAINTS, OBJECTIVES, constraint

RATES = {"server.compute": ["4 FLOP/s", "8 FLOP/s"]}
LIMITS: dict[str, Any] = {
    "deadline": "1000 s", "budget": 9.0, "server_memory": "1 MB", "bytes_per_client": "1 MB",
    "bytes_per_client_and_month": "1 MB", "server_energy": "1 MJ", "device_memory": True,
}  # fmt: skip
PRICES = {"server_hour": 1.0, "currency": "CHF"}


def planned(block: dict[str, Any], power: str | None = "300 W", **fields: Any) -> Plan:
    """Return the plan of three rounds of two clients; the server works 3 + 25 FLOP for each in a round."""
    server = {"compute": "4 FLOP/s", **({} if power is None else {"power": power})}
    settings: dict[str, Any] = {"server": server, "stop": {"rounds": 3}, **fields}
    return plan(read(data(**settings) | {"plan": block}))


def test_the_servers_energy_by_hand() -> None:
    """300 W x 3 rounds x 2 clients x 28 FLOP / 4 FLOP/s = 12,600 J, however many slots share the work."""
    found = planned({"decisions": RATES | {"server.slots": [1, 2]}, "objectives": ["time", "server_energy"]})
    joules = found.points.groupby("server.compute")["server_energy_j"].unique()
    assert {rate: list(each) for rate, each in joules.items()} == {
        "4 FLOP/s": [12600.0],
        "8 FLOP/s": [6300.0],
    }
    assert "6.30 kJ of server energy" in found.explanation


def test_a_limit_on_the_servers_energy() -> None:
    """Between both: the slow server violates it, by a third of what it takes."""
    points = planned({"decisions": RATES, "constraints": {"server_energy": "8.4 kJ"}}).points
    assert points["violated"].tolist() == ["server_energy", ""]
    np.testing.assert_allclose(points["server_energy_margin"], [1 - 12.6 / 8.4, 1 - 6.3 / 8.4])
    none = planned({"decisions": RATES, "constraints": {"server_energy": "63 J"}})
    assert none.recommended is None
    assert "The server's energy: 6.30 kJ, where 63.0 J are allowed." in none.explanation


@pytest.mark.parametrize("limited", LIMITS)
def test_a_loose_limit_changes_no_figure(limited: str) -> None:
    """A limit adds its margin; no other column follows from what is limited, whatever it is called."""
    objectives = ["time", "cost", "bytes", "energy"]
    block = {"decisions": RATES, "objectives": objectives, "prices": PRICES, "runs_per_month": 1}
    group = {"clients": 4, "participants": 1, "groups": [{"device": {"compute": "1 FLOP/s"}}]}
    free = planned(block, fleet=group).points
    under = planned(block | {"constraints": {limited: LIMITS[limited]}}, fleet=group).points
    columns = [column for column in free if not column.endswith("_margin")]
    pd.testing.assert_frame_equal(under[columns], free[columns], check_exact=True)


def test_a_limit_of_zero_is_a_limit() -> None:
    """A budget of nothing is over as soon as anything costs; a limit that is left out does not count."""
    points = planned({"constraints": {"budget": 0}, "prices": PRICES}).points
    assert points["violated"].tolist() == ["budget"]
    limits = PlanConfig.model_validate(
        {"constraints": {"budget": 0, "device_memory": False}, "prices": PRICES}
    )
    assert limits.constraints.limits() == {"budget": 0.0}


@pytest.mark.parametrize(
    "block", [{"objectives": ["server_energy"]}, {"constraints": {"server_energy": "1 kJ"}}]
)
def test_without_a_power_it_is_refused(block: dict[str, Any]) -> None:
    """When the scenario is read, at the plan's line; unless a decision sets the power."""
    with pytest.raises(ScenarioError) as caught:
        planned(block | {"decisions": RATES}, power=None)
    (problem,) = caught.value.problems
    assert (problem.path, problem.found) == ("plan", "'server_energy' without a server.power")
    assert "server: {power: 300 W}" in problem.allowed
    assert problem.line is not None
    decided = planned(block | {"decisions": {"server.power": ["10 W", "20 W"]}}, power=None)
    assert len(decided.points) == 2


def test_a_point_without_a_power_is_refused_where_it_is_decided() -> None:
    """The rules hold for every point, as for the scenario that was written."""
    servers = [{"compute": "4 FLOP/s", "power": "9 W"}, {"compute": "8 FLOP/s"}]
    with pytest.raises(ScenarioError) as caught:
        planned({"decisions": {"server": servers}, "objectives": ["server_energy"]})
    (problem,) = caught.value.problems
    assert problem.path == "plan.decisions.server[1]"
    assert "server.power" in problem.found


@pytest.mark.parametrize(
    ("decisions", "path"),
    [
        ({"evaluate.every": ["1 round", "2 s"]}, "plan.decisions.evaluate.every[1]"),
        ({"fleet.groups": [data()["fleet"]["groups"], [data()["fleet"]["groups"][0]]]},
         "plan.decisions.fleet.groups[1]"),
    ],
)  # fmt: skip
def test_what_joins_plan_and_scenario_holds_for_every_point(decisions: dict[str, Any], path: str) -> None:
    """An evaluation by time, and a fleet without a group that has a limit."""
    limits = {"groups": {"slow": {"bytes_per_client": "1 MB"}}}
    with pytest.raises(ScenarioError) as caught:
        planned({"decisions": decisions, "constraints": limits}, target_accuracy=0.5)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_everything_follows_from_the_declarations(tmp_path: Path) -> None:
    """Every objective and constraint: a column, a margin, its words; each name is known to the schema."""
    found = planned(
        {"objectives": list(OBJECTIVES), "constraints": LIMITS, "prices": PRICES, "decisions": RATES}
    )
    assert LIMITS.keys() == CONSTRAINTS.keys()
    for objective in OBJECTIVES.values():
        assert np.isfinite(found.points[objective.column]).all()
        assert objective.words in found.explanation or len(found.pareto) == 1
        assert {"money": ""}.get(objective.unit, objective.unit) == kind_of(objective.column)
    for path in CONSTRAINTS:
        assert f"{path}_margin" in found.points or path == "device_memory"
    page = found.report(tmp_path / "plan.html").read_text(encoding="utf-8")
    assert all(objective.words in page for objective in OBJECTIVES.values())
    properties = PlanConfig.model_json_schema()["$defs"]
    assert properties["Constraints"]["properties"].keys() == {*CONSTRAINTS, "groups"}
    assert properties["GroupLimits"]["properties"].keys() == {*GROUP_CONSTRAINTS}


def test_objectives_and_what_is_limited_never_shrink() -> None:
    """From one evaluation to the next, in every run: the search gives up points by that."""
    from sflsim.retime.timing import timings
    from sflsim.session import SessionCache

    scenario = read(
        data(
            server={"compute": "4 FLOP/s", "power": "300 W"},
            stop={"rounds": 5},
            variants=["splitfed-v1", "gas", "fedavg"],
            plan={"objectives": list(OBJECTIVES), "constraints": LIMITS, "prices": PRICES},
        )
    )
    assert scenario.plan is not None
    for variant in scenario.variants:
        alone = scenario.model_copy(update={"variants": [variant]})
        (run,) = timings(alone, [0], SessionCache())
        figures = {one.name: one.figure(scenario.plan, alone, run) for one in OBJECTIVES.values()}
        for path in scenario.plan.constraints.limits():
            limited, group = constraint(path)
            figures[path] = limited.figure(scenario.plan, alone, run, group)
        for name, amounts in figures.items():
            assert (np.diff(amounts) >= 0).all(), name
