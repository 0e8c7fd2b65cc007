"""Every algorithm of the package, run by its own protocol, against the literal oracles of `reference`.

Compared are the parameters after each round, to float32's rounding. The oracle gets the batches, the
raw Gaussian draws, tau and the order of arrivals that the run had, and nothing of its arithmetic.
"""

from __future__ import annotations

from typing import Any

import pytest
from oracle import reference as ref
from oracle.harness import CNN, Training, oracle_optimizer, train

SGD = {"name": "SGD", "lr": 0.1}
HEAVY = {"name": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
ADAM = {"name": "Adam", "lr": 0.003, "betas": [0.8, 0.99], "weight_decay": 0.01}
ADAMW = {"name": "AdamW", "lr": 0.003, "weight_decay": 0.1}
SKEWED = {"partition": {"kind": "dirichlet", "alpha": 0.3}}


def local_training(run: Training, function: str, **settings: Any) -> dict[str, Any]:
    """The oracle's arguments that algorithms with local iterations share."""
    lanes = run.lanes(function)
    participants = [[lane["client"] for lane in of_round] for of_round in lanes]
    batches = [[[run.batch(name) for name in lane["batches"]] for lane in of_round] for of_round in lanes]
    weights = None if settings.get("weighting") == "uniform" else run.weights(participants)
    return {
        "client": run.client,
        "server": run.server,
        "x_c": run.x_c,
        "x_s": run.x_s,
        "participants": participants,
        "batches": batches,
        "weights": weights,
        "E": settings.get("local_iterations", 1),
        "opt_c": oracle_optimizer(settings["client_optimizer"]),
        "opt_s": oracle_optimizer(settings["server_optimizer"]),
    }


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

    run.check(ref.splitfed_v1(**local_training(run, "train", **settings)))


def test_splitfed_v1_with_a_changing_subset() -> None:
    """Two of three clients per round: those not drawn neither train nor count."""
    settings = {"client_optimizer": SGD, "server_optimizer": SGD, "local_iterations": 2}
    fleet = {
        "clients": 3,
        "participants": 2,
        "groups": [{"name": "all", "device": {"compute": "50 MFLOP/s"}}],
    }
    run = train({"algorithm": "splitfed-v1", **settings}, rounds=5, fleet=fleet, workload=SKEWED)
    arguments = local_training(run, "train", **settings)
    assert len({tuple(ids) for ids in arguments["participants"]}) > 1

    run.check(ref.splitfed_v1(**arguments))


# Faster clients hold two blocks, the slowest one.
CUT_BY_SPEED = {"by": "compute", "deepest": 2, "within": 5}


def test_splitfed_v1_with_cuts_per_client() -> None:
    """With the same plain SGD on both sides it does not matter where a participant is cut."""
    settings = {"client_optimizer": SGD, "server_optimizer": SGD, "local_iterations": 2}
    run = train({"algorithm": "splitfed-v1", "cut": CUT_BY_SPEED, **settings}, workload=SKEWED)
    assert [lane["cut"] for lane in run.lanes("train")[0]] == [1, 2, 2]

    run.check(ref.splitfed_v1(**local_training(run, "train", **settings)))


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
    order, steps = arrivals(run), run.lanes("step")
    assert order[0] != sorted(order[0], key=lambda pair: (pair[1], pair[0]))  # not in the fleet's order
    assert [[client for client, _ in of_round] for of_round in order] == [
        [lane["batch"][0] for lane in of_round] for of_round in steps
    ]
    participants = [[0, 1, 2]] * len(order)
    batches = [
        [[run.batch(lane["batch"]) for lane in of_round if lane["batch"][0] == client] for client in range(3)]
        for of_round in steps
    ]
    weights = None if settings.get("weighting") == "uniform" else run.weights(participants)
    result = ref.splitfed_v2(
        client=run.client,
        server=run.server,
        x_c=run.x_c,
        x_s=run.x_s,
        participants=participants,
        batches=batches,
        order=order,
        weights=weights,
        E=settings.get("local_iterations", 1),
        opt_c=oracle_optimizer(optimizers[0]),
        opt_s=oracle_optimizer(optimizers[1]),
    )

    run.check(result)


# MU-SplitFed


def mu_oracle(run: Training, **settings: Any) -> ref.Result:
    lanes = run.lanes("exchange")
    participants = [[lane["client"] for lane in of_round] for of_round in lanes]

    def u_c(r: int, m: int, p: int) -> ref.Params:
        return run.normals(run.x_c, "mu-splitfed", "client", *lanes[r][m]["batch"], p)

    def u_s(r: int, m: int, step: int, p: int) -> ref.Params:
        lane = lanes[r][m]
        if step == lane["tau"]:
            return run.normals(run.x_s, "mu-splitfed", "joint", *lane["batch"], p)
        return run.normals(run.x_s, "mu-splitfed", "server", *lane["batch"], step, p)

    return ref.mu_splitfed(
        client=run.client,
        server=run.server,
        x_c=run.x_c,
        x_s=run.x_s,
        participants=participants,
        batches=[[[run.batch(lane["batch"])] for lane in of_round] for of_round in lanes],
        tau=[[lane["tau"] for lane in of_round] for of_round in lanes],
        u_c=u_c,
        u_s=u_s,
        lam=settings["lam"],
        eta_s=settings["eta_s"],
        eta_c=settings["eta_c"],
        eta_g=settings["eta_g"],
        P=settings.get("perturbations", 1),
        direction=settings.get("direction", "sphere"),
        client_feedback=settings.get("client_feedback", "separate"),
        weights=run.weights(participants) if settings.get("weighting") == "samples" else None,
    )


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
    assert run.session.learner.task.lanes_at_once > 1

    run.check(mu_oracle(run, **settings))


@pytest.mark.parametrize("workload", [{}, CNN], ids=["stacked", "looped"])
def test_mu_splitfed_adaptive(workload: dict[str, Any]) -> None:
    """Each participant's replica takes its own number of steps, as the clock allowed."""
    settings = {**MU, "tau": "adaptive", "tau_max": 14}
    server = {"compute": "0.1 MFLOP/s" if workload else "0.3 MFLOP/s", "slots": 3}
    run = train({"algorithm": "mu-splitfed", **settings}, workload=workload, server=server)
    taus = [[lane["tau"] for lane in of_round] for of_round in run.lanes("exchange")]
    assert all(len(set(of_round)) > 1 for of_round in taus), taus

    run.check(mu_oracle(run, **settings))


def test_mu_splitfed_with_cuts_per_client() -> None:
    """Each participant perturbs the parts that it and its replica hold; the whole models are averaged."""
    settings = {**MU, "tau": 2, "eta_g": 0.7}
    run = train({"algorithm": "mu-splitfed", "cut": CUT_BY_SPEED, **settings})
    result = ref.Result([], [])
    x = [*run.x_c, *run.x_s]
    for of_round in run.lanes("exchange"):
        assert [lane["cut"] for lane in of_round] == [1, 2, 2]
        moved = []
        for lane in of_round:
            alone = ref.mu_splitfed(**mu_arguments(run, lane, x), **{**MU, "eta_g": 1.0})
            moved.append([*alone.x_c, *alone.x_s])
        mean = ref.weighted_mean(moved, None)
        x = ref.axpy(x, MU["eta_g"], ref.axpy(mean, -1.0, x))
        result.x_c_rounds.append(x)

    run.check(result)


def mu_arguments(run: Training, lane: dict[str, Any], x: ref.Params) -> dict[str, Any]:
    """The oracle's arguments for one participant of one round, cut where it is, starting from `x`."""
    client, server, count = run.parts_at(lane["cut"])
    name = lane["batch"]
    return {
        "client": client,
        "server": server,
        "x_c": x[:count],
        "x_s": x[count:],
        "participants": [[lane["client"]]],
        "batches": [[[run.batch(name)]]],
        "tau": [[lane["tau"]]],
        "u_c": lambda r, m, p: run.normals(x[:count], "mu-splitfed", "client", *name, p),
        "u_s": lambda r, m, step, p: run.normals(x[count:], "mu-splitfed", "server", *name, step, p),
    }
