"""Policies of selection on fleets made by hand: who is chosen, in which order, with which probability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.fleet.selection.policy import Candidates, Facts, Policy, Report
from sflsim.registry import selections

SIGMAS = 5.0
"""What a figure of many draws may be away from its expected value, in standard deviations."""


def policy(
    kind: str,
    times_s: Mapping[int, float] | Sequence[float] = (),
    samples: Sequence[int] = (),
    **settings: Any,
) -> Policy:
    """Return a policy on clients with these predicted times and samples, by index."""
    made: type[Policy] = selections()[kind]
    facts = Facts(seed=3, samples=lambda client: samples[client], predicted_s=lambda client: times_s[client])
    return made(made.Config.model_validate({"kind": kind, **settings}), facts)


def drawn(*indices: int, draws: Sequence[float] | None = None) -> Candidates:
    """Return these candidates in this order."""
    even = np.arange(1, len(indices) + 1) / (len(indices) + 1)
    return Candidates(np.array(indices, dtype=np.int64), even if draws is None else np.array(draws))


def chosen(one: Policy, k: int, candidates: Candidates, round: int = 1) -> list[int]:
    """Return whom a policy chooses, in its order."""
    return np.asarray(one.choose(round, k, candidates)).tolist()


def times(*pairs: tuple[int, float]) -> list[Report]:
    """Return reports of (client, duration in s)."""
    return [Report(client, 1, duration_s) for client, duration_s in pairs]


def test_uniform_takes_the_first_drawn() -> None:
    """It looks at no more candidates than it needs."""
    uniform = policy("uniform")
    assert uniform.looks_at(2) == 2
    assert chosen(uniform, 2, drawn(4, 0, 3)) == [4, 0]


def test_by_samples_is_a_race_at_speeds_proportional_to_samples() -> None:
    """-ln(1 - u) / n by hand: ln 2 / 1 = 0.693, ln 4 / 4 = 0.347, ln 8 / 2 = 1.040."""
    one = policy("by-samples", samples=[1, 4, 2])
    race = drawn(0, 1, 2, draws=[0.5, 0.75, 0.875])
    assert [chosen(one, k, race) for k in (1, 2, 3)] == [[1], [1, 0], [1, 0, 2]]


def test_by_samples_draws_in_proportion() -> None:
    """Of two draws from samples 1, 2, 3, 4, everybody's share is that of drawing without replacement."""
    samples = [1, 2, 3, 4]
    one = policy("by-samples", samples=samples)
    config = FleetConfig.model_validate({"clients": 4, "groups": [{"device": "raspberry-pi-4"}]})
    fleet, rounds = build_fleet(config, 11), 3000

    first, both = np.zeros(4), np.zeros(4)
    for round in range(rounds):
        order = chosen(one, 2, fleet.candidates(round), round)
        first[order[0]] += 1
        both[order] += 1

    p = np.array(samples) / sum(samples)
    second = [sum(p[j] * p[i] / (1 - p[j]) for j in range(4) if j != i) for i in range(4)]
    for counts, expected in ((first, p), (both, p + second)):
        deviation = np.sqrt(rounds * expected * (1 - expected))
        assert np.all(np.abs(counts - rounds * expected) < SIGMAS * deviation)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=9, unique=True), st.integers(1, 9))
def test_equal_samples_are_the_uniform_choice(draws: list[float], k: int) -> None:
    """With equal weights the race ends in the order of the draw."""
    candidates = drawn(*range(len(draws)), draws=sorted(draws))
    k = min(k, len(draws))
    assert chosen(policy("by-samples", samples=[7] * 9), k, candidates) == list(range(k))


@given(st.lists(st.integers(1, 50), min_size=3, max_size=9), st.integers(0, 8))
def test_an_absent_client_moves_nobody_elses_draw(samples: list[int], absent: int) -> None:
    """The others keep their order, so one of them at most comes in addition."""
    one, everybody = policy("by-samples", samples=samples), drawn(*range(len(samples)))
    there = np.array([index != absent for index in range(len(samples))])
    fewer = Candidates(everybody.indices[there], everybody.draws[there])
    order = [client for client in chosen(one, len(samples), everybody) if client != absent]
    assert chosen(one, 2, fewer) == order[:2]


def test_fedcs_takes_the_fastest_that_end_in_time() -> None:
    """Times 4, 1, 3, 2, 5 s: within 3 s the clients 1, 3 and 2, the fastest first."""
    one = policy("fedcs", [4.0, 1.0, 3.0, 2.0, 5.0], within="3 s")
    assert chosen(one, 5, drawn(0, 1, 2, 3, 4)) == [1, 3, 2]
    assert chosen(one, 2, drawn(0, 1, 2, 3, 4)) == [1, 3]
    assert chosen(one, 2, drawn(4, 2, 0)) == [2]  # 1 and 3 are away


def test_fedcs_takes_equal_clients_in_the_order_of_the_draw() -> None:
    """Where nothing tells clients apart, it is uniform."""
    assert chosen(policy("fedcs", [2.0] * 5, within="2 s"), 3, drawn(3, 0, 4, 1, 2)) == [3, 0, 4]


def test_fedcs_lets_the_fastest_take_part_where_nobody_is_in_time() -> None:
    """A round needs a participant."""
    assert chosen(policy("fedcs", [4.0, 3.0, math.inf], within="1 s"), 3, drawn(0, 1, 2)) == [1]


def test_fedcs_without_a_deadline_is_uniform() -> None:
    """Everybody is in time, and no time is asked for."""
    one = policy("fedcs", {})
    assert one.looks_at(3) == 3
    assert chosen(one, 3, drawn(4, 1, 0)) == [4, 1, 0]


def test_fedcs_by_observed_times() -> None:
    """Means of 4 and 2 s, 5 s and 1 s; the unknown client 3 counts as their median of 3 s."""
    one = policy("fedcs", within="4 s", times="observed")
    everybody = drawn(0, 1, 2, 3)
    assert chosen(one, 4, everybody) == [0, 1, 2, 3]  # nothing is known

    one.heard(times((0, 4.0), (1, 5.0), (2, 1.0)))
    one.heard(times((0, 2.0)))

    assert chosen(one, 4, everybody) == [2, 0, 3]


def test_candidates_are_bounded() -> None:
    """By default 1000, or ten per participant; never fewer than take part."""
    assert [policy("fedcs", within="1 s").looks_at(k) for k in (5, 100, 200)] == [1000, 1000, 2000]
    assert [policy("fedcs", within="1 s", candidates=40).looks_at(k) for k in (5, 100)] == [40, 100]


@pytest.mark.parametrize("kind", ["uniform", "by-samples", "fedcs"])
def test_equal_questions_get_equal_answers(kind: str) -> None:
    """A round that waits for clients asks again."""
    one = policy(kind, [2.0, 1.0, 3.0], [3, 5, 8], **({"within": "2 s"} if kind == "fedcs" else {}))
    assert chosen(one, 2, drawn(2, 0, 1)) == chosen(one, 2, drawn(2, 0, 1))
