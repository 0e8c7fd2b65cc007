"""Rounds through a server with few places, or one that shares fairly, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support import FAST, UNLIMITED, data, read

from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explainer.what_if import what_if
from sflsim.registry import algorithms

TWO = {"clients": 2, "groups": [{**FAST, "count": 2}]}
SERVER = {"compute": "4 FLOP/s", "slots": 2, "link": UNLIMITED}
"""Model, mean and replica have 32 bytes each: 96 bytes hold one place."""


def timed(variant: dict[str, Any], server: dict[str, Any], **fields: Any) -> Run:
    content = data(fleet=TWO, variants=[variant], server={**SERVER, **server})
    return simulate(read({**content, **fields}), timing_only=True)


def served(run: Run) -> list[tuple[float, float]]:
    spans = run.spans[run.spans["activity"] == "serve"]
    return sorted(zip(spans["start_s"], spans["end_s"], strict=True))


@pytest.mark.parametrize("memory", [None, "128 byte", "96 byte"])
def test_enough_memory_changes_nothing(memory: str | None) -> None:
    """Two replicas and the model fit into 96 bytes, as the first that is done becomes the mean."""
    run = timed({"algorithm": "splitfed-v1"}, {"memory": memory})
    # 1.25 s model down, 1 s forward, 1 s up; 7 s of serving; 0.75 s down, 2 s backward, 1.25 s up
    assert served(run) == [(3.25, 10.25), (3.25, 10.25)]
    assert run.runs["time_s"].tolist() == [14.25]
    assert run.runs["server_memory_bytes"].tolist() == [96.0]


THREE = {"clients": 3, "groups": [{**FAST, "count": 3}]}


def test_one_place_for_three_participants() -> None:
    """One place for three: 7 s each, one after another, though there are three slots."""
    run = timed({"algorithm": "splitfed-v1"}, {"memory": "96 byte", "slots": 3}, fleet=THREE)
    assert served(run) == [(3.25, 10.25), (10.25, 17.25), (17.25, 24.25)]
    assert run.runs["time_s"].tolist() == [28.25]
    assert run.runs["server_memory_bytes"].tolist() == [96.0]
    queue = run.spans[run.spans["activity"] == "queue"]
    assert queue["outcome"].tolist() == ["memory", "memory"]
    assert queue["start_s"].tolist() == [3.25, 3.25]
    assert queue["end_s"].tolist() == [10.25, 17.25]


def test_a_replica_keeps_its_place_between_batches() -> None:
    """With two batches a replica is held 18.75 s; the slot idles while its client computes."""
    run = timed(
        {"algorithm": "splitfed-v1", "local_iterations": 2}, {"memory": "96 byte", "slots": 3}, fleet=THREE
    )
    assert served(run) == [(at, at + 7) for at in (3.25, 15.0, 22.0, 33.75, 40.75, 52.5)]
    assert run.runs["time_s"].tolist() == [63.5]


def test_mu_splitfed_keeps_its_place_until_the_scalar() -> None:
    """tau = 2 steps of 1.5 s, then 1.5 s for the scalar: 4.5 s a place; then 0.5 s down and 1.25 s up."""
    run = timed({"algorithm": "mu-splitfed", "tau": 2}, {"memory": "96 byte", "slots": 3}, fleet=THREE)
    assert served(run) == [
        (3.25, 6.25), (6.25, 7.75), (7.75, 10.75), (10.75, 12.25), (12.25, 15.25), (15.25, 16.75),
    ]  # fmt: skip
    assert run.runs["time_s"].tolist() == [18.5]


def test_a_fair_server_serves_both_at_once() -> None:
    """One slot shared by two jobs of 7 s: both are done after 14 s, and 14 slot seconds were busy."""
    run = timed({"algorithm": "splitfed-v1"}, {"slots": 1, "discipline": "fair"})
    assert served(run) == [(3.25, 17.25), (3.25, 17.25)]
    assert run.runs["server_busy_s"].tolist() == [14.0]
    assert run.runs["time_s"].tolist() == [21.25]


def test_fair_sharing_leaves_one_server_model_to_one_at_a_time() -> None:
    """SplitFed V2 steps one model: the second waits, and nothing is shared."""
    run = timed({"algorithm": "splitfed-v2"}, {"slots": 2, "discipline": "fair"})
    assert served(run) == [(3.25, 10.25), (10.25, 17.25)]


def test_dropped_participants_give_their_places_back() -> None:
    """Over-selection with one place: the next round's participants are served, round after round."""
    run = timed(
        {"algorithm": "splitfed-v1", "over_selection": 2},
        {"memory": "96 byte", "slots": 3},
        fleet={**THREE, "participants": 1},
        stop={"rounds": 5},
    )
    assert run.runs["rounds"].tolist() == [5]
    assert run.runs["dropped"].tolist() == [10]


