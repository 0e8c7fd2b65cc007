"""Three rounds of four algorithms whose messages are compressed, against the literal oracles behind a link.

Each round starts from the package's own model, in float32: a last bit of difference can make a number go to
the next level, which a tolerance of rounding would not cover for long. So all but a few parameters must agree
to rounding, and those few to a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from oracle.harness import SGD, SKEWED, Training, flat, oracle_optimizer, shaped, train, whole
from oracle.references import codecs, fedavg, ho_sfl, mu_splitfed, splitfed_v1
from oracle.references import common as ref

INT8, SHARE = "int8", 0.4
TOP_K = {"kind": "top-k", "keep": f"{SHARE:.0%}"}
ETA_G = 0.7
MU = {"eta_s": 0.02, "eta_c": 0.01, "eta_g": ETA_G, "lam": 0.02, "tau": 2}
FIRST_ORDER = {"client_optimizer": SGD, "server_optimizer": SGD}
HO = {**FIRST_ORDER, "mu": 0.02, "perturbations": 2}
AVERAGED = {"optimizer": SGD, "local_iterations": 2}
Starts = Iterator[tuple[int, ref.Params, ref.Params]]


def starts(run: Training) -> Starts:
    """Each round's number, and the parts that the package's model has at its start."""
    for r in run.rounds:
        x = shaped(whole(run.session.learner.models[r]), [*run.x_c, *run.x_s])
        yield r, x[: len(run.x_c)], x[len(run.x_c) :]


def mean(run: Training, clients: list[int], models: list[ref.Params], weighting: str) -> ref.Params:
    return ref.weighted_mean(models, run.weights([clients])[0] if weighting == "samples" else None)


def of_splitfed_v1(run: Training, link: codecs.Link) -> Iterator[ref.Params]:
    settings = splitfed_v1.Settings(1, oracle_optimizer(SGD), oracle_optimizer(SGD))
    for r, x_c, x_s in starts(run):
        arguments, models = run.arguments("train")[r], []
        split = ref.Split(run.client, link.server(run.server), link.parameters(x_c), x_s)
        for args in arguments:
            rounds = ref.Rounds([[args["client"]]], [[run.batches_of(args)]])
            alone = splitfed_v1.reference(split, rounds, settings)
            models.append([*link.parameters(alone.x_c), *alone.x_s])
        yield mean(run, [args["client"] for args in arguments], models, "samples")


def of_mu_splitfed(run: Training, link: codecs.Link) -> Iterator[ref.Params]:
    settings = mu_splitfed.Settings(lam=MU["lam"], eta_s=MU["eta_s"], eta_c=MU["eta_c"], eta_g=1.0)
    for r, x_c, x_s in starts(run):
        models = []
        split = ref.Split(run.client, link.server(run.server), link.parameters(x_c), x_s)
        for args in run.arguments("exchange")[r]:
            name = args["batch"]
            alone = mu_splitfed.reference(
                split,
                ref.Rounds([[args["client"]]], [[[run.batch(name)]]]),
                settings,
                [[args["tau"]]],
                lambda r, m, p, name=name: run.normals(run.x_c, "mu-splitfed", "client", *name, p),
                lambda r, m, step, p, name=name: run.normals(
                    run.x_s, "mu-splitfed", "server", *name, step, p
                ),
            )
            models.append([*link.parameters(alone.x_c), *alone.x_s])
        x = [*x_c, *x_s]
        yield ref.axpy(x, ETA_G, ref.axpy(ref.weighted_mean(models, None), -1.0, x))


def of_ho_sfl(run: Training, link: codecs.Link) -> Iterator[ref.Params]:
    plain = oracle_optimizer(SGD)
    settings = ho_sfl.Settings(K=3, P=HO["perturbations"], mu=HO["mu"], opt_c=plain, opt_s=plain)
    for r, x_c, x_s in starts(run):
        participants = run.arguments("exchange")[r][0]["participants"]
        ids = [one["client"] for one in participants]
        result = ho_sfl.reference(
            ref.Split(run.client, link.server(run.server), x_c, x_s),
            ref.Rounds([ids], [[[run.batch(one["batch"])] for one in participants]]),
            settings,
            u=lambda _, p, r=r: run.normals(run.x_c, "ho-sfl", r + 1, p),
        )
        yield [*result.x_c, *result.x_s]


def of_fedavg(run: Training, link: codecs.Link) -> Iterator[ref.Params]:
    settings = fedavg.Settings(AVERAGED["local_iterations"], oracle_optimizer(SGD))
    for r, x_c, x_s in starts(run):
        arguments, models = run.arguments("train")[r], []
        start = link.parameters([*x_c, *x_s])
        for args in arguments:
            rounds = ref.Rounds([[args["client"]]], [[run.batches_of(args)]])
            models.append(link.parameters(fedavg.reference(run.model[0], start, rounds, settings).x_c))
        yield mean(run, [args["client"] for args in arguments], models, "samples")


ORACLES: dict[str, tuple[dict[str, Any], Callable[..., Iterator[ref.Params]], tuple[str, ...]]] = {
    "splitfed-v1": (FIRST_ORDER, of_splitfed_v1, ("activation", "gradient", "model")),
    "mu-splitfed": (MU, of_mu_splitfed, ("activation", "model")),
    "ho-sfl": (HO, of_ho_sfl, ("activation", "gradient")),
    "fedavg": (AVERAGED, of_fedavg, ("model",)),
}


@pytest.mark.parametrize("word", ["int8", "top-k"])
@pytest.mark.parametrize("algorithm", ORACLES)
def test_three_rounds(algorithm: str, word: str) -> None:
    """Everything that the algorithm sends is compressed; gradients of top-k activations at int8."""
    settings, oracle, sends = ORACLES[algorithm]
    kinds = {kind: "int8" if kind == "gradient" else word for kind in sends}
    compression = {kind: INT8 if name == "int8" else TOP_K for kind, name in kinds.items()}
    run = train({"algorithm": algorithm, "compression": compression, **settings}, workload=SKEWED)
    models = [whole(model).double() for model in run.session.learner.models]

    rounds = zip(oracle(run, codecs.Link(**kinds, share=SHARE)), models, models[1:], strict=False)
    plain = list(oracle(run, codecs.Link()))
    for number, (x, before, found) in enumerate(rounds):
        off = (found - flat(x)).abs()
        assert float((off > 1e-5 * flat(x).abs() + 2e-6).double().mean()) < 0.005
        assert float(off.max()) < float(found.max() - found.min()) / 255
        moved, unlike = (found - before).abs().max(), (found - flat(plain[number])).abs().max()
        assert float(unlike) > 100 * float(off.median())
        assert float(moved) > 1e-3
    assert len(models) == 4
    assert torch.isfinite(models[-1]).all()
