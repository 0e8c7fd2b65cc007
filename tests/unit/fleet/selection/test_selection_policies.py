"""Policies of selection on fleets made by hand: who is chosen, in which order, with which probability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sflsim.fleet.selection.policy import Candidates, Facts, Policy, Report
from sflsim.registry import selections

SIGMAS = 5.0
"""What a figure of many draws may be away from its expected value, in standard deviations."""


LABELS = [(4.0, 0.0), (4.0, 0.0), (2.0, 2.0), (2.0, 2.0), (0.0, 4.0), (0.0, 4.0)]
"""Samples of each label that six clients hold."""


def policy(
    kind: str,
    times_s: Mapping[int, float] | Sequence[float] = (),
    samples: Sequence[int] = (),
    **settings: Any,
) -> Policy:
    """Return a policy on clients with these predicted times and samples, by index."""
    made: type[Policy] = selections()[kind]
    facts = Facts(
        seed=3,
        samples=lambda client: samples[client],
        labels=lambda client: np.array(LABELS[client]),
        sample=lambda n: np.arange(min(n, len(times_s) or 6)),
        predicted_s=lambda client: times_s[client],
    )
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


@pytest.mark.parametrize("kind", ["uniform", "by-samples", "fedcs", "tifl", "oort", "power-of-choice"])
def test_equal_questions_get_equal_answers(kind: str) -> None:
    """A round that waits for clients asks again."""
    settings: dict[str, Any] = {"fedcs": {"within": "2 s"}, "tifl": {"tiers": 2}}.get(kind, {})
    one = policy(kind, [2.0, 1.0, 3.0], [3, 5, 8], **settings)
    one.heard([Report(0, 1, 1.0, loss=2.0), Report(2, 1, 2.0, loss=1.0)])
    assert chosen(one, 2, drawn(2, 0, 1)) == chosen(one, 2, drawn(2, 0, 1))


TIMES_S = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def tiers(one: Policy, clients: Sequence[int] = range(6)) -> list[int]:
    """Return the tiers of clients."""
    found: list[int] = one.tiers_of(np.array(clients)).tolist()  # type: ignore[attr-defined]
    return found


def test_tiers_are_equally_large_and_ordered_by_time() -> None:
    """Whatever the order of the fleet; a time on a border is of the faster tier."""
    assert tiers(policy("tifl", TIMES_S, tiers=3)) == [0, 0, 1, 1, 2, 2]
    assert tiers(policy("tifl", TIMES_S[::-1], tiers=2)) == [1, 1, 1, 0, 0, 0]
    assert tiers(policy("tifl", [1.0, 1.0, 1.0, 1.0, 5.0, 6.0], tiers=3)) == [0, 0, 0, 0, 2, 2]


def test_tiers_by_observed_times() -> None:
    """Times 9, 8, 5, 2 and 1 s; the unknown client 5 counts as the median, 5 s."""
    one = policy("tifl", tiers=3, times="observed")
    assert tiers(one) == [0] * 6
    one.heard(times((0, 9.0), (1, 8.0), (2, 5.0), (3, 2.0), (4, 1.0)))
    assert tiers(one) == [2, 2, 1, 0, 0, 1]


def test_a_round_is_of_one_tier_and_each_is_as_likely() -> None:
    """Participants are the first drawn of the tier; one that is away is never drawn."""
    one, rounds = policy("tifl", TIMES_S, tiers=3), 900
    everybody, drawn_tiers = drawn(5, 3, 1, 0, 2, 4), np.zeros(3)
    for round in range(rounds):
        who = chosen(one, 2, everybody, round)
        assert who in ([1, 0], [3, 2], [5, 4])
        drawn_tiers[max(who) // 2] += 1
        assert chosen(one, 2, drawn(5, 1, 4), round) in ([1], [5, 4])
    assert np.all(np.abs(drawn_tiers - rounds / 3) < SIGMAS * math.sqrt(rounds * 2 / 9))


def test_one_tier_is_uniform() -> None:
    """Everybody is alike."""
    assert chosen(policy("tifl", TIMES_S, tiers=1), 3, drawn(4, 1, 5, 0)) == [4, 1, 5]


def played(one: Policy, tier: int) -> None:
    """Let a round be of this tier, by letting nobody else be there."""
    chosen(one, 1, drawn(2 * tier))
    one.heard([Report(2 * tier, 1, 1.0)])


def test_adaptive_tiers_are_weighed_by_their_accuracy() -> None:
    """Tiers hold label 0 alone, both equally, label 1 alone: accuracies 0.8, 0.5, 0.2, so weights 0, 1, 2."""
    one: Any = policy("tifl", TIMES_S, tiers=3, adaptive=True, every=5)
    assert [round for round in range(1, 12) if one.wants_accuracy(round)] == [5, 10]
    played(one, 1)
    one.evaluated(np.array([0.8, 0.2]))
    assert one.weights().tolist() == [1, 1, 1]  # there is no look before

    played(one, 1)
    one.evaluated(np.array([0.9, 0.2]))
    assert one.weights().tolist() == [1, 1, 1]  # 0.55 is better than 0.5

    played(one, 1)
    one.evaluated(np.array([0.8, 0.2]))
    assert one.weights().tolist() == [0, 1, 2]


def test_tiers_without_credits_are_not_drawn() -> None:
    """Two rounds each; when all have had theirs, all may be drawn again."""
    one: Any = policy("tifl", TIMES_S, tiers=3, adaptive=True, credits=2)
    for tier in (0, 0, 2):
        played(one, tier)
    assert one.weights().tolist() == [0, 1, 1]
    assert {max(chosen(one, 2, drawn(*range(6)), round)) // 2 for round in range(40)} == {1, 2}
    for tier in (1, 1, 2):
        played(one, tier)
    assert one.weights().tolist() == [1, 1, 1]


def test_a_tier_of_weight_0_is_drawn_before_those_without_credits() -> None:
    """The most accurate tier alone has credits left: nobody else's turn comes before it has had its own."""
    one: Any = policy("tifl", TIMES_S, tiers=3, adaptive=True, every=1, credits=4)
    for accuracy in ((0.8, 0.2), (0.8, 0.2)):
        for tier in (1, 2):
            played(one, tier)
        one.evaluated(np.array(accuracy))
    assert one.weights().tolist() == [0, 1, 2]
    for tier in (1, 1, 2, 2):
        played(one, tier)
    assert {max(chosen(one, 2, drawn(*range(6)), round)) // 2 for round in range(20)} == {0}


SAMPLES = [10, 20, 30, 40, 5, 5]


def heard_oort(**settings: Any) -> Any:
    """Return Oort after round 1: utilities 20, 20, 30 and 20, times of 1, 2, 3 and 4 s."""
    one = policy("oort", samples=SAMPLES, **settings)
    pairs = enumerate(zip([2.0, 1.0, 1.0, 0.5], [1.0, 2.0, 3.0, 4.0], strict=True))
    one.heard([Report(client, 1, time_s, loss) for client, (loss, time_s) in pairs])
    return one


def test_oorts_scores_by_hand() -> None:
    """Clipped at 20 + 0.94 x 10 = 29.4; a bonus of sqrt(0.1 ln 2) = 0.263; T = 1 + 0.3 x 1 = 1.3 s."""
    bonus = math.sqrt(0.1 * 0.6931471805599453)
    by_hand = [
        20 + bonus,
        (20 + bonus) * (1.3 / 2) ** 2,
        (29.4 + bonus) * (1.3 / 3) ** 2,
        (20 + bonus) * (1.3 / 4) ** 2,
    ]
    assert heard_oort().scores(2, np.arange(4)) == pytest.approx(by_hand, rel=1e-12)


def test_oorts_bonus_is_for_those_whose_last_round_is_long_ago() -> None:
    """Client 0 takes part again in round 9: in round 16 sqrt(0.1 ln 16 / 9), for the others / 1."""
    one = heard_oort(penalty=0)
    one.heard([Report(0, 9, 1.0, loss=2.0)])
    by_hand = [20 + math.sqrt(0.1 * math.log(16) / 9), 20 + math.sqrt(0.1 * math.log(16))]
    assert one.scores(16, np.array([0, 3])) == pytest.approx(by_hand, rel=1e-12)


def test_oort_draws_by_score_near_the_best() -> None:
    """Without a penalty all four are above 0.7 of the second best: a race at speeds of their scores."""
    draws, scores = [0.3, 0.4, 0.5, 0.55], [20.263, 20.263, 29.663, 20.263]
    ends = [-math.log(1 - u) / w for u, w in zip(draws, scores, strict=True)]
    assert ends == pytest.approx([0.0176, 0.0252, 0.0234, 0.0394], abs=1e-4)
    assert chosen(heard_oort(penalty=0), 2, drawn(0, 1, 2, 3, draws=draws), 2) == [0, 2]
    # with the penalty the scores are 20.3, 8.6, 5.6 and 2.1: only client 0 is near the best
    assert chosen(heard_oort(), 1, drawn(3, 2, 1, 0), 2) == [0]


def test_oort_asks_new_clients_and_fewer_of_them_later() -> None:
    """0.855 of 2 are new in round 2, rounded up; 0.2 of 5 from round 31 on; or more of the other kind."""
    one, everybody = heard_oort(penalty=0), drawn(5, 4, 3, 2, 1, 0)
    assert chosen(one, 2, everybody, 2) == [5, 4]
    assert sorted({4, 5} & set(chosen(one, 5, everybody, 31))) == [5]
    assert sorted(chosen(one, 4, drawn(0, 1, 2, 3), 2)) == [0, 1, 2, 3]
    assert chosen(policy("oort", samples=SAMPLES), 2, drawn(4, 2, 1), 50) == [4, 2]


def test_oorts_pacer() -> None:
    """Flat utilities allow slower clients; a jump of five times asks for faster ones."""
    one: Any = policy("oort", samples=SAMPLES)

    def rounds(first: int, last: int, loss: float) -> float:
        for round in range(first, last + 1):
            one.heard([Report(0, round, 1.0, loss)])
        return float(one.percentile)

    assert rounds(1, 39, 2.0) == 10.0
    assert rounds(40, 40, 2.0) == 15.0
    assert rounds(41, 60, 20.0) == 10.0
    assert rounds(61, 80, 40.0) == 10.0  # twice as much is neither


def test_oort_learns_nothing_of_who_was_dropped() -> None:
    """A dropped client stays new."""
    one = policy("oort", samples=SAMPLES)
    one.heard([Report(1, 1, 9.0, counted=False), Report(2, 1, 1.0, loss=1.0)])
    assert chosen(one, 1, drawn(2, 1), 1) == [1]


def test_power_of_choice_asks_candidates_drawn_by_samples() -> None:
    """Twice as many as take part, or as many as it is told, in the race of `by-samples`."""
    one, samples = policy("power-of-choice", samples=SAMPLES), policy("by-samples", samples=SAMPLES)
    assert [one.asked(k) for k in (1, 3)] == [2, 6]
    assert [policy("power-of-choice", samples=SAMPLES, candidates=4).asked(k) for k in (2, 5)] == [4, 5]
    everybody = drawn(5, 3, 1, 0, 2, 4)
    assert chosen(one, 4, everybody) == chosen(samples, 4, everybody)
    assert [one.probed_samples(client) for client in (0, 3)] == [10, 40]


def test_power_of_choice_takes_the_largest_losses() -> None:
    """Of equal ones the first."""
    one = policy("power-of-choice", samples=SAMPLES)
    assert one.best(2, [0, 3, 4], [0.5, 2.0, 1.0]) == [3, 4]
    assert one.best(1, [5, 2], [1.0, 1.0]) == [5]
