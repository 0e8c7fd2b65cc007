"""Each policy's order and probabilities on fleets made by hand, from the policies' definitions alone.

Probabilities are worked out by hand and compared with the shares of many seeds: five standard deviations of
the share, with seeds that are always the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from oracle.harness import SKEWED, shaped, train, whole
from oracle.references import common as ref

from sflsim.fleet.population import Fleet, FleetConfig, build_fleet
from sflsim.fleet.selection.by_samples import BySamples
from sflsim.fleet.selection.fedcs import FedCS
from sflsim.fleet.selection.oort import Oort
from sflsim.fleet.selection.policy import Facts, Policy, Report
from sflsim.fleet.selection.power_of_choice import PowerOfChoice
from sflsim.fleet.selection.tifl import TiFL


def facts(
    seed: int = 0,
    *,
    samples: Sequence[int] = (),
    times: Sequence[float] = (),
    labels: Sequence[Sequence[float]] = (),
    clients: int = 0,
) -> Facts:
    """What a policy may know of a fleet made by hand."""
    size = max(clients, len(samples), len(times))
    return Facts(
        seed,
        lambda k: samples[k] if samples else 1,
        lambda k: np.array(labels[k], dtype=float),
        lambda n: np.arange(size)[:n],
        lambda k: times[k],
    )


@cache
def fleet(clients: int) -> Fleet:
    config = {"clients": clients, "groups": [{"device": "raspberry-pi-4"}]}
    return build_fleet(FleetConfig.model_validate(config), 11)


def chosen(policy: Policy, draw: int, round: int, k: int, clients: int) -> list[int]:
    """Whom a policy chooses in a round, of all clients in the order of one of the fleet's draws."""
    return [int(client) for client in policy.choose(round, k, fleet(clients).candidates(draw))]


def check_shares(outcome: Callable[[int], Hashable], expected: Mapping[Any, float], seeds: int = 800) -> None:
    """Compare how often each outcome comes with its probability; no other outcome may come."""
    assert sum(expected.values()) == pytest.approx(1)
    found = Counter(outcome(seed) for seed in range(seeds))
    assert set(found) <= {name for name, p in expected.items() if p}
    for name, p in expected.items():
        assert found[name] / seeds == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / seeds) + 1e-12), name


def test_by_samples_draws_one_after_another() -> None:
    """Samples 1, 2, 5: the ordered pairs by p_i p_j / (1 - p_i), so the sets {a, b} sum both orders."""
    p = [1 / 8, 2 / 8, 5 / 8]

    def pair(i: int, j: int) -> float:
        return p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])

    def outcome(k: int) -> Callable[[int], frozenset[int]]:
        return lambda seed: frozenset(
            chosen(BySamples(BySamples.Config(), facts(seed, samples=[1, 2, 5])), seed, 1, k, 3)
        )

    check_shares(outcome(1), {frozenset({i}): p[i] for i in range(3)})
    check_shares(outcome(2), {frozenset({i, j}): pair(i, j) for i, j in [(0, 1), (0, 2), (1, 2)]})


TIMES = [5.0, 1.0, 4.0, 2.0, 9.0, 3.0]


@pytest.mark.parametrize(
    ("within", "k", "expected"),
    [("10 s", 3, [1, 3, 5]), ("3.5 s", 5, [1, 3, 5]), ("4 s", 6, [1, 3, 5, 2]), ("0.5 s", 3, [1])],
    ids=["fastest-first", "within", "to-the-end", "nobody"],
)
def test_fedcs_takes_the_fastest_until_the_round_would_end_late(
    within: str, k: int, expected: list[int]
) -> None:
    policy = FedCS(FedCS.Config(within=within), facts(times=TIMES))

    for seed in range(5):
        assert sorted(chosen(policy, seed, 1, k, 6)) == sorted(expected)


def test_tifl_draws_a_tier_then_clients_of_it() -> None:
    """Three tiers of two by time: {1, 3}, {5, 2}, {0, 4}; one of two of a tier has 1/6."""
    tiers = [{1, 3}, {5, 2}, {0, 4}]

    def outcome(k: int) -> Callable[[int], frozenset[int]]:
        return lambda seed: frozenset(
            chosen(TiFL(TiFL.Config(tiers=3), facts(seed, times=TIMES)), seed, 1, k, 6)
        )

    check_shares(outcome(2), {frozenset(tier): 1 / 3 for tier in tiers})
    check_shares(outcome(1), {frozenset({client}): 1 / 6 for client in range(6)})
    check_shares(outcome(4), {frozenset(tier): 1 / 3 for tier in tiers})  # no more than the tier has


