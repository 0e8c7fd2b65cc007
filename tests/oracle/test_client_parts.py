"""Client parts that are averaged in every I-th round: learning, messages, and what is refused."""

from __future__ import annotations

import pytest
from oracle.harness import HEAVY, SGD, SKEWED, oracle_optimizer, scenario, train
from oracle.references import common as ref
from oracle.references import mu_splitfed, splitfed_v1
from oracle.references.codecs import PLAIN, Codec, Wire

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.registry import algorithms, config_of
from sflsim.session import Options, Session

TWO_OF_THREE = {
    "clients": 3,
    "participants": 2,
    "groups": [{"name": "all", "device": {"compute": "1 MFLOP/s"}}],
}
HAVE_IT = [
    name for name, one in algorithms().items() if "aggregate_clients_every" in config_of(one).model_fields
]


@pytest.mark.parametrize(("every", "compression"), [(1, {}), (2, {}), (3, {}), (3, {"model": "int4"})])
def test_splitfed_v1(every: int, compression: dict[str, str]) -> None:
    """Replicas are averaged in each round, client parts every I-th, seven rounds of two clients."""
    settings = {"client_optimizer": HEAVY, "server_optimizer": SGD, "local_iterations": 2}
    variant = {"algorithm": "splitfed-v1", "aggregate_clients_every": every, **settings}
    wire = Wire(model=Codec("quantize", 4)) if compression else PLAIN
    run = train({**variant, "compression": compression}, rounds=7, fleet=TWO_OF_THREE, workload=SKEWED)
    rounds = run.local_rounds("train")
    assert len(set(map(tuple, rounds.participants))) > 1
    told = splitfed_v1.Settings(2, oracle_optimizer(HEAVY), oracle_optimizer(SGD), every=every)

    run.check(splitfed_v1.reference(run.split, rounds, told, wire))


def test_mu_splitfed() -> None:
    """Both parts move by eta_g to the mean; the client part from that of the last average."""
    settings = {"eta_s": 0.02, "eta_c": 0.01, "eta_g": 0.7, "lam": 0.02}
    variant = {"algorithm": "mu-splitfed", "tau": 2, "aggregate_clients_every": 3, **settings}
    run = train(variant, rounds=7, fleet=TWO_OF_THREE)
    told = run.arguments("exchange")
    ids = [[args["client"] for args in of_round] for of_round in told]
    result = mu_splitfed.reference(
        run.split,
        ref.Rounds(ids, [[[run.batch(args["batch"])] for args in of_round] for of_round in told]),
        mu_splitfed.Settings(**settings, every=3),
        [[2, 2]] * 7,
        lambda r, m, p: run.normals(run.x_c, "mu-splitfed", "client", *told[r][m]["batch"], p),
        lambda r, m, t, p: run.normals(run.x_s, "mu-splitfed", "server", *told[r][m]["batch"], t, p),
    )

    run.check(result)


@pytest.mark.parametrize("algorithm", HAVE_IT)
def test_parts_travel_to_who_has_none_and_when_they_are_averaged(algorithm: str) -> None:
    """All take part in each of seven rounds, I = 3: down in rounds 1, 4 and 7, up in rounds 3 and 6."""
    variant = {"algorithm": algorithm, "aggregate_clients_every": 3}
    content = scenario(variant, rounds=7, server={"compute": "50 GFLOP/s", "slots": 3})
    run = simulate(content, timing_only=True)
    costs = Session(content, Options()).requirements.costs(1)
    sizes = {costs.client_model_bytes, costs.client_model_bytes + costs.auxiliary_model_bytes}
    parts = run.spans[run.spans["bytes"].isin(sizes) & (run.spans["client"] == "speed-1-0")]
    found = {way: sorted(own["round"]) for way, own in parts.groupby("activity")}

    assert found == {"downlink": [1, 4, 7], "uplink": [3, 6]}


@pytest.mark.parametrize("algorithm", HAVE_IT)
def test_a_client_goes_on_from_its_own_part(algorithm: str) -> None:
    """It changes the learning, from the second round on; an average in every round is what there was."""
    quick = {"compute": "50 GFLOP/s", "slots": 3}
    every, third = (
        train({"algorithm": algorithm, **given}, server=quick)
        for given in ({"aggregate_clients_every": 1}, {"aggregate_clients_every": 3})
    )
    losses = [[row.loss for row in run.outcome.evaluations] for run in (every, third)]
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2] != losses[1][2]


def test_a_layer_is_averaged_by_one_rule() -> None:
    """With a cut for each client a layer would be averaged by two."""
    variant = {"algorithm": "splitfed-v1", "cut": {"by": "compute"}, "aggregate_clients_every": 2}
    with pytest.raises(ScenarioError) as error:
        Session(scenario(variant), Options()).check()
    assert error.value.problems[0].path == "variants[0].aggregate_clients_every"
