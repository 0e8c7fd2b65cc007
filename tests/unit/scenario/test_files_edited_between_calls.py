"""A scenario object takes its files as they are at each call: a result is that of a fresh load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from support import FAST, SLOW, data

import sflsim
from sflsim.scenario.files import contents, reread

CATALOG = "links: {own: {figures: {up: {value: %s byte/s, status: assumed, source: me}, "
CATALOG += "down: {value: 16 byte/s, status: assumed, source: me}}}}\n"


def fleet(device: Any = None, link: Any = None, **fields: Any) -> dict[str, Any]:
    group = {**FAST, "device": device or FAST["device"], "link": link or FAST["link"], **fields}
    return {"fleet": {"clients": 2, "groups": [group, SLOW]}}


RATES = {"kind": "empirical", "file": "it", "values_in": "byte/s"}
TRACE = {"kind": "trace", "file": "it", "values_in": "byte/s"}
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "delays": (fleet(straggler={"kind": "empirical", "file": "it", "values_in": "s"}), "1\n", "2\n"),
    "rates of a link": (fleet(link={"up": RATES, "down": "16 byte/s"}), "8\n", "4\n"),
    "a trace of a link": (
        fleet(link={"up": TRACE, "down": "16 byte/s"}), "time_s,x\n0,8\n", "time_s,x\n0,4\n"
    ),
    "rates of a device": (
        fleet(device={"compute": {"kind": "empirical", "file": "it", "values_in": "FLOP/s"}}), "8\n", "4\n"
    ),
    "latencies": (
        fleet(link={**FAST["link"], "latency": {"kind": "empirical", "file": "it", "values_in": "s"}}),
        "1\n", "2\n",
    ),
    "availability": (
        fleet(availability={"kind": "trace", "file": "it"}), "time_s,x\n0,1\n", "time_s,x\n0,1\n1,0\n"
    ),
    "the server's link": (
        {"server": {"compute": "4 FLOP/s", "slots": 1, "link": {"up": TRACE, "down": "8 byte/s"}}},
        "time_s,x\n0,8\n", "time_s,x\n0,2\n",
    ),
    "the catalog": ({**fleet(link="own"), "catalog": "it"}, CATALOG % 8, CATALOG % 4),
    "the second of two catalogs": (
        {**fleet(link="own"), "catalog": [{"links": {}}, "it"]}, CATALOG % 8, CATALOG % 4
    ),
}  # fmt: skip


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, str, str]:
    fields, before, after = CASES[request.param]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(data(**fields)))
    (tmp_path / "it").write_text(before)
    return tmp_path / "own.yaml", tmp_path / "it", before, after


def timed(scenario: sflsim.Scenario) -> sflsim.Run:
    return sflsim.simulate(scenario, timing_only=True)


def same(one: sflsim.Run, other: sflsim.Run) -> bool:
    return one.spans.equals(other.spans) and one.manifest["scenario"] == other.manifest["scenario"]


def test_a_rewritten_file_counts_at_once(case: tuple[Path, Path, str, str], tmp_path: Path) -> None:
    """Tables and fingerprint are those of a fresh load, and the old ones once the file is as it was."""
    path, file, before, after = case
    scenario = sflsim.load_scenario(path)
    first = timed(scenario)
    file.write_text(after)
    second = timed(scenario)
    assert not second.spans.equals(first.spans)
    assert second.manifest["scenario"] != first.manifest["scenario"]
    assert same(second, timed(sflsim.load_scenario(path)))
    assert second.scenario == sflsim.load_scenario(path)
    again = timed(sflsim.load_scenario(second.save(tmp_path / "run", plots=False) / "scenario.yaml"))
    assert again.spans.equals(second.spans)
    file.write_text(before)
    assert same(timed(scenario), first)


def test_a_file_that_is_gone_or_wrong_is_refused_with_its_line(case: tuple[Path, Path, str, str]) -> None:
    path, file, _, _ = case
    scenario = sflsim.load_scenario(path)
    file.write_text("?\n")
    for _ in range(2):
        with pytest.raises(sflsim.ScenarioError) as caught:
            timed(scenario)
        assert all(one.file in (str(path), str(file)) and one.line for one in caught.value.problems)
        file.unlink(missing_ok=True)


CALLS: dict[str, Callable[[sflsim.Scenario], pd.DataFrame]] = {
    "sweep": lambda one: sflsim.sweep(one, {"server.slots": [1]}, timing_only=True).table["time_s"],
    "plan": lambda one: sflsim.plan(one).points["time_s"],
    "a changed copy": lambda one: timed(
        one.model_copy(update={"stop": one.stop.model_copy(update={"rounds": 2})})
    ).runs[["time_s", "rounds"]],
    "two workers": lambda one: sflsim.simulate(
        one.model_copy(update={"seeds": [0, 1]}), timing_only=True, workers=2
    ).runs["time_s"],
}


@pytest.mark.parametrize("call", list(CALLS))
def test_every_call_takes_the_file_as_it_is(call: str, tmp_path: Path) -> None:
    fields = CASES["delays"][0] | {"plan": {"decisions": {"server.slots": [1]}, "objectives": ["time"]}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(data(**fields)))
    (tmp_path / "it").write_text("1\n")
    scenario = sflsim.load_scenario(tmp_path / "own.yaml")
    first = CALLS[call](scenario)
    (tmp_path / "it").write_text("2\n")
    second = CALLS[call](scenario)
    assert not second.equals(first)
    assert second.equals(CALLS[call](sflsim.load_scenario(tmp_path / "own.yaml")))


def test_a_scenario_without_files_is_taken_as_it_is(tmp_path: Path) -> None:
    scenario = sflsim.parse_scenario(yaml.safe_dump(data()))
    assert reread(scenario) is scenario
    assert contents(scenario) == {}


def test_what_ifs_of_a_run_whose_file_has_changed_are_refused(tmp_path: Path) -> None:
    """They would compare the run with other delays; without them the run is explained as before."""
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(data(**CASES["delays"][0])))
    (tmp_path / "it").write_text("1\n")
    run = timed(sflsim.load_scenario(tmp_path / "own.yaml"))
    run.save(tmp_path / "run", plots=False)
    runs = run, sflsim.Run.load(tmp_path / "run")
    found = [sflsim.explain(one).what_if for one in runs]
    assert found[0].equals(found[1])
    (tmp_path / "it").write_text("2\n")
    assert sflsim.explain(sflsim.Run.load(tmp_path / "run")).what_if.equals(found[1])  # by its own copy
    (tmp_path / "run" / "files" / "0" / "it").write_text("2\n")
    for one in (run, sflsim.Run.load(tmp_path / "run")):
        with pytest.raises(sflsim.RunError, match=str(tmp_path / "it")):
            sflsim.explain(one)
        assert len(sflsim.explain(one, what_if=False).path)


def test_a_catalog_is_found_after_a_change_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are looked for where the scenario was read, by whatever path."""
    (tmp_path / "it").write_text(CATALOG % 8)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(data(**fleet(link="own"), catalog="it")))
    monkeypatch.chdir(tmp_path)
    scenario = sflsim.load_scenario("own.yaml")
    before = timed(scenario)
    monkeypatch.chdir(tmp_path.parent)
    assert same(timed(scenario), before)
