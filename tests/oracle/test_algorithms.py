"""Every algorithm of the package, run by its own protocol, against the literal oracles of `references`.

Compared are the parameters after each round, to float32's rounding. The oracle gets the batches, the
raw Gaussian draws, tau and the order of arrivals that the run had, and nothing of its arithmetic.
"""

from __future__ import annotations

from typing import Any

import pytest
from oracle.harness import ADAM, CNN, HEAVY, SGD, SKEWED, Training, oracle_optimizer, train
from oracle.references import common as ref
from oracle.references import mu_splitfed, splitfed_v1, splitfed_v2

ADAMW = {"name": "AdamW", "lr": 0.003, "weight_decay": 0.1}


def local_settings(**settings: Any) -> dict[str, Any]:
    """The oracle's settings that algorithms with local iterations share."""
    return {
        "E": settings.get("local_iterations", 1),
        "opt_c": oracle_optimizer(settings["client_optimizer"]),
        "opt_s": oracle_optimizer(settings["server_optimizer"]),
    }


def v1_oracle(run: Training, **settings: Any) -> ref.Result:
    rounds = run.local_rounds("train", settings.get("weighting", "samples"))
    return splitfed_v1.reference(run.split, rounds, splitfed_v1.Settings(**local_settings(**settings)))


# SplitFed V1


@pytest.mark.parametrize(
    ("optimizers", "settings", "workload"),
    [
        ((SGD, SGD), {}, {}),
        ((SGD, SGD), {"local_iterations": 3}, SKEWED),
        ((HEAVY, SGD), {"local_iterations": 3, "weighting": "uniform"}, SKEWED),
        ((HEAVY, ADAM), {"local_iterations": 3}, SKEWED),
        ((ADAM, ADAMW), {"local_iterations": 3}, {}),
        ((SGD, HEAVY), {"local_iterations": 3}, {**CNN, **SKEWED}),
    ],
    ids=["sgd", "sgd-E3", "momentum-uniform", "momentum-adam", "adam-adamw", "cnn"],
)
def test_splitfed_v1(
    optimizers: tuple[dict[str, Any], dict[str, Any]], settings: dict[str, Any], workload: dict[str, Any]
) -> None:
    """A replica per participant, fresh optimizers, both parts averaged by samples or alike."""
    settings = {"client_optimizer": optimizers[0], "server_optimizer": optimizers[1], **settings}
    run = train({"algorithm": "splitfed-v1", **settings}, workload=workload)
    if "partition" in workload:
        assert len(set(run.weights([[0, 1, 2]])[0])) == 3

    run.check(v1_oracle(run, **settings))


def test_splitfed_v1_with_a_changing_subset() -> None:
    """Two of three clients per round: those not drawn neither train nor count."""
    settings = {"client_optimizer": SGD, "server_optimizer": SGD, "local_iterations": 2}
    fleet = {
        "clients": 3,
        "participants": 2,
        "groups": [{"name": "all", "device": {"compute": "50 MFLOP/s"}}],
    }
    run = train({"algorithm": "splitfed-v1", **settings}, rounds=5, fleet=fleet, workload=SKEWED)
    assert len({tuple(ids) for ids in run.local_rounds("train").participants}) > 1

    run.check(v1_oracle(run, **settings))


# Faster clients hold two blocks, the slowest one.
CUT_BY_SPEED = {"by": "compute", "deepest": 2, "within": 5}


def test_splitfed_v1_with_cuts_per_client() -> None:
    """With the same plain SGD on both sides it does not matter where a participant is cut."""
    settings = {"client_optimizer": SGD, "server_optimizer": SGD, "local_iterations": 2}
    run = train({"algorithm": "splitfed-v1", "cut": CUT_BY_SPEED, **settings}, workload=SKEWED)
    assert [args["cut"] for args in run.arguments("train")[0]] == [1, 2, 2]

    run.check(v1_oracle(run, **settings))


# SplitFed V2


