"""PSL and EPSL: against their literal oracle, their limits, and the clock of merged batches."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from oracle.harness import ADAM, CNN, HEAVY, SGD, SKEWED, Training, oracle_optimizer, train, whole
from oracle.references import common as ref
from oracle.references import psl
from oracle.references.codecs import PLAIN, Codec, Wire
from support import FAST, UNLIMITED, data, read

import sflsim
from sflsim.errors import ScenarioError
from sflsim.session import Options, Session


def oracle(run: Training, wire: Wire = PLAIN, **settings: Any) -> ref.Result:
    """Return what the oracle learns from the batches that the run merged."""
    participants = [args["participants"] for of_round in run.arguments("train") for args in of_round]
    ids = [[one["client"] for one in of_round] for of_round in participants]
    batches = [[run.batches_of(one) for one in of_round] for of_round in participants]
    weighting = settings.get("weighting", "batch")
    rounds = ref.Rounds(ids, batches, run.weights(ids) if weighting == "samples" else None)
    both = (oracle_optimizer(settings[name]) for name in ("client_optimizer", "server_optimizer"))
    phi = Fraction(str(settings.get("share_gradient", 0)))
    every = settings.get("aggregate_clients_every", 1)
    told = psl.Settings(settings.get("local_iterations", 1), *both, phi, every)
    return psl.reference(run.split, rounds, told, wire)


@pytest.mark.parametrize(
    ("optimizers", "settings", "workload"),
    [
        ((SGD, SGD), {}, {}),
        ((HEAVY, ADAM), {"local_iterations": 3}, SKEWED),
        ((ADAM, HEAVY), {"local_iterations": 2, "weighting": "samples"}, SKEWED),
        ((SGD, HEAVY), {"local_iterations": 3}, {**CNN, **SKEWED}),
        ((SGD, SGD), {"local_iterations": 2, "share_gradient": 0.3}, {}),
        ((HEAVY, ADAM), {"local_iterations": 3, "share_gradient": 1.0}, SKEWED),
        ((SGD, SGD), {"local_iterations": 2, "share_gradient": 0.5}, CNN),
    ],
    ids=["sgd", "momentum-adam", "adam-samples", "cnn", "epsl", "epsl-all", "epsl-cnn"],
)
def test_psl(
    optimizers: tuple[dict[str, Any], ...], settings: dict[str, Any], workload: dict[str, Any]
) -> None:
    """Three rounds of merged batches, one server step each, to float32's rounding."""
    settings = {"client_optimizer": optimizers[0], "server_optimizer": optimizers[1], **settings}
    run = train({"algorithm": "psl", **settings}, workload=workload)

    run.check(oracle(run, **settings))


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_psl_of_compressed_messages(phi: float) -> None:
    """What is merged is what arrived; a slice is scaled, or shared, before it is sent."""
    settings = {
        "client_optimizer": SGD,
        "server_optimizer": SGD,
        "local_iterations": 2,
        "share_gradient": phi,
    }
    compression = {"activation": "int4", "gradient": "int4", "model": "int4"}
    run = train({"algorithm": "psl", "compression": compression, **settings}, workload=SKEWED)
    int4 = Codec("quantize", 4)

    run.check(oracle(run, Wire(int4, int4, int4), **settings))


@pytest.mark.parametrize("workload", [{}, CNN], ids=["stacked", "looped"])
@pytest.mark.parametrize("optimizer", [SGD, HEAVY, ADAM], ids=["sgd", "momentum", "adam"])
def test_psl_with_one_client_is_sl(workload: dict[str, Any], optimizer: dict[str, Any]) -> None:
    """Not a bit of any model and not an instant differs."""
    settings = {"client_optimizer": optimizer, "server_optimizer": optimizer, "local_iterations": 3}
    group = {"name": "all", "device": {"compute": "1 MFLOP/s"}}
    alone = {"clients": 3, "participants": 1, "groups": [group]}
    runs = [train({"algorithm": name, **settings}, fleet=alone, workload=workload) for name in ("psl", "sl")]

    for one, other in zip(*(run.session.learner.models for run in runs), strict=True):
        assert torch.equal(whole(one), whole(other))
    first, second = ([row[:2] for row in run.outcome.evaluations] for run in runs)
    assert first == second


