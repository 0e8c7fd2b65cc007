"""A participant that drops out: its round learns what docs/background/availability.md says.

Every algorithm is run with real learning on three clients, of which the slowest leaves for good in
its first part. The expectation is a run in which that client was never there: rounds of the others
alone, which the other oracle tests hold against independent implementations.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from oracle.harness import RecordingSession, Training, scenario, train, whole

from sflsim import registry

GONE = "speed-0"  # client 0, the slowest
TWICE = {"local_iterations": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "fedavg": TWICE,
    "fedlora": TWICE,
    "fedasync": TWICE,
    "fedbuff": {**TWICE, "b": 2},
    "sl": TWICE,
    "splitfed-v1": TWICE,
    "splitfed-v2": TWICE,
    "psl": TWICE,
    "gas": {**TWICE, "q_s": 3, "q_c": 2},
    "zo-gas": {**TWICE, "q_s": 3, "q_c": 2},
    "cse-fsl": {**TWICE, "q": 1},
    "heron-sfl": {**TWICE, "q": 1},
    "fsl-sage": {**TWICE, "q": 1},
    "frozen-client": TWICE,
}
SHARED_SERVER = {"splitfed-v2", "psl", "gas", "zo-gas", "cse-fsl", "fsl-sage", "heron-sfl"}
"""One server model for all: what it has stepped on stays in it, whoever it came from."""
TRAINED_TOGETHER = {"cse-fsl", "fsl-sage", "heron-sfl"}
"""What a client will train is named when the round opens, in one call for all, and computed as one."""
BUILT_IN = sorted(registry.algorithms())
ROUNDS = {"fedasync": 18, "fedbuff": 10}  # until the slowest contributes; 3 of the others


def run(algorithm: str, events: list[dict[str, Any]]) -> Training:
    """Run an algorithm with real learning under scheduled events."""
    variant = {"algorithm": algorithm, **SETTINGS.get(algorithm, {})}
    base = scenario(variant).fleet.model_dump(mode="json", by_alias=True)
    base.pop("events", None)
    workload: dict[str, Any] = {}
    if algorithm == "fedlora":
        workload = {"model": {"kind": "mlp", "hidden": [12, 9], "adapters": {"rank": 2, "alpha": 4}}}
    return train(
        variant, rounds=ROUNDS.get(algorithm, 3), fleet={**base, "events": events}, workload=workload
    )


def models(training: Training) -> list[torch.Tensor]:
    """Return the evaluated models but the initial one."""
    return [whole(model) for model in training.session.learner.models[1:]]


def asked_of(session: RecordingSession) -> set[int]:
    """Return the clients whose batches were computed."""
    return {client for client, _ in session.batches}


@cache
def without(algorithm: str) -> Training:
    """Return the run in which the client is never there."""
    return run(algorithm, [{"at": "1e9 s", "group": GONE, "join": True}])


@cache
def spans_of(algorithm: str) -> list[Any]:
    """Return the spans of the client's first part in the run in which it stays."""
    spans = run(algorithm, []).outcome.spans
    return [
        span for span in spans if span.client == f"{GONE}-0" and span.round == 1 and span.activity != "wait"
    ]


@pytest.mark.parametrize("algorithm", BUILT_IN)
def test_a_client_that_drops_out_before_the_server_has_anything_of_it_was_never_there(algorithm: str) -> None:
    """It leaves in its first computation: time, rounds and every bit of every model are the others' alone."""
    first_s = next(span.end_s for span in spans_of(algorithm) if span.activity == "compute")
    left = run(algorithm, [{"at": f"{first_s * 0.9!r} s", "group": GONE, "leave": True}])
    expected = without(algorithm)

    assert left.outcome.status == expected.outcome.status == "completed"
    assert len(models(left)) == len(models(expected)) == ROUNDS.get(algorithm, 3)
    for found, wanted in zip(models(left), models(expected), strict=True):
        assert torch.equal(found, wanted)
    if not TRAINED_TOGETHER & {algorithm}:
        assert asked_of(left.session) == {1, 2}
    own = [span for span in left.outcome.spans if span.client == f"{GONE}-0"]
    assert {span.outcome for span in own} <= {"wasted", "lost"}
    assert "lost" in {span.outcome for span in own}
    assert all(span.end_s <= first_s * 0.9 * (1 + 1e-12) for span in own)


def middle_s(algorithm: str) -> float:
    """Return a time after the server's first job for the client (or its computation), before its end."""
    spans = spans_of(algorithm)
    known = "serve" if any(span.activity == "serve" for span in spans) else "compute"
    served_s = next(span.end_s for span in spans if span.activity == known)
    return float(served_s + max(span.end_s for span in spans)) / 2


@pytest.mark.parametrize("algorithm", [name for name in BUILT_IN if name not in SHARED_SERVER])
def test_after_the_server_step_the_part_does_not_count(algorithm: str) -> None:
    """Where the server holds a replica, or nothing, for the client, its part is wasted as a whole."""
    left = run(algorithm, [{"at": f"{middle_s(algorithm)!r} s", "group": GONE, "leave": True}])

    assert left.outcome.status == "completed"
    for found, wanted in zip(models(left), models(without(algorithm)), strict=True):
        assert torch.equal(found, wanted)
    assert asked_of(left.session) == {1, 2}
    assert {span.outcome for span in left.outcome.spans if span.client == f"{GONE}-0"} == {"wasted", "lost"}


@pytest.mark.parametrize("algorithm", sorted(SHARED_SERVER))
def test_a_shared_server_keeps_what_it_has_stepped_on(algorithm: str) -> None:
    """The server model has seen the client's first batch; its client part is in no mean."""
    left = run(algorithm, [{"at": f"{middle_s(algorithm)!r} s", "group": GONE, "leave": True}])

    assert left.outcome.status == "completed"
    assert 0 in asked_of(left.session)
    means = "mean_part" if "gas" in algorithm else {"psl": "train"}.get(algorithm, "merge")
    clients = [list(args["clients"]) for arguments in left.arguments(means) for args in arguments]
    assert clients
    assert all(set(one) <= {1, 2} for one in clients)
    last, before = models(left)[-1], models(without(algorithm))[-1]
    assert not torch.equal(last, before)
    batches = {number for client, number in left.session.batches if client == 0}
    assert 0 in batches
    assert batches <= {0, 1}


def test_every_algorithm_is_here() -> None:
    """An algorithm that is added is tested as one with replicas unless it is named above."""
    assert set(SETTINGS) | {"mu-splitfed", "zo-splitfed", "ho-sfl"} == set(BUILT_IN)