def adaptive(seed: int, accuracy: Sequence[float], looks: int = 2, **config: Any) -> TiFL:
    """TiFL whose tiers hold one label each, after some looks at the same accuracies, every second round."""
    labels = [[float(tier == label) for label in range(3)] for tier in (2, 0, 1, 0, 2, 1)]
    policy = TiFL(
        TiFL.Config(tiers=3, adaptive=True, every=2, **config), facts(seed, times=TIMES, labels=labels)
    )
    for round in range(1, 2 * looks + 1):
        took = chosen(policy, seed, round, 2, 6)
        policy.heard([Report(client, round, TIMES[client]) for client in took])
        assert policy.wants_accuracy(round) == (round % 2 == 0)
        if round % 2 == 0:
            policy.evaluated(np.array(accuracy))
    return policy


def test_tifl_weighs_tiers_by_rank_of_accuracy() -> None:
    """Accuracies 0.9, 0.5, 0.7 that do not rise: ranks 3, 1, 2 from the worst, of weight 3 minus rank."""

    def outcome(seed: int) -> frozenset[int]:
        return frozenset(chosen(adaptive(seed, [0.9, 0.5, 0.7]), seed, 5, 2, 6))

    check_shares(outcome, {frozenset({5, 2}): 2 / 3, frozenset({0, 4}): 1 / 3, frozenset({1, 3}): 0}, 600)


def test_tifl_spends_credits() -> None:
    """With one round each, every tier has had its round after three."""
    tiers = [{1, 3}, {5, 2}, {0, 4}]
    for seed in range(40):
        labels = [[1.0, 0.0, 0.0]] * 6
        policy = TiFL(
            TiFL.Config(tiers=3, adaptive=True, every=50, credits=1), facts(seed, times=TIMES, labels=labels)
        )
        took = []
        for round in (1, 2, 3):
            took.append(set(chosen(policy, seed, round, 2, 6)))
            assert took[-1] == set(chosen(policy, seed, round, 2, 6))  # asked again, it answers the same
            policy.heard([Report(client, round, TIMES[client]) for client in took[-1]])
        assert sorted(map(sorted, took)) == sorted(map(sorted, tiers))


def test_power_of_choice_asks_by_samples_and_takes_the_largest_losses() -> None:
    config = PowerOfChoice.Config(candidates=2)

    def outcome(seed: int) -> frozenset[int]:
        policy = PowerOfChoice(config, facts(seed, samples=[1, 2, 5]))
        assert policy.asked(1) == 2
        return frozenset(chosen(policy, seed, 1, 2, 3))

    p = [1 / 8, 2 / 8, 5 / 8]
    check_shares(
        outcome,
        {
            frozenset({i, j}): p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
            for i, j in [(0, 1), (0, 2), (1, 2)]
        },
    )
    policy = PowerOfChoice(PowerOfChoice.Config(), facts(samples=[1] * 5))
    assert policy.asked(2) == 4
    assert list(policy.best(2, [4, 0, 3, 1], [0.2, 0.9, 0.5, 0.6])) == [0, 1]


# Oort: 51 clients, so that the 98th and the 10th percentile fall on a client whatever one does between two


CLIENTS = 51


def oort(
    seed: int,
    losses: Mapping[int, float],
    samples: Mapping[int, int] | None = None,
    slow: Mapping[int, float] | None = None,
    last: Mapping[int, int] | None = None,
    known: int = CLIENTS,
    clients: int = CLIENTS,
) -> Oort:
    """Oort that has heard of `known` clients once, in round 1 unless `last` says another.

    Everybody has one sample, a loss (root mean square) of 0.01 and 1 s, but for those named.
    """
    of = [(samples or {}).get(client, 1) for client in range(clients)]
    policy = Oort(Oort.Config(), facts(seed, samples=of, times=[1.0] * clients))
    for round in sorted({1, *(last or {}).values()}):
        policy.heard(
            [
                Report(client, round, (slow or {}).get(client, 1.0), losses.get(client, 0.01))
                for client in range(known)
                if (last or {}).get(client, 1) == round
            ]
        )
    return policy


def shares(scores: Mapping[int, float]) -> dict[int, float]:
    total = sum(scores.values())
    return {client: score / total for client, score in scores.items()}


