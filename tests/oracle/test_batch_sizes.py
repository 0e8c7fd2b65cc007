"""Batch sizes per device: learning, limits, what follows from a size, and who refuses them."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
import torch
from oracle.harness import ADAM, HEAVY, LINK, SGD, SKEWED, SPEEDS, oracle_optimizer, scenario, train
from oracle.references import common as ref
from oracle.references import fedavg, ho_sfl, mu_splitfed, psl, splitfed_v1
from support import COSTS, FAST, UNLIMITED, data, read

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.explainer.what_if import what_if
from sflsim.learning.costs import CostOverrides
from sflsim.registry import algorithms
from sflsim.session import Options, Session

REFUSE = {"gas", "zo-gas"}
TAKE = sorted(set(algorithms()) - REFUSE - {"fedlora"})
UNEQUAL = {"batch_size": {"by": "compute", "mean": 8, "min": 2}}
"""Of the three clients of the harness, at 0.3, 3 and 1 MFLOP/s: 2, 16 and 5 samples."""
EQUAL = {"batch_size": {"by": "compute", "mean": 8, "min": 8, "max": 8}}


def those(*quick: str) -> list[Any]:
    """Return the algorithms that take such sizes; all but the quick ones in the slow suite."""
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in TAKE]


def sizes_of(batches: list[list[list[ref.Batch]]]) -> list[int]:
    return [len(of_client[0][1]) for of_client in batches[0]]


def test_splitfed_v1() -> None:
    """A replica of each client steps on batches of its size."""
    settings = {"client_optimizer": HEAVY, "server_optimizer": ADAM, "local_iterations": 2}
    run = train({"algorithm": "splitfed-v1", **settings}, workload={**UNEQUAL, **SKEWED})
    rounds = run.local_rounds("train")
    assert sizes_of(rounds.batches) == [2, 16, 5]
    told = splitfed_v1.Settings(2, oracle_optimizer(HEAVY), oracle_optimizer(ADAM))

    run.check(splitfed_v1.reference(run.split, rounds, told))


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_psl(phi: float) -> None:
    """Slices are scaled by sum(b) / b_i, and client parts are averaged by b_i."""
    settings = {"client_optimizer": HEAVY, "server_optimizer": SGD, "local_iterations": 2}
    run = train({"algorithm": "psl", "share_gradient": phi, **settings}, workload={**UNEQUAL, **SKEWED})
    participants = [args["participants"] for of_round in run.arguments("train") for args in of_round]
    batches = [[run.batches_of(one) for one in of_round] for of_round in participants]
    assert sizes_of(batches) == [2, 16, 5]
    rounds = ref.Rounds([[one["client"] for one in of_round] for of_round in participants], batches)
    told = psl.Settings(2, oracle_optimizer(HEAVY), oracle_optimizer(SGD), Fraction(str(phi)))

    run.check(psl.reference(run.split, rounds, told))


def test_mu_splitfed() -> None:
    """Each client's estimates are of its own batch."""
    settings = {"eta_s": 0.02, "eta_c": 0.01, "eta_g": 0.7, "lam": 0.02}
    run = train({"algorithm": "mu-splitfed", "tau": 2, **settings}, workload=UNEQUAL)
    arguments = run.arguments("exchange")
    batches = [[[run.batch(args["batch"])] for args in of_round] for of_round in arguments]
    assert sizes_of(batches) == [2, 16, 5]
    result = mu_splitfed.reference(
        run.split,
        ref.Rounds([[0, 1, 2]] * 3, batches),
        mu_splitfed.Settings(P=1, **settings),
        [[2, 2, 2]] * 3,
        lambda r, m, p: run.normals(run.x_c, "mu-splitfed", "client", *arguments[r][m]["batch"], p),
        lambda r, m, step, p: run.normals(
            run.x_s, "mu-splitfed", "server", *arguments[r][m]["batch"], step, p
        ),
    )

    run.check(result)


