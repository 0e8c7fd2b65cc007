"""Shipped scenarios by name, new scenarios made of them, and folders of runs as scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

from sflsim.errors import ScenarioError, SflsimError
from sflsim.scenario.loading import load_scenario, parse_scenario
from sflsim.scenario.new import EDITOR_LINE, new_scenario
from sflsim.scenario.shipped import shipped
from sflsim.scenario.yaml_lines import read_yaml

ROOT = Path(__file__).parents[3]


def test_all_scenarios_of_the_repository_are_shipped() -> None:
    files = (ROOT / "scenarios").rglob("*.yaml")
    assert {*shipped()} == {path.relative_to(ROOT / "scenarios").as_posix()[:-5] for path in files}
    assert {"quickstart", "papers/ho_sfl"} < {*shipped()}


@pytest.mark.parametrize("like", shipped())
def test_a_new_scenario_is_the_shipped_one_under_its_own_name(like: str) -> None:
    """With all of its comments; an editor checks it by the first line."""
    text, old = new_scenario("my.yaml", like), shipped()[like].read_text(encoding="utf-8")
    assert text.startswith(EDITOR_LINE)
    assert text.count("#") == old.count("#") + 1
    assert f"scenarios/{like}.yaml" not in text
    one, other = (read_yaml(each, like).data for each in (text, old))
    assert one.pop("name") == "my"
    del other["name"]
    assert one == other


@pytest.mark.parametrize("name", ["true", "1.5", "null", "1e3", "a" * 100, "0x10"])
def test_a_name_that_yaml_reads_as_something_else_is_quoted(name: str) -> None:
    assert parse_scenario(new_scenario(f"below/{name}.yaml")).name == name


@pytest.mark.parametrize(
    "file",
    ["my scenario.yaml", "my.txt", "my", ".yaml", "é.yaml", "-x.yaml", f"{'a' * 101}.yaml", "a\n.yaml", ""],
)
def test_what_is_no_name_of_a_scenario(file: str) -> None:
    with pytest.raises(SflsimError, match="allowed"):
        new_scenario(file)


def test_an_unknown_model_names_the_near_one() -> None:
    with pytest.raises(SflsimError, match="did you mean 'quickstart'"):
        new_scenario("my.yaml", "quikstart")


def test_a_shipped_scenario_is_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From anywhere; a file or folder of that name comes first, and what it names is looked for here."""
    monkeypatch.chdir(tmp_path)
    assert load_scenario("quickstart").name == "quickstart"
    assert load_scenario("papers/ho_sfl", ["seeds=[7]"]).seeds == [7]
    assert load_scenario("quickstart").source.folder == Path()
    Path("quickstart").write_text(new_scenario("own.yaml"), encoding="utf-8")
    assert load_scenario("quickstart").name == "own"
    with pytest.raises(ScenarioError, match="did you mean 'sweep'"):
        load_scenario("sweeep")
