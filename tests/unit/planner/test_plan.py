"""The plan's parts: its block and mistakes in it, fronts and volumes, what is feasible, its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import data, read
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app
from sflsim.errors import RunError, ScenarioError
from sflsim.planner.pareto import front, hypervolume
from sflsim.planner.plan import Plan, plan
from sflsim.planner.text.wording import change_text, listed
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.plan_values import Range
from sflsim.scenario.schema import Scenario

SLOTS = {"server.slots": [1, 2]}
VARIANTS = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": [1, 2]}]


def timed(block: dict[str, Any], **fields: Any) -> Scenario:
    """Return a scenario without a target: nothing is learned, two clients, three rounds."""
    settings = {"variants": VARIANTS, "stop": {"rounds": 3}, **fields}
    return read(data(**settings) | {"plan": block})


def mistakes(block: dict[str, Any], **fields: Any) -> list[str]:
    """Return what is refused in a plan: "line path found"."""
    with pytest.raises(ScenarioError) as caught:
        plan(timed(block, **fields))
    return [f"{one.line} {one.path} {one.found}" for one in caught.value.problems]


def line_of(block: dict[str, Any], words: str, **fields: Any) -> int:
    settings = {"variants": VARIANTS, "stop": {"rounds": 3}, **fields}
    text = yaml.safe_dump(data(**settings) | {"plan": block}, sort_keys=False)
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        ({"decisions": {"server.slotz": [1, 2]}}, "plan.decisions.server.slotz", "unknown key 'slotz'"),
        ({"decisions": {"server.slots": [1, 0]}}, "plan.decisions.server.slots[1]", "0"),
        ({"decisions": {"server.compute": ["5 m"]}}, "plan.decisions.server.compute[0]", "'5 m'"),
        ({"decisions": {"fleet.groups[9].link": ["wifi"]}}, "plan.decisions.fleet.groups[9].link", "[9]"),
        ({"decisions": {"variants[sl].tau": [1]}}, "plan.decisions.variants[sl].tau", "[sl]"),
        ({"decisions": {"a=b": [1]}}, "plan.decisions.a=b", "'a=b'"),
        ({"decisions": {"server.slots": 3}}, "plan.decisions", "server.slots: 3"),
        ({"decisions": {"server.slots": []}}, "plan.decisions.server.slots", "a list"),
        ({"decisions": {"server.slots": {"from": 4, "to": 2}}}, "plan.decisions.server.slots", "from 4 to 2"),
        ({"objectives": ["cost"]}, "plan", "without a price"),
        ({"objectives": ["time", "time"]}, "plan.objectives", "an objective twice"),
        ({"objectives": ["tim"]}, "plan.objectives[0]", "'tim'"),
        ({"weights": {"cost": 2}}, "plan", "a weight for 'cost'"),
        ({"prices": {"groups": {"fats": {"device": 1}}}}, "plan.prices.groups.fats", "'fats'"),
        ({"prices": {"device": -1}}, "plan.prices.device", "-1"),
        (
            {"constraints": {"deadline": {"within": "2 h", "probability": 2}}},
            "plan.constraints.deadline",
            "2",
        ),
        ({"constraints": {"server_memory": 5}}, "plan.constraints.server_memory", "5"),
        ({"constraints": {"deadline": "95 % of runs within 2 h"}}, "plan.constraints.deadline", "'95 % of"),
        ({"constraints": {"deadline": 7200}}, "plan.constraints.deadline", "7200"),
        ({"decisions": {"algorithm": ["sl"]}}, "plan.decisions.algorithm", "'algorithm' as a decision"),
        ({"decisions": {"seeds": [[0], [1]]}}, "plan.decisions.seeds", "'seeds' as a decision"),
        ({"decisions": {"target_accuracy": [0.5]}}, "plan.decisions.target_accuracy", "as a decision"),
        ({"contraints": {}}, "plan.contraints", "unknown key"),
    ],
)
def test_a_mistake_is_refused_at_its_place(block: dict[str, Any], path: str, words: str) -> None:
    """Path and line of what was written, and the value found."""
    (problem,) = mistakes(block)
    line, place, found = problem.split(" ", 2)
    assert place.startswith(path)
    assert words in found
    assert int(line) >= line_of(block, "plan:")


def test_messages_show_the_form_that_is_meant() -> None:
    """The mapping of a deadline with a probability; variants in place of a decision on the algorithm."""
    for deadline in ("95 % of runs within 2 h", 7200):
        with pytest.raises(ScenarioError, match=r"\{within: 2 h, probability: 95%\}"):
            plan(timed({"decisions": SLOTS, "constraints": {"deadline": deadline}}))
    with pytest.raises(ScenarioError, match="as one of the scenario's 'variants'"):
        plan(timed({"decisions": {"algorithm": ["splitfed-v1", "mu-splitfed"]}}))


def test_a_plan_needs_a_block_and_something_to_compare() -> None:
    """No block; evaluations by time beside a target; no target and no rounds."""
    bare = read(data())
    with pytest.raises(ScenarioError, match="found nothing; allowed: a mapping: decisions"):
        plan(bare)
    fields = {"evaluate": {"every": "2 s"}, "target_accuracy": 0.5}
    assert "evaluate.every '2" in mistakes({"decisions": SLOTS}, **fields)[0]
    assert "stop.rounds nothing" in mistakes({"decisions": SLOTS}, stop={"time": "9 s"})[0]


@pytest.mark.parametrize(
    ("block", "values"),
    [
        ({"from": 1, "to": 4}, [1, 2, 3, 4]),
        ({"from": 1, "to": 16, "steps": 5, "scale": "log"}, [1, 2, 4, 8, 16]),
        ({"from": "1 s", "to": "3 s", "steps": 3}, ["1 s", "2 s", "3 s"]),
        ({"from": "1 TFLOP/s", "to": "100 TFLOP/s", "steps": 3, "scale": "log"},
         ["1 TFLOP/s", "10 TFLOP/s", "100 TFLOP/s"]),
        ({"from": 0.0, "to": 1.0, "steps": 3}, [0.0, 0.5, 1.0]),
    ],
)  # fmt: skip
def test_a_range_has_these_values(block: dict[str, Any], values: list[Any]) -> None:
    """Both ends included; whole numbers stay whole, units stay units."""
    assert Range.model_validate(block).values == values


def test_the_block_survives_being_written() -> None:
    """A scenario with a plan loads back equal, every default written out; one without has no key for it."""
    block = {"decisions": {"server.slots": {"from": 1, "to": 4}}, "constraints": {"deadline": "2 h"}}
    scenario = timed(block)
    assert sflsim.parse_scenario(scenario.to_yaml()) == scenario
    assert "plan:" not in read(data()).to_yaml()
    assert PlanConfig().objectives == ["time"]


def test_fronts_and_volumes_by_hand() -> None:
    """Equal rows stand together; the volume of two boxes is that of their union, also in three dimensions."""
    values = np.array([[1.0, 4.0], [2.0, 2.0], [2.0, 2.0], [3.0, 3.0], [2.0, 4.0]])
    assert front(values).tolist() == [True, True, True, False, False]
    assert hypervolume(values, np.array([5.0, 5.0])) == 4 * 1 + 3 * 3 - 3 * 1
    cubes = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    assert hypervolume(cubes, np.array([2.0, 2.0, 2.0])) == 3 * 2 - 3 + 1
    assert hypervolume(cubes, np.zeros(3)) == 0.0


def test_without_a_target_the_clock_alone_decides() -> None:
    """Nothing is trained; a decision that does not concern a variant makes no points of it."""
    block = {"decisions": SLOTS | {"variants[mu-splitfed].perturbations": [1, 2]}}
    found = plan(timed(block))
    assert found.manifest["trainings"] == 0
    assert len(found.points) == 2 + 2 * 2 * 2
    assert found.points["exact"].all()
    times = found.points["time_s"]
    assert found.recommended is not None
    assert found.recommended["time_s"] == times.min()
    assert found.manifest["target_accuracy"] is None
    assert (found.manifest["timed"], found.manifest["combinations"]) == (10, 12)


def test_nothing_feasible_names_what_is_in_the_way() -> None:
    """The nearest point, the constraint, and what would have to give."""
    constraints = {"deadline": "1 ms", "server_memory": "1 GB"}
    found = plan(timed({"decisions": SLOTS, "constraints": constraints}))
    assert found.recommended is None
    assert found.pareto.empty
    assert found.nearest is not None
    assert found.nearest["time_s"] == found.points["time_s"].min()
    assert found.nearest["violated"] == "deadline"
    assert found.points["violated"].tolist() == ["deadline"] * 6
    assert "1.00 ms" in found.explanation


def test_memory_of_server_and_devices() -> None:
    """A replica for each participant and the model itself, 3 x 32 byte; of SplitFed V2 one."""
    variants = [{"algorithm": "splitfed-v1"}, {"algorithm": "splitfed-v2"}]
    limits = {"server_memory": "40 byte"}
    found = plan(timed({"constraints": limits}, variants=variants)).points
    assert found["server_memory_bytes"].tolist() == [96.0, 32.0]
    assert found["violated"].tolist() == ["server_memory", ""]
    fleet = {"clients": 1, "groups": [{"device": {"compute": "8 FLOP/s", "memory": "10 byte"}}]}
    small = plan(timed({"decisions": SLOTS}, fleet=fleet))
    assert small.recommended is None
    assert set(small.points["violated"]) == {"device_memory"}


def test_prices_and_weights_move_the_recommendation() -> None:
    """A dear server makes the slow one the choice; a weight on time brings the fast one back."""
    decisions = {"server.compute": ["4 FLOP/s", "4 TFLOP/s"]}
    block = {"decisions": decisions, "objectives": ["time", "cost"], "prices": {"tflops_hour": 100.0}}
    variants = [{"algorithm": "splitfed-v1"}]
    cheap = plan(timed(block, variants=variants))
    quick = plan(timed(block | {"weights": {"time": 1e6}}, variants=variants))
    assert cheap.recommended is not None
    assert quick.recommended is not None
    assert (cheap.recommended["server.compute"], quick.recommended["server.compute"]) == tuple(
        decisions["server.compute"]
    )
    assert len(cheap.pareto) == 2
    assert set(cheap.sensitivity["kind"]) == {"price", "fleet"}


def test_what_breaks_a_constraint_beside_the_rest_is_not_called_worthless() -> None:
    """A server a million times as fast saves time; it is the budget that it violates."""
    decisions = {"server.compute": ["4 FLOP/s", "4 TFLOP/s"]}
    block = {"decisions": decisions, "prices": {"tflops_hour": 100.0}, "constraints": {"budget": 1e-4}}
    found = plan(timed(block, variants=[{"algorithm": "splitfed-v1"}]))
    slow, fast = found.points.to_dict("records")
    assert fast["time_s"] < slow["time_s"]
    assert (slow["violated"], fast["violated"]) == ("", "budget")
    (said,) = (line for line in found.explanation.splitlines() if "4 TFLOP/s" in line)
    assert "violates the budget" in said


def test_the_uplink_of_the_slow_group_is_named() -> None:
    """What the explanation says binds, and helps most, is what was made to bind."""
    link = {"up": "1 byte/s", "down": "1 GB/s"}
    groups = [
        {
            "name": "near",
            "count": 2,
            "device": {"compute": "1 TFLOP/s"},
            "link": {"up": "1 GB/s", "down": "1 GB/s"},
        },
        {"name": "far", "count": 2, "device": {"compute": "1 TFLOP/s"}, "link": link},
    ]
    fields = {"fleet": {"clients": 4, "groups": groups}, "stop": {"rounds": 20}}
    fields["server"] = {"compute": "1 TFLOP/s"}
    found = plan(timed({"decisions": SLOTS}, variants=[{"algorithm": "splitfed-v1"}], **fields))
    best = found.sensitivity.set_index(["assumption", "change"])["time_ratio"].sort_values()
    assert best.index[0] == ("uplink of group far", "+25 %")
    assert (best.iloc[0], best.iloc[1]) == (pytest.approx(0.8), pytest.approx(1.0))
    one_slot, two_slots = found.points["time_s"]
    assert one_slot == pytest.approx(two_slots)
    lines = [line for line in found.explanation.splitlines() if "plink of group far" in line]
    binds, helps = (next(line for line in lines if word in line) for word in ("binds", "helps"))
    assert "100 %" in binds
    assert "-20 %" in helps


def test_a_large_space_is_sampled_alike_each_time() -> None:
    """The same seed gives the same points; never more are timed than asked for."""
    pytest.importorskip("optuna")
    rates = {"from": "4 FLOP/s", "to": "400 FLOP/s", "steps": 9, "scale": "log"}
    block = {"decisions": SLOTS | {"server.compute": rates}, "search": {"exact_up_to": 10, "timings": 20}}
    one, two = plan(timed(block)), plan(timed(block))
    assert one.points.equals(two.points)
    assert one.manifest["method"] == "sampled"
    assert len(one.points) <= 20
    assert one.recommended is not None
    assert one.recommended["server.compute"] == "400 FLOP/s"


def test_words() -> None:
    """Changes and lists as people write them."""
    assert [change_text(one) for one in (1.3, 0.95, 1.001, 4.0)] == ["+30 %", "-5 %", "the same", "4 times"]
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_the_command_line_says_it_and_writes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The explanation and the front on the terminal; a folder that loads; a damaged one is refused."""
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(data(variants=VARIANTS) | {"plan": {"decisions": SLOTS}}, sort_keys=False)
    Path("good.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["plan", "good.yaml", "--no-cache", "--out", "there"])
    assert result.exit_code == 0, result.output
    assert "Recommended: " in result.output
    assert "* recommended" in result.output.splitlines()
    assert {path.name for path in Path("there").iterdir()} == {
        "scenario.yaml", "points.parquet", "sensitivity.parquet", "plan.json",
    }  # fmt: skip
    assert Plan.load("there").explanation in result.output
    manifest = json.loads(Path("there/plan.json").read_text(encoding="utf-8"))
    assert manifest["timed"] == 6
    Path("there/points.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="cannot be read as a table"):
        Plan.load("there")
    with pytest.raises(RunError, match=r"no plan\.json"):
        Plan.load(tmp_path)


def test_mappings_are_told_apart_in_few_words() -> None:
    """A decision between whole mappings is shown by the fields that differ, alone or among others."""
    choices = [{**data()["workload"], "batch_size": size} for size in (8, 16)]
    block = {"decisions": {"workload": choices}, "objectives": ["time"]}
    found = plan(read(data(plan=block)))
    assert found.points["workload"].tolist() == ["batch_size 8", "batch_size 16"]
    assert "{" not in found.explanation


def test_the_page_has_readable_sensitivities(tmp_path: Path) -> None:
    """No raw names of columns in the report's table."""
    block = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}
    page = plan(read(data(plan=block))).report(tmp_path / "plan.html").read_text(encoding="utf-8")
    assert "certain without more training" in page
    assert "time_ratio" not in page
    head, _, body = page.partition('<table class="told">')[2].partition("</thead>")
    assert head.index("note") < head.index("time ratio")  # texts before figures, none is clipped
    assert body.count("<td>as now</td>") > 3
    assert "<td>as now</td>" in page