def arrivals(run: Training) -> list[list[tuple[int, int]]]:
    """The order in which batches reached the server, from the spans: (client, iteration) of each round."""
    costs = run.session.requirements.costs(1)
    uplinks = [
        span
        for span in run.outcome.spans
        if span.activity == "uplink" and span.bytes == costs.activation_bytes + costs.labels_bytes
    ]
    order: list[list[tuple[int, int]]] = [[] for _ in run.rounds]
    for span in sorted(uplinks, key=lambda span: span.end_s):
        of_round, client = order[span.round - 1], int(span.actor.split("-")[1])
        of_round.append((client, sum(client == other for other, _ in of_round)))
    return order


@pytest.mark.parametrize(
    ("optimizers", "settings"),
    [
        ((SGD, SGD), {}),
        ((SGD, HEAVY), {"local_iterations": 3}),
        ((HEAVY, ADAM), {"local_iterations": 3}),
        ((ADAM, HEAVY), {"local_iterations": 3, "weighting": "uniform"}),
    ],
    ids=["sgd", "server-momentum", "server-adam", "client-adam-uniform"],
)
def test_splitfed_v2(optimizers: tuple[dict[str, Any], dict[str, Any]], settings: dict[str, Any]) -> None:
    """One server model with one lasting optimizer, stepped in the order of arrival, which speeds decide."""
    settings = {"client_optimizer": optimizers[0], "server_optimizer": optimizers[1], **settings}
    run = train({"algorithm": "splitfed-v2", **settings}, workload=SKEWED)
    order, steps = arrivals(run), run.arguments("step")
    assert order[0] != sorted(order[0], key=lambda pair: (pair[1], pair[0]))  # not in the fleet's order
    assert [[client for client, _ in of_round] for of_round in order] == [
        [args["batch"][0] for args in of_round] for of_round in steps
    ]
    participants = [[0, 1, 2]] * len(order)
    batches = [
        [[run.batch(args["batch"]) for args in of_round if args["batch"][0] == client] for client in range(3)]
        for of_round in steps
    ]
    weights = None if settings.get("weighting") == "uniform" else run.weights(participants)
    rounds = ref.Rounds(participants, batches, weights)
    result = splitfed_v2.reference(
        run.split, rounds, splitfed_v2.Settings(**local_settings(**settings)), order
    )

    run.check(result)


# MU-SplitFed


def mu_oracle(run: Training, **settings: Any) -> ref.Result:
    arguments = run.arguments("exchange")

    def u_c(r: int, m: int, p: int) -> ref.Params:
        return run.normals(run.x_c, "mu-splitfed", "client", *arguments[r][m]["batch"], p)

    def u_s(r: int, m: int, step: int, p: int) -> ref.Params:
        args = arguments[r][m]
        if step == args["tau"]:
            return run.normals(run.x_s, "mu-splitfed", "joint", *args["batch"], p)
        return run.normals(run.x_s, "mu-splitfed", "server", *args["batch"], step, p)

    return mu_splitfed.reference(
        run.split, mu_rounds(run, **settings), mu_settings(**settings), taus(run), u_c, u_s
    )


def mu_rounds(run: Training, **settings: Any) -> ref.Rounds:
    arguments = run.arguments("exchange")
    participants = [[args["client"] for args in of_round] for of_round in arguments]
    batches = [[[run.batch(args["batch"])] for args in of_round] for of_round in arguments]
    weights = run.weights(participants) if settings.get("weighting") == "samples" else None
    return ref.Rounds(participants, batches, weights)


def mu_settings(*, perturbations: int = 1, **settings: Any) -> mu_splitfed.Settings:
    known = ("lam", "eta_s", "eta_c", "eta_g", "direction", "client_feedback")
    return mu_splitfed.Settings(
        P=perturbations, **{name: settings[name] for name in known if name in settings}
    )


def taus(run: Training) -> list[list[int]]:
    """The number of server steps of each round's participants."""
    return [[args["tau"] for args in of_round] for of_round in run.arguments("exchange")]