def test_fedavg() -> None:
    """An epoch is as many batches as a client's own size makes of its samples."""
    run = train({"algorithm": "fedavg", "optimizer": SGD, "epochs": 1}, rounds=2, workload=UNEQUAL)
    arguments = run.arguments("train")
    shards = run.session.learner.task.shards
    counts = [len(args["batches"]) for args in arguments[0]]
    assert counts == [-(-len(shard) // size) for shard, size in zip(shards, (2, 16, 5), strict=True)]
    model, x = run.model
    for r, of_round in enumerate(arguments):
        alone = [
            fedavg.reference(
                model,
                x,
                ref.Rounds([[0]], [[run.batches_of(args)]]),
                fedavg.Settings(count, oracle_optimizer(SGD)),
            ).x_c
            for args, count in zip(of_round, counts, strict=True)
        ]
        x = ref.weighted_mean(alone, [float(len(shard)) for shard in shards])
        found = run.session.learner.models[r + 1]
        whole = torch.cat([found["client"], found["server"]]).double()
        torch.testing.assert_close(whole, torch.cat([t.reshape(-1) for t in x]), rtol=1e-5, atol=2e-6)


def test_ho_sfl() -> None:
    """The means over participants are of gradients and scalars, whatever the sizes."""
    settings = {"client_optimizer": SGD, "server_optimizer": SGD, "perturbations": 2}
    run = train({"algorithm": "ho-sfl", **settings}, workload=UNEQUAL)
    participants = [args["participants"] for of_round in run.arguments("exchange") for args in of_round]
    batches = [[[run.batch(one["batch"])] for one in of_round] for of_round in participants]
    assert sizes_of(batches) == [2, 16, 5]
    rounds = ref.Rounds([[0, 1, 2]] * 3, batches)
    told = ho_sfl.Settings(
        K=3, P=2, mu=1e-3, opt_c=oracle_optimizer(SGD), opt_s=oracle_optimizer(SGD), direction="gaussian"
    )
    u = lambda r, p: run.normals(run.x_c, "ho-sfl", r + 1, p)  # noqa: E731

    run.check(ho_sfl.reference(run.split, rounds, told, u))


# Limits


@pytest.mark.parametrize("algorithm", those("psl", "mu-splitfed"))
def test_equal_sizes_are_the_run_with_one_size(algorithm: str) -> None:
    """Not a bit of a loss, not an instant and not a key differs, whatever made the sizes equal."""
    alike = {"clients": 3, "groups": [{"name": "all", "device": {"compute": "1 MFLOP/s"}}]}
    for rule, parts in ((EQUAL, {}), (UNEQUAL, {"fleet": alike})):
        one, other = (
            train({"algorithm": algorithm}, rounds=2, workload=given, **parts) for given in ({}, rule)
        )
        assert one.outcome.evaluations == other.outcome.evaluations
        assert one.outcome.spans == other.outcome.spans
        assert one.session.learner.task.key == other.session.learner.task.key


@pytest.mark.parametrize("algorithm", those("cse-fsl"))
def test_every_other_algorithm_trains_with_unequal_sizes(algorithm: str) -> None:
    """Its losses fall or stay finite, it asks for the sizes of each client, and the clock follows."""
    rounds = 6
    run = train({"algorithm": algorithm}, rounds=rounds, workload=UNEQUAL)
    asked = {(client, len(y)) for (client, _), (_, y) in run.session.batches.items()}
    assert {(1, 16), (2, 5)} <= asked <= {(0, 2), (1, 16), (2, 5)}  # without rounds the slowest may be late
    found = {one.client: one.batch_size for one in run.outcome.clients}
    assert found == {"speed-0-0": 2, "speed-1-0": 16, "speed-2-0": 5}
    timed = simulate(scenario({"algorithm": algorithm}, rounds=rounds, workload=UNEQUAL), timing_only=True)
    assert timed.runs["time_s"].tolist() == [run.outcome.time_s]


@pytest.mark.parametrize("algorithm", sorted(REFUSE))
def test_gas_refuses_them_and_says_why(algorithm: str) -> None:
    """Its server generates activations of each label up to one batch size."""
    with pytest.raises(ScenarioError, match="up to one batch size") as error:
        Session(scenario({"algorithm": algorithm}, workload=UNEQUAL), Options()).check()
    assert error.value.problems[0].path == "workload.batch_size"


def test_a_cut_for_each_client_refuses_them() -> None:
    """Each balances what devices compute by the other's work."""
    variant = {"algorithm": "splitfed-v1", "cut": {"by": "compute"}}
    with pytest.raises(ScenarioError) as error:
        Session(scenario(variant, workload=UNEQUAL), Options()).check()
    assert error.value.problems[0].path == "workload.batch_size"


# Sizes, by hand


def sized(rates: list[str], rule: dict[str, Any], **group: Any) -> int | tuple[int, ...]:
    groups = [
        {"name": f"g{place}", "count": 1, "device": {"compute": rate}, "link": UNLIMITED, **group}
        for place, rate in enumerate(rates)
    ]
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": rule, "costs": COSTS}
    content = data(fleet={"clients": len(rates), "groups": groups}, workload=workload)
    return Session(read(content), Options(timing_only=True)).requirements.batch_sizes(1, 0)


def test_sizes_are_in_proportion_to_the_rates() -> None:
    assert sized(["1 FLOP/s", "2 FLOP/s", "3 FLOP/s"], {"by": "compute"}) == (16, 32, 48)


def test_what_the_bounds_take_goes_to_the_others() -> None:
    """1 : 7 of 16 samples would be 2 and 14; 4 at least leaves 12, 10 at most leaves 6."""
    assert sized(["1 FLOP/s", "7 FLOP/s"], {"by": "compute", "mean": 8}) == (2, 14)
    assert sized(["1 FLOP/s", "7 FLOP/s"], {"by": "compute", "mean": 8, "min": 4}) == (4, 12)
    assert sized(["1 FLOP/s", "7 FLOP/s"], {"by": "compute", "mean": 8, "max": 10}) == (6, 10)


def test_an_exchange_counts_its_messages() -> None:
    """24 FLOP and 12 + 8 byte for a batch of 8: 3 + 2.5 s and 6 + 2.5 s; with 0.5 s of latency each way.

    T = 1 + 5.5 / 8 b = 1 + 8.5 / 8 c with b + c = 16: b = 9.71, c = 6.29.
    """
    link = {"up": "8 byte/s", "down": "8 byte/s", "latency": "0.5 s"}
    rule = {"by": "exchange", "mean": 8}
    assert sized(["8 FLOP/s", "4 FLOP/s"], rule, link=link) == (10, 6)
    assert sized(["8 FLOP/s", "4 FLOP/s"], {**rule, "by": "compute"}, link=link) == (11, 5)


def test_an_exchange_counts_its_messages_as_they_are_sent() -> None:
    """Of each variant its own sizes: 16 bits halve the 8 byte of activation and gradient, not the labels.

    3 + 2 and 6 + 4 s compute, 12 + 8 byte at 1 and 2 byte/s: 23 and 16 s; at half the bits 15 and 12 s.
    """
    links = [{"up": "1 byte/s", "down": "1 byte/s"}, {"up": "2 byte/s", "down": "2 byte/s"}]
    groups = [
        {"name": f"g{place}", "count": 1, "device": {"compute": rate}, "link": link}
        for place, (rate, link) in enumerate(zip(["8 FLOP/s", "4 FLOP/s"], links, strict=True))
    ]
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "batch_size": {"by": "exchange", "mean": 64}}
    compression = {"activation": "fp16", "gradient": "fp16"}
    variants = [{"algorithm": "splitfed-v1", "compression": one} for one in (None, compression)]
    content = data(
        fleet={"clients": 2, "groups": groups}, workload={**workload, "costs": COSTS}, variants=variants
    )
    scenario = read(content)
    run = simulate(scenario, timing_only=True)
    found = run.clients.groupby("variant", sort=False)["batch_size"].agg(list).tolist()
    wanted = []
    for first_s, second_s in ((3 + 20, 6 + 10), (3 + 12, 6 + 6)):
        share = second_s / (first_s + second_s)
        wanted.append([round(128 * share), round(128 * (1 - share))])
    assert found == wanted
    materials = Session(scenario, Options()).materials
    tasks = [materials.task(1, 0, one.compression) for one in scenario.variants]
    assert [[task.batch_size(client) for client in (0, 1)] for task in tasks] == wanted


def test_an_exchange_without_a_mean_is_refused() -> None:
    """A Pareto law of shape 1 has none; by what devices compute there is nothing to predict of it."""
    link = {**LINK, "jitter": {"kind": "pareto", "scale": "1 s", "shape": 1.0}}
    device = {"compute": "1 MFLOP/s", "memory": "1 GB"}
    fleet = {"clients": 3, "groups": [{"name": "all", "device": device, "link": link}]}
    for by, paths in (("exchange", ["workload.batch_size"]), ("compute", [])):
        content = scenario({"algorithm": "psl"}, workload={"batch_size": {"by": by, "mean": 8}}, fleet=fleet)
        found = []
        try:
            Session(content, Options()).check()
        except ScenarioError as error:
            found = [problem.path for problem in error.problems]
        assert found == paths


def shared_out(rates: list[float], mean: int, least: int, most: int) -> list[float]:
    """Sizes in proportion to rates within bounds, of `mean` in the mean: the proportion by bisection."""
    low, high = 0.0, most / min(rates)
    for _ in range(100):
        middle = (low + high) / 2
        sizes = [min(max(middle * rate, least), most) for rate in rates]
        low, high = (middle, high) if sum(sizes) < mean * len(rates) else (low, middle)
    return sizes


@pytest.mark.parametrize("seed", range(8))
def test_sizes_are_as_equal_in_time_as_whole_samples_allow(seed: int) -> None:
    """The real solution, each rounded to the nearest whole sample; devices that are alike get the same."""
    draws = random.Random(seed)
    rates = [draws.randint(1, 40) for _ in range(draws.randint(2, 7))]
    least, most = draws.randint(1, 6), draws.randint(12, 30)
    sizes = sized(
        [f"{rate} FLOP/s" for rate in rates], {"by": "compute", "mean": 8, "min": least, "max": most}
    )
    sizes = [sizes] * len(rates) if isinstance(sizes, int) else list(sizes)

    for size, real in zip(sizes, shared_out([float(r) for r in rates], 8, least, most), strict=True):
        assert abs(size - real) <= 0.5 + 1e-9


def test_the_mean_of_a_drawn_rate_is_what_is_predicted() -> None:
    """Each device's own rate is known, so two of one group may have other sizes."""
    rate = {"kind": "uniform", "low": "1 FLOP/s", "high": "9 FLOP/s"}
    sizes = sized([rate] * 6, {"by": "compute", "mean": 64})  # type: ignore[list-item]
    assert isinstance(sizes, tuple)
    assert len(set(sizes)) > 3
    assert sum(sizes) / 6 == pytest.approx(64, abs=0.5)


# What follows from a size


def test_all_are_in_at_once() -> None:
    """Of rates 1 : 3, with links that take no time: the merged batch waits for nobody, FLOP are by size."""
    groups = [
        {**FAST, "name": name, "link": UNLIMITED, "device": {"compute": f"{rate} FLOP/s"}}
        for name, rate in (("a", 4), ("b", 12))
    ]
    rule = {"by": "compute", "mean": 8}
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": rule, "costs": COSTS}
    content = data(fleet={"clients": 2, "groups": groups}, workload=workload, variants=["psl"])
    run = simulate(read(content), timing_only=True)
    spans = run.spans[run.spans["activity"] == "compute"].groupby("client")
    # 4 of 8 samples: 4 FLOP forward at 4 FLOP/s; 12 of 8: 12 FLOP at 12 FLOP/s
    assert spans["flop"].first().to_dict() == {"a-0": 4.0, "b-0": 12.0}
    assert spans["end_s"].first().to_dict() == {"a-0": 1.0, "b-0": 1.0}
    up = run.spans[(run.spans["activity"] == "serve")]
    assert up["flop"].tolist() == [2 * (3 + 25)]
    assert run.clients["batch_size"].tolist() == [4, 12]


def test_given_costs_follow_the_size_but_for_the_models() -> None:
    """FLOP, activations and labels in proportion; of a training step what is no gradient."""
    given = CostOverrides.model_validate({**COSTS, "client_model": "16 byte", "client_step": "40 byte"})
    twice = given.for_batches(2.0)
    assert (twice.client_forward, twice.activation, twice.labels) == (16.0, 16.0, 8.0)
    assert (twice.client_model, twice.server_model) == (16.0, 32.0)
    assert twice.client_step == 16 + 2 * 24


def test_memory_is_that_of_the_largest_batch_of_a_group() -> None:
    """The faster device has the larger batch, and too little memory for it."""
    content = scenario({"algorithm": "splitfed-v1"}, workload=UNEQUAL)
    needed = Session(content, Options()).requirements
    memory_bytes = needed.algorithm(0).client_memory_bytes
    small, large = (memory_bytes(needed.costs(1, size)) for size in (5, 16))
    memory = f"{(small + large) / 2} byte"
    groups = [
        {"name": f"speed-{place}", "count": 1, "device": {"compute": speed, "memory": memory}}
        for place, speed in enumerate(SPEEDS)
    ]
    fleet = {"clients": 3, "groups": groups}
    with pytest.raises(ScenarioError) as error:
        Session(scenario({"algorithm": "splitfed-v1"}, workload=UNEQUAL, fleet=fleet), Options()).check()
    assert [problem.path for problem in error.value.problems] == ["fleet.groups[1].device"]


def test_a_what_if_that_changes_sizes_changes_the_learning() -> None:
    """Twice as fast a device gets other batches; twice as fast a link does not."""
    content = scenario({"algorithm": "splitfed-v1"}, workload=UNEQUAL)
    table = what_if(content, {0: {0: 3}}, {0: {}}).set_index("change")
    assert not table.loc["devices of group speed-1 twice as fast", "same_learning"]
    assert table.loc["uplink of group speed-1 twice as fast", "same_learning"]


@pytest.mark.parametrize(
    ("size", "path"),
    [
        ({"by": "speed"}, "workload.batch_size.by"),
        ({"mean": 32}, "workload.batch_size.by"),
        ({"by": "compute", "mean": 0}, "workload.batch_size.mean"),
        ({"by": "compute", "min": 40}, "workload.batch_size.mean"),
        ({"by": "compute", "max": 8}, "workload.batch_size.mean"),
        ({"by": "compute", "least": 8}, "workload.batch_size.least"),
        ("compute", "workload.batch_size"),
        (0, "workload.batch_size"),
    ],
)
def test_a_mistake_in_a_rule_is_found_where_it_is(size: Any, path: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read(data(workload={"batch_size": size}))
    assert [problem.path for problem in error.value.problems] == [path]


@pytest.mark.parametrize("kind", ["power-of-choice", "oort"])
def test_policies_that_read_losses_take_sizes(kind: str) -> None:
    """A probe is of samples, whatever the batches: each candidate sends as many bytes."""
    policy = {"kind": kind, **({"candidates": 3, "samples": 16} if kind == "power-of-choice" else {})}
    groups = [{"count": 1, "device": {"compute": speed}, "link": LINK} for speed in SPEEDS]
    fleet = {"clients": 3, "groups": groups, "selection": policy}
    run = simulate(scenario({"algorithm": "splitfed-v1"}, workload=UNEQUAL, fleet=fleet))
    assert sorted(run.clients["batch_size"]) == [2, 5, 16]
    if kind == "power-of-choice":
        firsts = run.spans.query("activity == 'uplink'").groupby("client")["bytes"].first()
        assert firsts.nunique() == 1
