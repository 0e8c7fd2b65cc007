"""Lists in a variant expand in order, and every variant has a telling name of its own."""

from __future__ import annotations

from typing import Any

import pytest

from sflsim.errors import ScenarioError
from sflsim.scenario import Scenario, parse_scenario


def read(variants: str) -> Scenario:
    """Read a scenario with these variants in line 5 (from line 6 where they are several lines)."""
    head = "name: x\nworkload: {}\nfleet: {clients: 2, groups: [{device: jetson-nano}]}\nstop: {rounds: 1}\n"
    return parse_scenario(f"{head}variants: {variants}\n", "x.yaml")


@pytest.mark.parametrize(
    ("variants", "names"),
    [
        ("[splitfed-v1]", ["splitfed-v1"]),
        ("[{algorithm: splitfed-v1, local_iterations: 3}]", ["splitfed-v1"]),
        ("[{algorithm: mu-splitfed, tau: [4]}]", ["mu-splitfed tau=4"]),
        (
            "[{algorithm: mu-splitfed, tau: [1,2], lam: 1}, {algorithm: mu-splitfed, lam: 1, tau: adaptive}]",
            ["mu-splitfed tau=1", "mu-splitfed tau=2", "mu-splitfed tau=adaptive"],
        ),
        ("[mu-splitfed, {algorithm: mu-splitfed, tau: 2}]", ["mu-splitfed", "mu-splitfed tau=2"]),
        ("[{algorithm: [splitfed-v1, splitfed-v2]}]", ["splitfed-v1", "splitfed-v2"]),
        ("[{algorithm: mu-splitfed, name: mine, tau: [1, 2]}]", ["mine tau=1", "mine tau=2"]),
        ("[{algorithm: mu-splitfed, name: mine, tau: 2}]", ["mine"]),
    ],
)
def test_names(variants: str, names: list[str]) -> None:
    """A name is the algorithm, or the given name, and what tells the variant from its like."""
    assert names == [variant.name for variant in read(variants).variants]


def test_product() -> None:
    """Several lists make every combination; the last list varies fastest."""
    variants: list[Any] = read("[{algorithm: mu-splitfed, tau: [1, 2], perturbations: [1, 3]}]").variants
    assert [(one.tau, one.perturbations) for one in variants] == [(1, 1), (1, 3), (2, 1), (2, 3)]


def test_error_points_into_the_list() -> None:
    """A wrong entry is reported once, at its own line, whatever it is combined with."""
    with pytest.raises(ScenarioError) as caught:
        read("\n- {algorithm: mu-splitfed, eta_s: [0.1, 0.2], tau: [1,\n  many]}")
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.found) == ("variants[0].tau[1]", 7, "'many'")
    assert problem.allowed == "a whole number or 'adaptive'"


def test_same_name_twice() -> None:
    """Two variants that say the same are refused at the second one's line."""
    with pytest.raises(ScenarioError) as caught:
        read("\n- splitfed-v1\n- splitfed-v1")
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("variants[1].name", 7)


@pytest.mark.parametrize("variants", ["[]", "{}", "3", "[3]", "[[]]", "[{algorithm: mu-splitfed, tau: []}]"])
def test_no_variants(variants: str) -> None:
    """What makes no variant is refused, an empty list in a field included."""
    with pytest.raises(ScenarioError, match="variants"):
        read(variants)


def test_too_many() -> None:
    """Lists whose combinations nobody could run are refused before they are made."""
    many = list(range(1, 50))
    with pytest.raises(ScenarioError, match="117649 variants"):
        read(f"[{{algorithm: mu-splitfed, tau: {many}, tau_max: {many}, perturbations: {many}}}]")