def test_psl_with_client_parts_of_their_own() -> None:
    """Two of three clients per round; client parts are averaged every third."""
    settings = {"client_optimizer": HEAVY, "server_optimizer": SGD, "local_iterations": 2}
    settings["aggregate_clients_every"] = 3
    fleet = {"clients": 3, "participants": 2, "groups": [{"name": "all", "device": {"compute": "1 MFLOP/s"}}]}
    run = train({"algorithm": "psl", **settings}, rounds=7, fleet=fleet, workload=SKEWED)

    run.check(oracle(run, **settings))


def test_epsl_with_one_client_is_psl() -> None:
    """The mean of one gradient is that gradient."""
    alone = {"clients": 1, "groups": [{"name": "all", "device": {"compute": "1 MFLOP/s"}}]}
    plain, shared = (
        train({"algorithm": "psl", "local_iterations": 2, "share_gradient": phi}, fleet=alone)
        for phi in (0, "60%")
    )
    for one, other in zip(plain.session.learner.models, shared.session.learner.models, strict=True):
        torch.testing.assert_close(whole(one), whole(other), rtol=1e-5, atol=1e-6)


def test_kept_states_stay_with_their_clients() -> None:
    """With one client, keeping its momentum is SL with the same; in a fleet it changes the learning."""
    settings = {"client_optimizer": HEAVY, "server_optimizer": SGD, "local_iterations": 2, "keep_state": True}
    alone = {"clients": 1, "groups": [{"name": "all", "device": {"compute": "1 MFLOP/s"}}]}
    psl_run, sl_run = (train({"algorithm": name, **settings}, fleet=alone) for name in ("psl", "sl"))
    kept, fresh = (train({"algorithm": "psl", **settings, "keep_state": keep}) for keep in (True, False))

    last = [run.session.learner.models[-1] for run in (psl_run, sl_run, kept, fresh)]
    assert torch.equal(whole(last[0]), whole(last[1]))
    assert not torch.equal(whole(last[2]), whole(last[3]))


def test_a_kept_state_counts_the_steps_of_its_own_client() -> None:
    """Two of three clients per round: each one's Adam has made two steps for each of its own rounds."""
    settings = {"client_optimizer": ADAM, "server_optimizer": ADAM, "local_iterations": 2, "keep_state": True}
    fleet = {"clients": 3, "participants": 2, "groups": [{"name": "all", "device": {"compute": "1 MFLOP/s"}}]}
    run = train({"algorithm": "psl", **settings}, rounds=4, fleet=fleet)
    rounds: dict[int, int] = {}
    for model, (args,) in zip(run.session.learner.models[1:], run.arguments("train"), strict=True):
        for client in args["clients"]:
            rounds[client] = rounds.get(client, 0) + 1
            assert float(model[f"{client}.client_optimizer.0.step"]) == 2 * rounds[client]
        assert float(model["server_optimizer.0.step"]) == 2 * sum(rounds.values()) / 2
    assert max(rounds.values()) > 1
    assert len(rounds) == 3


# The clock, by hand

TWO = {"clients": 2, "groups": [FAST, {**FAST, "name": "late", "device": {"compute": "4 FLOP/s"}}]}
SERVER = {"compute": "4 FLOP/s", "slots": 2, "link": UNLIMITED}


def timed(variant: dict[str, Any], **fields: Any) -> sflsim.Run:
    content = {**data(fleet=TWO, variants=[{"algorithm": "psl", **variant}], server=SERVER), **fields}
    return sflsim.simulate(read(content), timing_only=True)


def served(run: sflsim.Run) -> list[tuple[float, float]]:
    spans = run.spans[run.spans["activity"] == "serve"]
    return sorted(zip(spans["start_s"], spans["end_s"], strict=True))


