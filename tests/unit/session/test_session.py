"""A session uses what it is handed: learning, recorder, stores and a cache that others use too."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from oracle.harness import RecordingLearner, RecordingSession, scenario

from sflsim.clock.spans import NullSink, Recorder
from sflsim.learning.graph.lineage import Handle
from sflsim.learning.graph.timing_only import NamingLearner, NullLearner
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Requirements, Session, SessionCache

V1 = {"algorithm": "splitfed-v1"}
TIMING = Options(timing_only=True)


def test_the_given_learning_is_asked_once_for_each_run() -> None:
    asked: list[Any] = []

    def learning(variant: Any, cut: int, seed: int) -> NullLearner:
        asked.append((variant.name, cut, seed))
        return NullLearner()

    content = scenario({**V1, "cut": 1}, {"algorithm": "fedavg", "cut": 2}, seeds=[0, 7])
    session = Session(content, Options(), learning=learning)
    for number, seed in [(0, 0), (0, 7), (1, 0)]:
        session.run(number, seed, lambda row: None)

    names = [one.name for one in content.variants]
    assert asked == [(names[0], 1, 0), (names[0], 1, 7), (names[1], 2, 0)]


def test_the_given_recorder_decides_what_is_kept_and_not_what_happens() -> None:
    content = scenario(V1)
    whole = Session(content, TIMING).run(0, 0, lambda row: None)
    unread = Session(content, TIMING, recorder=lambda: Recorder(NullSink())).run(0, 0, lambda row: None)

    assert whole.spans
    assert not unread.spans
    assert whole.time_s == unread.time_s
    assert repr(whole.evaluations) == repr(unread.evaluations)


MU = {"algorithm": "mu-splitfed", "tau": 2}


@pytest.mark.parametrize("variant", [V1, MU, {"algorithm": "fedavg"}], ids=lambda one: one["algorithm"])
def test_a_naming_learner_gives_the_keys_of_a_learner(variant: dict[str, Any]) -> None:
    """What the planner knows under a key must be what a training would have found under it."""
    content = scenario(variant)
    learned: list[str] = []

    class Listening(RecordingLearner):
        def evaluate(self, model: Handle) -> tuple[float, float]:
            learned.append(model.key)
            return super().evaluate(model)

    evaluated = RecordingSession(content, learner=Listening).run(0, 0, lambda row: None).evaluations
    known = dict(zip(learned, [(row.accuracy, row.loss) for row in evaluated], strict=True))
    keys: list[str] = []
    session: Session = Session(
        content,
        Options(),
        learning=lambda variant, cut, seed: NamingLearner(keys, session.materials.task(cut, seed).key, known),
    )

    assert session.run(0, 0, lambda row: None).evaluations == evaluated
    assert keys == learned


def varied(**workload: Any) -> Scenario:
    return scenario(V1, workload={"cut": 1, **workload})


def test_sessions_with_one_cache_make_once_what_is_alike() -> None:
    cache = SessionCache()
    faster = scenario(V1, workload={"cut": 1}, server={"compute": "500 MFLOP/s"})
    one, other = (Session(content, Options(), cache=cache) for content in (varied(), faster))

    assert one.materials.data() is other.materials.data()
    assert one.materials.shards(0) is other.materials.shards(0)
    assert one.materials.task(1, 0) is other.materials.task(1, 0)
    assert one.requirements.costs(1) is other.requirements.costs(1)


@pytest.mark.parametrize("workload", [{"batch_size": 4}, {"partition": {"kind": "dirichlet", "alpha": 0.3}}])
def test_sessions_with_one_cache_share_nothing_that_differs(workload: dict[str, Any]) -> None:
    cache = SessionCache()
    one = Session(varied(), Options(), cache=cache)
    other = Session(varied(**workload), Options(), cache=cache)
    alone = Session(varied(**workload), Options())

    assert one.materials.task(1, 0).key != other.materials.task(1, 0).key == alone.materials.task(1, 0).key
    assert one.materials.data() is other.materials.data()
    assert other.requirements.costs(1) == alone.requirements.costs(1)


def test_each_cut_and_seed_has_a_task_of_its_own() -> None:
    session = Session(varied(), Options())
    tasks = [session.materials.task(cut, seed) for cut in (1, 2) for seed in (0, 1)]
    assert len({task.key for task in tasks}) == 4
    assert [session.materials.task(cut, seed) for cut in (1, 2) for seed in (0, 1)] == tasks


def test_requirements_need_no_session() -> None:
    content = varied()
    assert Requirements(content).cut(0) == 1
    assert asdict(Requirements(content).costs(1)) == asdict(Session(content, Options()).requirements.costs(1))
