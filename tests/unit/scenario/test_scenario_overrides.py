"""`--set path=value` changes any field, and a path that leads nowhere is a ScenarioError."""

from __future__ import annotations

from typing import Any

import pytest

from sflsim.errors import Problem, ScenarioError
from sflsim.scenario import Scenario, parse_scenario

TEXT = """\
name: x
workload: {}
fleet:
  clients: 4
  groups:
    - {count: 2, device: raspberry-pi-4, link: {up: 1 Mbit/s, down: 1 Mbit/s}}
    - {count: 2, device: jetson-nano}
variants:
  - {algorithm: splitfed-v1}
  - {algorithm: mu-splitfed, name: mine}
stop: {rounds: 3}
"""


def read(*overrides: str) -> Scenario:
    return parse_scenario(TEXT, "x.yaml", overrides)


def problems(*overrides: str) -> tuple[Problem, ...]:
    with pytest.raises(ScenarioError) as caught:
        read(*overrides)
    return caught.value.problems


def test_values() -> None:
    """A value is read as YAML, with its unit; keys that are absent are made."""
    scenario = read("stop.time=2 h", "fleet.participants=3", "seeds=[4, 5]", "evaluate.every=3 rounds")
    assert (
        scenario.stop.time,
        scenario.fleet.participants,
        scenario.seeds,
        scenario.evaluate.every_rounds,
    ) == (7200.0, 3, [4, 5], 3)


def test_entries_of_lists() -> None:
    """An entry is named by its index, its name, its algorithm or its device."""
    assert read("fleet.groups[0].link.up=10 Mbit/s").fleet.groups[0].link.up == 10 * 125_000.0
    assert read("fleet.groups[0].link=wifi").fleet.groups[0].link.catalog_name == "wifi"
    assert read("fleet.groups[jetson-nano].link={up: 4 bit/s, down: 1 bit/s}").fleet.groups[1].link.up == 0.5
    for entry in ("1", "mine", "mu-splitfed"):
        variant: Any = read(f"variants[{entry}].tau=4").variants[1]
        assert variant.tau == 4


def test_lists_expand() -> None:
    """An override may make a list that expands."""
    assert [one.name for one in read("variants[1].tau=[1, 2]").variants] == [
        "splitfed-v1",
        "mine tau=1",
        "mine tau=2",
    ]


def test_last_wins() -> None:
    """Overrides are made in the order given."""
    assert read("stop.rounds=4", "stop.rounds=5").stop.rounds == 5


def test_errors_name_the_override() -> None:
    """A wrong value is blamed on the override, everything else on the file."""
    wrong, unknown = problems("fleet.groups[0].link.up=fast", "stop.rnds=3")
    assert (wrong.file, wrong.line) == ("--set fleet.groups[0].link.up=fast", None)
    assert (unknown.path, unknown.remedy) == ("stop.rnds", "did you mean 'rounds'?")


def test_replaced_lines_are_forgotten() -> None:
    """Lines of a value that an override replaced are no longer pointed at."""
    (problem,) = problems("fleet.groups[0].link={up: 1 bit/s, down: 3}")
    assert (problem.path, problem.line) == ("fleet.groups[0].link.down", None)
    assert problem.file.startswith("--set")


@pytest.mark.parametrize(
    ("override", "allowed", "remedy"),
    [
        (
            "variants[mu-splitfad].tau=3",
            "splitfed-v1, mine, mu-splitfed, [0] to [1]",
            "did you mean 'mu-splitfed'?",
        ),
        ("variants[2].tau=3", "[0] to [1]", ""),
        ("variants.tau=3", "splitfed-v1, mine, mu-splitfed, [0] to [1]", ""),
        ("name.first=3", "a mapping or a list", "set 'name' as a whole"),
        ("rounds", "path=value", ""),
        ("=3", "path=value", ""),
        (".name=3", "path=value", ""),
        ("stop..rounds=3", "path=value", ""),
        ("stop[rounds=3", "path=value", ""),
        ("", "path=value", ""),
        ("stop.rounds=[", "one YAML document", "check"),
    ],
)
def test_paths_that_lead_nowhere(override: str, allowed: str, remedy: str) -> None:
    """The error says what the path may be."""
    (problem,) = problems(override)
    assert allowed in problem.allowed
    assert remedy in problem.remedy


def test_all_at_once() -> None:
    """Every override without a place is reported."""
    assert len(problems("nothing", "variants[7].tau=3")) == 2


def test_what_only_one_word_begins_with() -> None:
    """A prefix names an entry, or all of one algorithm; one that fits two words is refused with both."""
    variant: Any = read("variants[mu].tau=4").variants[1]
    assert variant.tau == 4
    resolved = read("variants[mi].tau=[1, 2]").to_yaml()
    both: Any = parse_scenario(resolved, "x.yaml", ["variants[mu].lam=0.5"]).variants[1:]
    assert [one.lam for one in both] == [0.5, 0.5]
    (problem,) = problems("variants[m].tau=4")
    assert (problem.found, problem.remedy) == ("[m]", "it may mean mine or mu-splitfed")
    (problem,) = problems("variants[MU].tau=4")
    assert problem.found == "[MU]"