MU = {"eta_s": 0.02, "eta_c": 0.01, "eta_g": 0.7, "lam": 0.02}


@pytest.mark.parametrize(
    ("settings", "workload"),
    [
        ({"tau": 1}, {}),
        ({"tau": 3, "eta_g": 1.0}, {}),
        ({"tau": 3, "direction": "gaussian"}, {}),
        ({"tau": 2, "perturbations": 3}, {}),
        ({"tau": 2, "client_feedback": "joint"}, {}),
        ({"tau": 2, "client_feedback": "joint", "perturbations": 3, "direction": "gaussian"}, {}),
        ({"tau": 3, "weighting": "samples"}, SKEWED),
        ({"tau": 3, "client_feedback": "joint"}, CNN),
        ({"tau": 2, "perturbations": 3, "direction": "gaussian"}, CNN),
    ],
    ids=[
        "tau1", "tau3", "gaussian", "P3", "joint", "joint-P3-gaussian", "samples", "cnn-joint", "cnn-P3",
    ],
)  # fmt: skip
def test_mu_splitfed(settings: dict[str, Any], workload: dict[str, Any]) -> None:
    """Both parts move by two-sided estimates along the very directions, then by eta_g to the mean."""
    settings = {**MU, **settings}
    run = train({"algorithm": "mu-splitfed", **settings}, workload=workload)

    run.check(mu_oracle(run, **settings))


def test_mu_splitfed_with_stacked_convolutions() -> None:
    """Convolutions of several participants at once equal those of one after another."""
    settings = {**MU, "tau": 2, "client_feedback": "joint"}
    run = train({"algorithm": "mu-splitfed", **settings}, workload=CNN, stacks_images=True)
    assert run.session.learner.task.participants_at_once > 1

    run.check(mu_oracle(run, **settings))


@pytest.mark.parametrize("workload", [{}, CNN], ids=["stacked", "looped"])
def test_mu_splitfed_adaptive(workload: dict[str, Any]) -> None:
    """Each participant's replica takes its own number of steps, as the clock allowed."""
    settings = {**MU, "tau": "adaptive", "tau_max": 14}
    server = {"compute": "0.1 MFLOP/s" if workload else "0.3 MFLOP/s", "slots": 3}
    run = train({"algorithm": "mu-splitfed", **settings}, workload=workload, server=server)
    assert all(len(set(of_round)) > 1 for of_round in taus(run)), taus(run)

    run.check(mu_oracle(run, **settings))


def test_mu_splitfed_with_cuts_per_client() -> None:
    """Each participant perturbs the parts that it and its replica hold; the whole models are averaged."""
    settings = {**MU, "tau": 2, "eta_g": 0.7}
    run = train({"algorithm": "mu-splitfed", "cut": CUT_BY_SPEED, **settings})
    result = ref.Result([], [])
    x = [*run.x_c, *run.x_s]
    for of_round in run.arguments("exchange"):
        assert [args["cut"] for args in of_round] == [1, 2, 2]
        moved = []
        for args in of_round:
            alone = alone_from(x, run, args)
            moved.append([*alone.x_c, *alone.x_s])
        mean = ref.weighted_mean(moved, None)
        x = ref.axpy(x, MU["eta_g"], ref.axpy(mean, -1.0, x))
        result.x_c_rounds.append(x)

    run.check(result)


def alone_from(x: ref.Params, run: Training, args: dict[str, Any]) -> ref.Result:
    """What one participant of one round makes of `x`, cut where it is."""
    client, server, count = run.parts_at(args["cut"])
    name = args["batch"]
    return mu_splitfed.reference(
        ref.Split(client, server, x[:count], x[count:]),
        ref.Rounds([[args["client"]]], [[[run.batch(name)]]]),
        mu_settings(**{**MU, "eta_g": 1.0}),
        [[args["tau"]]],
        lambda r, m, p: run.normals(x[:count], "mu-splitfed", "client", *name, p),
        lambda r, m, step, p: run.normals(x[count:], "mu-splitfed", "server", *name, step, p),
    )