def check_oort(scores: Mapping[int, float], round: int, **known: Any) -> None:
    """One of the clients with `scores` is drawn, in proportion to them."""
    check_shares(lambda seed: chosen(oort(seed, **known), seed, round, 1, CLIENTS)[0], shares(scores))


def test_oort_draws_by_utility_above_seven_tenths_of_the_best() -> None:
    """n times the loss: 10, 10, 8 and 6.5, of which the last is below the cut; all took part in one round."""
    bonus = math.sqrt(0.1 * math.log(2) / 1)
    scores = {3: 10 + bonus, 5: 10 + bonus, 7: 8 + bonus}

    check_oort(scores, 2, losses={3: 5, 5: 10, 7: 8, 9: 6.5}, samples={3: 2})


def test_oort_clips_at_the_98th_percentile() -> None:
    """The best of 51 counts as the second."""
    bonus = math.sqrt(0.1 * math.log(2) / 1)

    check_oort({3: 10 + bonus, 7: 10 + bonus, 9: 8 + bonus}, 2, losses={3: 1000, 7: 10, 9: 8, 11: 6})


def test_oort_adds_for_long_rest_and_takes_off_for_slowness() -> None:
    """Round 9: sqrt(0.1 ln 9 / l) is larger for an older l; 1.1 s where T is 1 s costs 1.1^2."""
    rest = {last: math.sqrt(0.1 * math.log(9) / last) for last in (1, 8)}
    scores = {3: 2 + rest[8], 7: 2 + rest[1], 9: (2.2 + rest[8]) / 1.1**2}
    assert min(scores.values()) > 0.7 * max(scores.values())

    check_oort(
        scores,
        9,
        losses={3: 2, 7: 2, 9: 2.2, 11: 2.2, 13: 2.2},
        slow={9: 1.1, 11: 2.0, 13: 20.0},
        last={3: 8, 9: 8, 11: 8, 13: 8},
    )


def test_oort_explores_nine_tenths_at_first_and_two_tenths_at_last() -> None:
    """Of 10: 9 of the unknown in round 1, 2 in round 60; uniformly, so each of them equally often."""
    for round, new in ((1, 9), (60, 2)):
        found: Counter[int] = Counter()
        for seed in range(300):
            policy = oort(seed, {}, known=25, clients=50)
            took = chosen(policy, seed, round, 10, 50)
            assert len(set(took)) == 10
            assert sum(client >= 25 for client in took) == new
            found.update(client for client in took if client >= 25)
        share = new / 25
        deviation = math.sqrt(share * (1 - share) / 300)
        assert all(abs(found[client] / 300 - share) < 5 * deviation for client in range(25, 50))


@pytest.mark.parametrize(
    ("algorithm", "function"), [("splitfed-v1", "train"), ("fedavg", "train"), ("mu-splitfed", "exchange")]
)
def test_oort_hears_of_the_losses_of_what_was_trained_on(
    algorithm: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root mean square over a participant's batches, under the model that the round began with."""
    heard: list[Report] = []
    monkeypatch.setattr(Oort, "heard", lambda policy, reports: heard.extend(reports))
    group = {"name": "all", "device": {"compute": "1 MFLOP/s"}}
    fleet = {"clients": 4, "participants": 2, "groups": [group], "selection": "oort"}
    settings = {} if algorithm == "mu-splitfed" else {"local_iterations": 2}
    compression = {"compression": {"model": "int8"}}  # of which no loss is
    run = train({"algorithm": algorithm, **settings, **compression}, fleet=fleet, workload=SKEWED)

    found = {(report.round - 1, report.client): report.loss for report in heard if report.counted}
    assert len(found) == 6
    for r, told in enumerate(run.arguments(function)):
        x = shaped(whole(run.session.learner.models[r]), run.model[1])
        for args in told:
            losses = []
            for name in args["batches"] if "batches" in args else [args["batch"]]:
                inputs, labels = run.batch(name)
                logits = run.model[0](x, inputs).detach()
                losses += [
                    float(ref.cross_entropy(logits[i : i + 1], labels[i : i + 1])) for i in range(len(labels))
                ]
            root = math.sqrt(sum(loss**2 for loss in losses) / len(losses))
            assert found[r, args["client"]] == pytest.approx(root, rel=1e-5)


def test_oort_takes_who_is_left() -> None:
    """Everybody is known, or nobody: the round is full all the same."""
    assert len(set(chosen(oort(0, {}), 0, 2, 10, CLIENTS))) == 10
    assert len(set(chosen(oort(0, {}, known=0), 0, 1, 10, CLIENTS))) == 10
