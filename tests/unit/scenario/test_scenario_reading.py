"""A good scenario is read as it was meant, and what is saved reads back to an equal one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from support import data, read

from sflsim.errors import Problem, ScenarioError
from sflsim.scenario import Scenario, load_scenario, parse_scenario
from sflsim.scenario.loading import parse_saved

MINIMAL = """
name: minimal
workload: {}
fleet: {clients: 2, groups: [{device: raspberry-pi-4}]}
variants: [splitfed-v1]
stop: {rounds: 3}
"""

FULL = """\
name: stragglers-on-wifi
seeds: [0, 1, 2]
workload:
  dataset: digits
  model: {kind: mlp, hidden: [64, 64]}
  cut: 1
  batch_size: 32
  partition: {kind: dirichlet, alpha: 0.5}
fleet:
  clients: 10
  participants: 5
  groups:
    - {share: 70%, device: raspberry-pi-4, link: wifi}
    - share: 30%
      device: jetson-nano
      link: {up: 10 Mbit/s, down: {kind: lognormal, median: 40 Mbit/s, sigma: 0.5}, latency: 35 ms}
  straggler: {kind: exponential, mean: 2 s}
server: {compute: 10 TFLOP/s, slots: 4, link: {up: 1 Gbit/s, down: unlimited}}
variants:
  - {algorithm: splitfed-v1}
  - {algorithm: mu-splitfed, tau: [1, 2], eta_s: 1e-3}
  - {algorithm: mu-splitfed, tau: adaptive}