def test_refused_where_not_one_replica_fits() -> None:
    with pytest.raises(ScenarioError, match=r"server\.memory") as caught:
        timed({"algorithm": "splitfed-v1"}, {"memory": "95 byte"})
    assert "allowed: 96.00 B or more" in str(caught.value)


def test_refused_where_the_one_server_model_does_not_fit() -> None:
    with pytest.raises(ScenarioError, match=r"server\.memory"):
        timed({"algorithm": "splitfed-v2"}, {"memory": "31 byte"})
    timed({"algorithm": "splitfed-v2"}, {"memory": "32 byte"})


NOT_HERE = {"fedlora"}  # needs a model with adapters


@pytest.mark.parametrize("discipline", ["fifo", "fair"])
@pytest.mark.parametrize("algorithm", sorted(set(algorithms()) - NOT_HERE))
def test_every_algorithm_ends_with_one_place(algorithm: str, discipline: str) -> None:
    """Jitter lets a later batch arrive before an earlier one: the replica is done with the last to arrive."""
    group = {**FAST, "count": 3, "link": {**FAST["link"], "jitter": {"kind": "exponential", "mean": "10 s"}}}
    several = (
        {"local_iterations": 6} if "local_iterations" in algorithms()[algorithm].Config.model_fields else {}
    )
    content = data(
        fleet={"clients": 3, "groups": [group], "straggler": {"kind": "exponential", "mean": "1 s"}},
        variants=[{"algorithm": algorithm, **several}],
        server={**SERVER, "memory": "96 byte", "discipline": discipline},
        stop={"rounds": 4},
    )
    run = simulate(read(content), timing_only=True)
    assert run.runs["status"].tolist() == ["completed"]
    assert run.runs["rounds"].tolist() == [4]


def test_the_fed_server_has_a_link_of_its_own() -> None:
    """Client parts of 16 bytes through 4 byte/s shared by two: 8 s; all else as before (see above)."""
    slow = {"fed": {"link": {"up": "4 byte/s", "down": "4 byte/s"}}}
    run = timed({"algorithm": "splitfed-v1"}, slow)
    # 8 s + 0.25 s down, 1 s, 1 s up | 7 s | 0.75 s, 2 s, 8.25 s up
    assert served(run) == [(10.25, 17.25), (10.25, 17.25)]
    assert run.runs["time_s"].tolist() == [28.25]


def test_what_if_knows_memory_fed_link_and_access_points() -> None:
    """One at a time is served; three at once share the cell as they send up their activations."""
    limited = {"fed": {"link": {"up": "4 byte/s", "down": "4 byte/s"}}, "memory": "96 byte", "slots": 3}
    content = data(fleet=THREE, server={**SERVER, **limited})
    content["fleet"] = {
        "clients": 3,
        "groups": [{**THREE["groups"][0], "access_point": "cell"}],
        "access_points": {"cell": {"shared": "40 byte/s"}},
    }
    table = what_if(read(content), {0: {0: 1}}, {0: {}}).set_index("change")
    # 12.25 s down, 1 s, 0.9 + 0.25 s up, three times 7 s, 0.75 s, 2 s; then one alone sends, 4.25 s
    assert table["time_s"].iloc[0] == pytest.approx(42.4)
    assert table.loc["Fed Server link twice as fast", "changed_s"] == pytest.approx(34.4)
    assert table.loc["access point cell twice as fast", "changed_s"] == pytest.approx(42.25)
    # all are served at once, share the cell on the way down (0.6 s), the Fed Server's link at the end
    assert table.loc["twice the server memory", "changed_s"] == pytest.approx(36.5)


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "mu-splitfed", "frozen-client"])
@pytest.mark.parametrize("discipline", ["fifo", "fair"])
def test_those_who_vanish_give_their_places_back(algorithm: str, discipline: str) -> None:
    """Clients come and go with one place for all: some parts are cut, and every round is made."""
    group = {
        **THREE["groups"][0],
        "count": 6,
        "availability": {"kind": "markov", "on": "40 s", "off": "20 s"},
    }
    content = data(
        fleet={"clients": 6, "participants": 3, "groups": [group]},
        variants=[{"algorithm": algorithm}],
        server={**SERVER, "memory": "96 byte", "discipline": discipline},
        stop={"rounds": 20},
    )
    run = simulate(read(content), timing_only=True)
    assert run.runs["status"].tolist() == ["completed"]
    assert run.runs["rounds"].tolist() == [20]
    assert "lost" in set(run.spans["outcome"])