def test_a_merged_batch_waits_for_the_last_activation() -> None:
    """Down 1 + 0.25 s; forward 1 or 2 s; up 0.75 + 0.25 s; both batches are served in 2 x 28 FLOP / 4."""
    run = timed({"local_iterations": 2})
    # the late client: in at 1.25 + 2 + 1 = 4.25; served to 18.25; down 0.5 + 0.25, backward 4 s: 23.0
    # second: forward 2, up 1: 26.0; served to 40.0; down 0.75, backward 4, part up 1 + 0.25: 46.0
    assert served(run) == [(4.25, 18.25), (26.0, 40.0)]
    assert run.runs["time_s"].tolist() == [46.0]
    assert run.evaluations["step"].tolist() == [0, 2]
    waits = run.spans[(run.spans["activity"] == "wait") & (run.spans["client"] == "fast-0")]
    # in at 3.25 and (18.25 + 0.75 + 2 + 1 + 1) = 23.0; done at 40 + 0.75 + 2 + 1.25 = 44.0
    assert list(zip(waits["start_s"], waits["end_s"], strict=True)) == [
        (3.25, 18.25),
        (23.0, 40.0),
        (44.0, 46.0),
    ]


def test_shared_gradients_cost_a_shorter_backward_pass() -> None:
    """Of 8 samples each 4 share: 16 + 4 forward of 3/8 FLOP and 16 - 4 backward of 25/8 FLOP, at 4 FLOP/s."""
    ((start_s, end_s),) = served(timed({"share_gradient": "50%"}))
    assert end_s - start_s == pytest.approx((20 * 3 + 12 * 25) / 8 / 4, rel=1e-12)


def test_the_first_activations_in_a_round_count() -> None:
    """Of two that are asked one counts: the late one ends at its arrival, and nothing is served for it."""
    fleet = {**TWO, "participants": 1}
    run = timed({"over_selection": 1, "local_iterations": 2}, fleet=fleet)
    assert served(run) == [(3.25, 10.25), (15.0, 22.0)]
    late = run.spans[run.spans["client"] == "late-0"]
    assert set(late["outcome"]) == {"wasted"}
    assert late["end_s"].max() == 4.25
    assert run.runs["dropped"].tolist() == [1]


def test_a_client_that_leaves_is_not_waited_for() -> None:
    """The late client leaves in its first or second forward pass: the other goes on alone at once."""
    leave = [{"at": "2 s", "group": "late", "leave": True}]
    assert served(timed({}, fleet={**TWO, "events": leave})) == [(3.25, 10.25)]
    leave = [{"at": "24 s", "group": "late", "leave": True}]
    run = timed({"local_iterations": 2}, fleet={**TWO, "events": leave})
    assert served(run) == [(4.25, 18.25), (24.0, 31.0)]
    assert run.evaluations["step"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("iterations", "away", "steps", "end_s"),
    [
        (1, (2, 10), [(12.25, 26.25)], 32.25),  # 1.25 s of its forward pass are left: in at 11.25 + 1 s
        (1, (5, 30), [(4.25, 18.25)], 36.0),  # its gradient comes down when it is back: 0.75, 4, 1.25 s
        (2, (24, 30), [(4.25, 18.25), (32.0, 46.0)], 52.0),  # half of its second forward pass is left
    ],
)
def test_a_client_that_pauses_is_waited_for(
    iterations: int, away: tuple[float, float], steps: list[tuple[float, float]], end_s: float
) -> None:
    """Its batch is merged when it is in, as late as it may be; the late client ends last."""
    events = [
        {"at": f"{at} s", "group": "late", kind: True}
        for at, kind in zip(away, ("leave", "join"), strict=True)
    ]
    run = timed({"local_iterations": iterations}, fleet={**TWO, "events": events, "on_absence": "pause"})
    assert served(run) == steps
    assert run.runs["time_s"].tolist() == [end_s]
    assert run.evaluations["step"].tolist() == [0, iterations]
    assert run.clients["wasted_s"].tolist() == [0.0, 0.0]


def test_a_deadline_is_refused() -> None:
    """Whoever is late makes all late."""
    scenario = read(data(variants=[{"algorithm": "psl", "deadline": "5 s"}]))
    with pytest.raises(ScenarioError) as error:
        Session(scenario, Options(timing_only=True)).check()
    assert error.value.problems[0].path == "variants[0].deadline"
