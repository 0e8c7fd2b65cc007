"""Policies of selection that read losses or accuracies: their figures, what runs share, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support import FAST, SLOW, data, read
from torch import nn

from sflsim.errors import RunError, ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explainer.explain import explain
from sflsim.fleet.population import build_fleet
from sflsim.fleet.sampling import FleetAvailability
from sflsim.learning.calls import evaluate
from sflsim.learning.figures import batch_losses, label_accuracies, probed_losses
from sflsim.learning.graph.store import MemoryStore, Store
from sflsim.planner.plan import plan
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Session

ADAPTIVE = {"kind": "tifl", "tiers": 2, "adaptive": True, "every": 2}
FEDCS = {"kind": "fedcs", "within": "1 h"}
FRESH = {"kind": "exponential", "mean": "1 s"}


def scenario(selection: Any = "oort", algorithm: str = "splitfed-v1", **fields: Any) -> Scenario:
    """Return a scenario of six clients, two in a round, for six rounds."""
    groups = [{**FAST, "count": 4, "straggler": FRESH}, {**SLOW, "count": 2}]
    fleet = {"clients": 6, "participants": 2, "groups": groups, "selection": selection}
    workload = {**data()["workload"], "partition": {"kind": "dirichlet", "alpha": 0.5}}
    rest = {"stop": {"rounds": 6}, "evaluate": {"every": "3 rounds"}, "variants": [{"algorithm": algorithm}]}
    return read(data(fleet=fleet, workload=workload, **rest | fields))


def check_same(one: Run, other: Run) -> None:
    """Assert that the tables are equal to the last bit."""
    for table in ("spans", "evaluations", "clients"):
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table), check_exact=True)


def trained(run: Run) -> int:
    """Return how many calls of training were computed."""
    computed: dict[str, int] = run.manifest["computed_calls"]
    return sum(count for name, count in computed.items() if name == "train")


def test_losses_are_those_of_the_batches() -> None:
    """Root mean squares of cross entropies, written out on the network itself."""
    task = Session(scenario(), Options()).materials.task(1, 0)
    batches = [[(0, 0), (0, 1)], [(3, 2)]]
    (found,) = batch_losses(task, [{"model": task.initial_model(), "of_clients": batches}])

    network = nn.Sequential(*(block for _, block in task.blocks))
    for losses, names in zip(found, batches, strict=True):
        x, y = task.batch(names)
        logits = network(x.flatten(0, 1)).detach().double()
        each = logits.exp().sum(dim=1).log() - logits.gather(1, y.flatten()[:, None])[:, 0]
        assert losses == pytest.approx(float((each**2).mean() ** 0.5), rel=1e-5)


def test_accuracies_by_label_add_up() -> None:
    """Weighed by the labels of the held-out samples they are the accuracy."""
    task = Session(scenario(), Options()).materials.task(1, 0)
    model = task.initial_model()
    (by_label,), ((accuracy, _),) = (call(task, [{"model": model}]) for call in (label_accuracies, evaluate))  # type: ignore[operator]
    sizes = torch.bincount(task.data.test_y, minlength=10).double()
    assert float(torch.tensor(by_label).double() @ sizes / sizes.sum()) == pytest.approx(accuracy)


@pytest.mark.parametrize("selection", ["oort", ADAPTIVE, "power-of-choice"], ids=["oort", "tifl", "poc"])
def test_a_resumed_run_chooses_the_same(selection: Any, tmp_path: Path) -> None:
    """From the store of a shorter run, and with nothing left to compute."""
    whole = simulate(scenario(selection))
    simulate(scenario(selection, stop={"rounds": 3}), cache=tmp_path)
    resumed = simulate(scenario(selection), cache=tmp_path)
    again = simulate(scenario(selection), cache=tmp_path)
    check_same(whole, resumed)
    check_same(whole, again)
    assert (trained(resumed), again.manifest["computed_calls"]) == (3, {})


def test_a_small_store_trains_no_round_twice() -> None:
    """The round's model is held until the next is made from it."""
    assert trained(simulate(scenario(), store=MemoryStore(limit_bytes=0))) == 6


@pytest.mark.slow
def test_any_number_of_workers_chooses_the_same() -> None:
    """Two variants and two seeds, side by side."""
    variants = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed"}]
    one, two = (simulate(scenario(variants=variants, seeds=[0, 1]), workers=count) for count in (1, 2))
    check_same(one, two)