stop: {rounds: 300, time: 2 h, accuracy: 95%}
evaluate: {every: 30 s}
"""


def test_full_scenario() -> None:
    """Units are read into base units, kinds into their Configs."""
    scenario = parse_scenario(FULL)
    assert scenario.stop.time == 7200.0
    assert scenario.stop.accuracy == 0.95
    assert (scenario.evaluate.every_rounds, scenario.evaluate.every_s) == (None, 30.0)
    assert tuple(scenario.workload.model.hidden) == (64, 64)
    assert scenario.server.compute == 1e13
    assert scenario.seeds == [0, 1, 2]


def test_defaults() -> None:
    """What is left out has the defaults of the design."""
    scenario = parse_scenario(MINIMAL)
    assert scenario.seeds == [0]
    assert (scenario.evaluate.every_rounds, scenario.evaluate.every_s) == (10, None)
    assert (scenario.workload.dataset.kind, scenario.workload.partition.kind) == ("digits", "iid")
    assert scenario.target_accuracy is None


def test_target_follows_stop() -> None:
    """The target of time-to-accuracy is the accuracy to stop at, unless it is given."""
    assert parse_scenario(FULL).target_accuracy == 0.95
    assert parse_scenario(FULL + "target_accuracy: 50%\n").target_accuracy == 0.5


@pytest.mark.parametrize("text", [MINIMAL, FULL])
def test_round_trip(text: str) -> None:
    """The resolved scenario loads to an equal one, and is saved as the same text again."""
    scenario = parse_scenario(text)
    again = parse_scenario(scenario.to_yaml())
    assert scenario == again
    assert scenario.to_yaml() == again.to_yaml()


def test_processes_get_the_same() -> None:
    """A scenario survives pickling, for workers."""
    scenario = parse_scenario(FULL)
    assert scenario == pickle.loads(pickle.dumps(scenario))


@pytest.mark.parametrize(
    ("written", "rounds", "seconds"),
    [("10 rounds", 10, None), ("1 round", 1, None), ("3rounds", 3, None), ("0.5 h", None, 1800.0)],
)
def test_evaluate(written: str, rounds: int | None, seconds: float | None) -> None:
    """Evaluations go by rounds or by simulated time."""
    evaluate = parse_scenario(f"{MINIMAL}\nevaluate: {{every: {written}}}").evaluate
    assert (rounds, seconds) == (evaluate.every_rounds, evaluate.every_s)


def test_numbers_of_yaml_1_2() -> None:
    """1e-3 is a number, and text that YAML 1.1 took for something else stays text."""
    variant: Any = parse_scenario(FULL).variants[1]
    assert variant.eta_s == 1e-3
    for text in ("on", "12:30:00", "1e-3", "0o17", "null", "2020-01-01", "a: b", "", "1_000"):
        scenario = parse_scenario(MINIMAL).model_copy(update={"description": text})
        assert text == parse_scenario(scenario.to_yaml()).description


def test_aliases() -> None:
    """A group may be written once and named again."""
    text = MINIMAL.replace("{device: raspberry-pi-4}", "&one {share: 50%, device: jetson-nano}, *one")
    groups = parse_scenario(text).fleet.groups
    assert groups[0] == groups[1]


def test_file_and_lines(tmp_path: Path) -> None:
    """A file is named in its errors; a byte order mark is no part of the text."""
    path = tmp_path / "full.yaml"
    path.write_text("\ufeff" + FULL.replace("cut: 1", "cot: 1"), encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert f"{path}:6  workload.cot" in str(caught.value)


def test_measurements_stand_beside_the_scenario(tmp_path: Path) -> None:
    """A data file is looked for beside the scenario, and the resolved scenario finds it from anywhere."""
    (tmp_path / "delays.csv").write_text("1 s\n3 s\n", encoding="utf-8")
    path = tmp_path / "scenario.yaml"
    path.write_text(FULL.replace("exponential, mean: 2 s", "empirical, file: delays.csv"), encoding="utf-8")
    scenario = load_scenario(path)
    assert scenario.fleet.straggler is not None
    assert scenario.fleet.straggler.mean == 2.0
    assert scenario == parse_scenario(scenario.to_yaml())


def test_later_errors_are_located() -> None:
    """An error met after reading points at the line that was written, also of an expanded variant."""
    scenario = parse_scenario(FULL, "full.yaml")
    problems = [Problem("variants[2].tau", "2", "odd ones"), Problem("workload.cut.part", "1", "none")]
    located = scenario.located(ScenarioError(problems)).problems
    assert [(one.path, one.line) for one in located] == [("workload.cut.part", 6), ("variants[1].tau[1]", 21)]
    assert {"full.yaml"} == {one.file for one in located}


def test_made_in_python() -> None:
    """A scenario is a pydantic model: a notebook can make one without a file."""
    scenario = parse_scenario(MINIMAL)
    again = Scenario(
        name="minimal",
        workload=scenario.workload,
        fleet=scenario.fleet,
        variants=scenario.variants,
        stop=scenario.stop,
    )
    assert scenario == again


@pytest.mark.parametrize("bursts", [None, {"slow": 2, "normal": 5}])
def test_a_saved_scenario_keeps_the_names_of_its_time(bursts: dict[str, Any] | None) -> None:
    """A folder of an earlier version is read; a scenario of one's own is told the new name."""
    straggler = {"kind": "exponential", "mean": "2 s", "bursts": bursts}
    fleet = {**data()["fleet"], "straggler": straggler}
    today = read(data(fleet=fleet))
    text = today.to_yaml().replace("bursts:", "spells:")
    assert "spells" in text
    assert parse_saved(text, "scenario.yaml").to_yaml() == today.to_yaml()
    with pytest.raises(ScenarioError, match="'spells' is now 'bursts'"):
        parse_scenario(text)


@pytest.mark.parametrize(
    ("link", "key", "allowed", "not_allowed"),
    [
        ({"kind": "shannon", "distance": "1 km", "up": "1 Mbit/s"}, "up", "distance", "up"),
        ({"up": "1 Mbit/s", "down": "1 Mbit/s", "distance": "1 km"}, "distance", "up", "distance"),
    ],
)
def test_the_keys_that_are_allowed_are_those_of_the_kind(
    link: dict[str, Any], key: str, allowed: str, not_allowed: str
) -> None:
    """A key of another kind is not offered, least of all the one that was refused."""
    with pytest.raises(ScenarioError) as caught:
        read(data(fleet={"clients": 2, "groups": [{"device": {"compute": "1 GFLOP/s"}, "link": link}]}))
    (problem,) = caught.value.problems
    assert problem.path == f"fleet.groups[0].link.{key}"
    keys = problem.allowed.split(", ")
    assert allowed in keys
    assert not_allowed not in keys
