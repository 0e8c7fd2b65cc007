"""The server under random arrivals: replica slots are never exceeded, and processor sharing agrees with a
stepwise simulation.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FREE, UNLIMITED, data, read

from sflsim.clock.engine import Environment, Protocol, Timeout
from sflsim.clock.processor_sharing import ProcessorSharingServer
from sflsim.clock.spans import Recorder
from sflsim.experiment.simulate import simulate

Jobs = list[tuple[float, float]]
TENTHS = st.integers(0, 100).map(lambda tenths: tenths / 10)


def stepwise(jobs: Jobs, slots: int) -> list[float]:
    """Return the end of each (arrival, work): from event to event, all jobs looked at each time."""
    left, ends, now = {}, [0.0] * len(jobs), 0.0
    coming = sorted(range(len(jobs)), key=lambda number: jobs[number][0])
    while left or coming:
        share = min(1.0, slots / len(left)) if left else 1.0
        first_s = min((work / share for work in left.values()), default=float("inf"))
        step_s = min(first_s, jobs[coming[0]][0] - now if coming else float("inf"))
        now += step_s
        left = {number: work - step_s * share for number, work in left.items()}
        for number in [number for number, work in left.items() if work <= 1e-12]:
            ends[number] = now
            del left[number]
        while coming and jobs[coming[0]][0] <= now + 1e-12:
            number = coming.pop(0)
            left[number] = jobs[number][1]
    return ends


@settings(max_examples=150, deadline=None)
@given(jobs=st.lists(st.tuples(TENTHS, TENTHS), min_size=1, max_size=25), slots=st.integers(1, 4))
def test_processor_sharing_agrees_with_a_stepwise_simulation(jobs: Jobs, slots: int) -> None:
    env, recorder = Environment(), Recorder()
    server = ProcessorSharingServer(env, recorder, rate=1.0, slots=slots)

    def arrive(number: int) -> Protocol:
        yield Timeout(env, jobs[number][0])
        server.serve(jobs[number][1], round=number)

    for number in range(len(jobs)):
        env.process(arrive(number))
    env.run()
    ends = {span.round: span.end_s for span in recorder.spans if span.activity == "serve"}
    assert [ends[number] for number in range(len(jobs))] == pytest.approx(stepwise(jobs, slots), abs=1e-9)
    assert server.busy_s(recorder.totals) == pytest.approx(sum(work for _, work in jobs))
    tracks = sorted((span.actor, span.start_s, span.end_s) for span in recorder.spans)
    for (actor, _, end_s), (other, start_s, _) in pairwise(tracks):
        assert actor != other or end_s <= start_s


def most_held(spans: Any) -> int:
    """Return the largest number of replicas at once: from first job to last, by (client, round)."""
    jobs = spans[spans["activity"] == "serve"]
    held = jobs.groupby(["client", "round"]).agg(start_s=("start_s", "min"), end_s=("end_s", "max"))
    changes: Counter[float] = Counter()
    for start_s, end_s in held.itertuples(index=False):
        if end_s > start_s:
            changes[start_s] += 1
            changes[end_s] -= 1
    held_now, most = 0, 0
    for at_s in sorted(changes):
        held_now += changes[at_s]
        most = max(most, held_now)
    return most


@settings(max_examples=25, deadline=None)
@given(
    variant=st.sampled_from(
        [
            {"algorithm": "splitfed-v1", "local_iterations": 2},
            {"algorithm": "splitfed-v1", "over_selection": 1},
            {"algorithm": "splitfed-v1", "deadline": "6 s"},
            {"algorithm": "mu-splitfed", "tau": 3},
            {"algorithm": "mu-splitfed", "tau": "adaptive", "over_selection": 1},
            {"algorithm": "frozen-client", "local_iterations": 3},
        ]
    ),
    places=st.integers(1, 3),
    slots=st.integers(1, 4),
    discipline=st.sampled_from(["fifo", "fair"]),
    seed=st.integers(0, 1000),
)
def test_replica_slots_are_never_exceeded_and_rounds_end(
    variant: dict[str, Any], places: int, slots: int, discipline: str, seed: int
) -> None:
    straggler = {"kind": "exponential", "mean": "2 s"}
    group = {"name": "any", "device": {"compute": "8 FLOP/s"}, "link": UNLIMITED, "straggler": straggler}
    costs = {**FREE, "server_forward": "4 FLOP", "server_model": "32 byte", "client_forward": "4 FLOP"}
    content = data(
        workload={"model": {"kind": "mlp", "hidden": [8]}, "costs": costs},
        fleet={"clients": 8, "participants": 6, "groups": [group]},
        server={"compute": "4 FLOP/s", "slots": slots, "memory": f"{32 * (2 + places)} byte"}
        | {"discipline": discipline, "link": UNLIMITED},
        variants=[variant],
        stop={"rounds": 4},
        seeds=[seed],
    )
    run = simulate(read(content), timing_only=True)
    assert run.runs["rounds"].tolist() == [4]
    assert most_held(run.spans) <= places