def retimed(selection: Any, store: Store) -> int:
    """Return what is trained after the delays have become ten times as long."""
    simulate(scenario(selection), store=store)
    slower = read(scenario(selection).to_data(), ["fleet.groups[0].straggler.mean=10 s"])
    return trained(simulate(slower, store=store))


def test_what_is_trained_again_where_only_times_change() -> None:
    """Nothing, unless somebody else is chosen."""
    known: list[Any] = ["uniform", "by-samples", FEDCS, {"kind": "tifl", "tiers": 1}]
    assert [retimed(selection, MemoryStore()) for selection in known] == [0, 0, 0, 0]
    assert retimed("oort", MemoryStore()) > 0


@pytest.mark.parametrize(
    ("selection", "reads"), [("oort", "losses"), (ADAPTIVE, "accuracy"), ("power-of-choice", "probes")]
)
def test_the_clock_alone_does_not_know_who_takes_part(selection: Any, reads: str) -> None:
    """So a run without training and a plan are refused, at the policy."""
    content = scenario(selection, plan={"decisions": {"server.slots": [1, 2]}}, target_accuracy="50%")
    for refused in (lambda: simulate(content, timing_only=True), lambda: plan(content)):
        with pytest.raises(ScenarioError) as caught:
            refused()
        (problem,) = caught.value.problems
        assert problem.path == "fleet.selection"
        assert reads in problem.found


def test_explain_refuses_what_ifs() -> None:
    """Where the time went is known all the same."""
    run = simulate(scenario(), cache=None)
    with pytest.raises(RunError, match=r"fleet\.selection"):
        explain(run)
    assert not explain(run, what_if=False).path.empty


@pytest.mark.parametrize("algorithm", ["cse-fsl", "heron-sfl", "psl", "sl", "fedasync"])
def test_losses_that_nobody_reports(algorithm: str) -> None:
    """A policy that reads them is refused, never ignored."""
    with pytest.raises(ScenarioError) as caught:
        simulate(scenario(algorithm=algorithm))
    assert {problem.path for problem in caught.value.problems} == {"fleet.selection"}
    assert all(algorithm in problem.found for problem in caught.value.problems)


def test_tiers_hold_a_rounds_participants() -> None:
    """Four tiers of six clients do not hold two each."""
    with pytest.raises(ScenarioError) as caught:
        simulate(scenario({"kind": "tifl", "tiers": 4}), timing_only=True)
    assert [problem.path for problem in caught.value.problems] == ["fleet.selection.tiers"]


def test_probed_losses_are_means_over_a_clients_samples() -> None:
    """On all of them the order does not matter; on some, a round has its own."""
    task = Session(scenario(), Options()).materials.task(1, 0)
    model, sizes = task.initial_model(), [task.samples(client) for client in range(6)]

    def probed(round: int, samples: list[int]) -> tuple[float, ...]:
        args = {"model": model, "clients": [*range(6)], "samples": samples, "round": round}
        return probed_losses(task, [args])[0]

    network = nn.Sequential(*(block for _, block in task.blocks))
    for client, loss in enumerate(probed(1, sizes)):
        x, y = (part[task.shards[client]] for part in (task.data.train_x, task.data.train_y))
        logits = network(task.data.inputs(x)).detach().double()
        each = logits.exp().sum(dim=1).log() - logits.gather(1, y[:, None])[:, 0]
        assert loss == pytest.approx(float(each.mean()), rel=1e-5)
    assert probed(1, [3] * 6) == probed(1, [3] * 6) != probed(2, [3] * 6)


def probing(algorithm: str = "splitfed-v1", fleet: Any = None, **fields: Any) -> Run:
    """Return a run of one round in which both clients are asked for a batch, and one takes part."""
    selection = {"kind": "power-of-choice", "candidates": 2, "samples": 8}
    two = {"clients": 2, "participants": 1, "groups": [FAST, SLOW], "selection": selection}
    variants = [{"algorithm": algorithm, **({"local_iterations": 1} if algorithm == "fedavg" else {})}]
    return simulate(read(data(fleet=two | (fleet or {}), variants=variants, **fields)))


def test_probes_take_their_time_and_bytes() -> None:
    """By hand; the slow client is the last to answer, after 10 s, and the round's work begins then.

    Fast: 16 byte down in 1 s, travel 0.25, 8 FLOP in 1, 12 byte up at the server's 8 byte/s in 1.5, travel
    0.25, 3 FLOP at the server in 0.75: 4.75 s. Slow: 2 + 0.5, delay 1.25, 2, 3 + 0.5 and 0.75: 10 s.
    """
    run = probing()
    probes = run.spans[run.spans["end_s"] <= 10.0]
    assert probes.groupby("activity")["bytes"].sum()[["uplink", "downlink"]].tolist() == [24.0, 32.0]
    assert probes.query("activity == 'serve'")["end_s"].tolist() == [4.75, 10.0]
    after = run.spans[run.spans["start_s"] >= 10.0]
    assert after["start_s"].min() == 10.0
    assert after.query("actor != 'server:0'")["actor"].nunique() == 1


