"""GAS in a scenario: which buffers are allowed, what exchanges cost, who is replaced by whom."""

from __future__ import annotations

from typing import Any

import pytest
from support import FREE, UNLIMITED, data, read

from sflsim.errors import ScenarioError
from sflsim.session import Options, Outcome, Session

BUFFERS = {"q_s": 3, "q_c": 2, "local_iterations": 4}
LIKE = {"name": "like", "device": {"compute": "8 FLOP/s"}, "link": {"up": "16 byte/s", "down": "16 byte/s"}}


def problems(variant: dict[str, Any], **parts: Any) -> list[Any]:
    fleet = {"clients": 4, "participants": 2, "groups": [LIKE]}
    scenario = read(data(variants=[variant], fleet=fleet, **parts))
    try:
        Session(scenario, Options(timing_only=True)).check()
    except ScenarioError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("algorithm", ["gas", "zo-gas"])
def test_a_model_buffer_may_be_larger_than_the_active_clients(algorithm: str) -> None:
    """Nobody waits for it: two clients at a time fill one of five, also by all defaults (Q_c = 10)."""
    assert problems({"algorithm": algorithm}) == []
    outcome = run({"algorithm": algorithm, **BUFFERS, "q_c": 5}, True, stop={"rounds": 2})

    assert outcome.status == "completed"
    assert sum(span.activity == "uplink" and span.bytes == 16 for span in outcome.spans) == 10
    assert not [span for span in outcome.spans if span.activity == "wait"]


def test_an_activation_buffer_that_a_run_cannot_fill_is_refused() -> None:
    """Two parts of four arrivals, and four of one that is not yet in; a run by time brings any number."""
    (problem,) = problems({"algorithm": "gas", **BUFFERS, "q_s": 13})

    assert problem.path == "variants[0].q_s"
    assert "12 arrivals that 1 rounds bring" in problem.allowed
    assert problems({"algorithm": "gas", **BUFFERS, "q_s": 12}) == []
    assert problems({"algorithm": "gas", **BUFFERS, "q_s": 13}, stop={"rounds": 2}) == []
    assert problems({"algorithm": "gas", **BUFFERS, "q_s": 99}, stop={"time": "9 s"}) == []


def test_both_mistakes_of_two_variants_are_reported_at_once() -> None:
    """As everywhere in a scenario."""
    fleet = {"clients": 2, "groups": [LIKE]}
    variants = [{"algorithm": "gas", "q_s": 999}, {"algorithm": "zo-gas", "q_s": 999}]
    scenario = read(data(variants=variants, fleet=fleet))
    with pytest.raises(ScenarioError) as caught:
        Session(scenario, Options(timing_only=True)).check()

    assert [problem.path for problem in caught.value.problems] == ["variants[0].q_s", "variants[1].q_s"]


def test_an_argument_that_the_optimizer_does_not_take_is_refused() -> None:
    """At its own key."""
    (problem,) = problems({"algorithm": "gas", **BUFFERS, "server_optimizer": {"momentun": 0.9}})

    assert problem.path == "variants[0].server_optimizer.momentun"


def run(variant: dict[str, Any], timing_only: bool, **parts: Any) -> Outcome:
    fleet = {"clients": 4, "participants": 3, "groups": [LIKE]}
    parts = {"stop": {"rounds": 3}, "fleet": fleet, **parts}
    session = Session(read(data(variants=[variant], **parts)), Options(timing_only=timing_only))
    session.check()
    return session.run(0, 0, lambda row: None)


@pytest.mark.parametrize("algorithm", ["gas", "zo-gas"])
def test_time_does_not_depend_on_the_learning(algorithm: str) -> None:
    """Spans, rounds and server steps are the same whether anything is learned or not."""
    variant = {"algorithm": algorithm, **BUFFERS}
    learned, timed = run(variant, False), run(variant, True)

    assert learned.spans == timed.spans
    assert learned.time_s == timed.time_s
    assert [(row.time_s, row.round, row.step) for row in learned.evaluations] == [
        (row.time_s, row.round, row.step) for row in timed.evaluations
    ]
    assert learned.evaluations[-1].step > 0


@pytest.mark.parametrize(
    ("algorithm", "up_bytes", "down_bytes", "client_flop", "server_flop"),
    [("gas", 8 + 4, 8, 8 + 16, 3 + 25), ("zo-gas", 3 * 8 + 4, 4, 3 * 8, 2 * 3)],
)
def test_every_exchange_costs_what_it_says(
    algorithm: str, up_bytes: float, down_bytes: float, client_flop: float, server_flop: float
) -> None:
    """One turn: the client part down and up, E exchanges; a server step counts its largest batch."""
    fleet = {"clients": 1, "groups": [LIKE]}
    outcome = run({"algorithm": algorithm, **BUFFERS, "q_c": 1}, True, fleet=fleet, stop={"rounds": 1})
    arrivals = 4

    def total(activity: str, column: str) -> float:
        return sum(
            getattr(span, column) for span in outcome.spans if span.activity == activity and span.client
        )

    assert total("uplink", "bytes") == 16 + arrivals * up_bytes
    assert total("downlink", "bytes") == 16 + arrivals * down_bytes
    assert total("compute", "flop") == arrivals * client_flop
    assert total("serve", "flop") == arrivals * server_flop
    steps = [span.flop for span in outcome.spans if span.activity == "serve" and not span.client]
    assert steps == [(3 + 9) * server_flop]


def test_a_place_goes_to_any_idle_client_but_the_one_just_done() -> None:
    """With free exchanges, two equal clients at a time: who follows whom shows in the order of the turns."""
    group = {**LIKE, "link": UNLIMITED}
    scenario = read(
        data(
            workload={**data()["workload"], "costs": {**FREE, "client_forward": "8 FLOP"}},
            fleet={"clients": 6, "participants": 2, "groups": [group]},
            variants=[{"algorithm": "gas", "q_s": 2, "q_c": 2, "local_iterations": 1}],
            stop={"rounds": 30},
        )
    )
    outcome = Session(scenario, Options(timing_only=True)).run(0, 0, lambda row: None)
    turns = [span.client for span in outcome.spans if span.activity == "compute" and span.flop]

    assert len(turns) == 60
    assert len(set(turns)) == 6
    assert all(turns[i] != turns[i + 1] for i in range(0, 60, 2))
    assert all(turns[i] != turns[i + 2] for i in range(58))
    after = {(turns[i], turns[i + 2]) for i in range(58)}
    assert len(after) > 20  # of 30 pairs