def test_probes_of_unsplit_models_send_the_loss_alone() -> None:
    """48 byte down, 8 + 3 FLOP, 4 byte up: fast 3.25 + 1.375 + 0.5 + 0.25 s, slow 6.5 + 1.25 + 2.75 + 1.5."""
    run = probing("fedavg")
    probes = run.spans.query("activity == 'uplink' and bytes == 4").set_index("client")["end_s"]
    assert probes.to_dict() == {"fast-0": 5.125, "slow-0": 11.5}


@pytest.mark.parametrize("algorithm", ["mu-splitfed", "cse-fsl", "psl", "fedavg"])
def test_candidates_may_drop_out(algorithm: str) -> None:
    """Whoever answers may take part; nothing counts as lost, and the run goes on."""
    markov = {"kind": "markov", "on": "15 s", "off": "5 s"}
    run = probing(algorithm, {"availability": markov}, stop={"rounds": 6})
    assert run.status == "completed"
    assert "lost" in set(run.spans["outcome"])


def test_a_probe_of_as_many_samples_costs_the_same_in_batches_of_any_size() -> None:
    """Eight samples: a batch of 8, or less or more than one of a device's own."""
    of_8 = probing()
    by_device = probing(workload={**data()["workload"], "batch_size": {"by": "compute", "mean": 8}})
    assert by_device.clients["batch_size"].nunique() == 2
    probes = [
        run.spans[run.spans["end_s"] <= 10.0].groupby(["actor", "activity"])[["bytes", "flop"]].sum()
        for run in (of_8, by_device)
    ]
    pd.testing.assert_frame_equal(*probes)


def test_candidates_that_leave_after_their_answer_take_no_part() -> None:
    """Nobody computes while away: others may take long to answer."""
    markov = {"kind": "markov", "on": "15 s", "off": "5 s"}
    run = probing(fleet={"participants": 2, "availability": markov}, stop={"rounds": 20})
    there = FleetAvailability(run.scenario.fleet, build_fleet(run.scenario.fleet, 0))
    number = {"fast-0": 0, "slow-0": 1}
    own = run.spans[run.spans["actor"].isin(number) & run.spans["activity"].isin(["compute", "uplink"])]
    middle_s = (own["start_s"] + own["end_s"]) / 2
    assert all(
        there.timeline(number[actor]).available_at(at_s)
        for actor, at_s in zip(own["actor"], middle_s, strict=True)
    )


def test_a_run_in_which_nobody_stays_for_an_answer_has_stalled() -> None:
    """A probe takes over 4 s, and nobody stays for more than some 50 ms: the run ends by itself."""
    run = probing(fleet={"availability": {"kind": "markov", "on": "50 ms", "off": "1 s"}})
    assert run.runs["status"].tolist() == ["stalled"]


@pytest.mark.parametrize("algorithm", ["ho-sfl", "frozen-client", "sl", "fedasync"])
def test_clients_that_cannot_be_asked(algorithm: str) -> None:
    """At the policy, before anything runs."""
    with pytest.raises(ScenarioError) as caught:
        probing(algorithm)
    assert [problem.path for problem in caught.value.problems] == ["fleet.selection"]


def planning(*selections: Any) -> Scenario:
    """Return a scenario whose plan decides on the policy."""
    return scenario("uniform", plan={"decisions": {"fleet.selection": list(selections)}})


def test_a_plan_decides_on_the_policy() -> None:
    """The fastest clients take less time for the same rounds."""
    table = plan(planning("uniform", FEDCS)).points
    times_s = dict(zip(table["fleet.selection"].map(str), table["time_s"], strict=True))
    assert len(times_s) == 2
    assert min(times_s, key=lambda name: times_s[name]) != "uniform"


def test_a_plan_refuses_a_policy_that_reads_losses() -> None:
    """At its place in the list."""
    with pytest.raises(ScenarioError) as caught:
        plan(planning("uniform", "oort"))
    assert [problem.path for problem in caught.value.problems] == ["plan.decisions.fleet.selection[1]"]
