"""Three rounds of four algorithms whose messages are compressed, against the literal oracles behind a link.

A number whose last bit differs may be sent as the next level, which a tolerance of rounding does not cover.
So seeds are those of 25 whose numbers are farthest from a border: 1e-4 of a level at least, where float32
errs by some 1e-5.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from oracle.harness import SGD, SKEWED, Training, oracle_optimizer, train
from oracle.references import common as ref
from oracle.references import fedavg, ho_sfl, mu_splitfed, splitfed_v1
from oracle.references.codecs import Codec, Wire

CODECS: dict[str, tuple[Any, Codec]] = {
    "int8": ("int8", Codec("quantize", 8)),
    "top-k": ({"kind": "top-k", "keep": "40%"}, Codec("top-k", keep=Fraction(2, 5))),
}
FIRST_ORDER = {"client_optimizer": SGD, "server_optimizer": SGD}
MU = {"eta_s": 0.02, "eta_c": 0.01, "eta_g": 0.7, "lam": 0.02}
STEPS = oracle_optimizer(SGD)


def of_splitfed_v1(run: Training, wire: Wire) -> ref.Result:
    settings = splitfed_v1.Settings(2, STEPS, STEPS)
    return splitfed_v1.reference(run.split, run.local_rounds("train"), settings, wire)


def of_fedavg(run: Training, wire: Wire) -> ref.Result:
    return fedavg.reference(*run.model, run.local_rounds("train"), fedavg.Settings(2, STEPS), wire)


def of_mu_splitfed(run: Training, wire: Wire) -> ref.Result:
    told = run.arguments("exchange")
    return mu_splitfed.reference(
        run.split,
        one_batch_each(run, told),
        mu_splitfed.Settings(**MU),
        [[args["tau"] for args in of_round] for of_round in told],
        lambda r, m, p: run.normals(run.x_c, "mu-splitfed", "client", *told[r][m]["batch"], p),
        lambda r, m, t, p: run.normals(run.x_s, "mu-splitfed", "server", *told[r][m]["batch"], t, p),
        wire,
    )


def of_ho_sfl(run: Training, wire: Wire) -> ref.Result:
    rounds = one_batch_each(run, [of_round[0]["participants"] for of_round in run.arguments("exchange")])
    settings = ho_sfl.Settings(K=3, P=2, mu=0.02, opt_c=STEPS, opt_s=STEPS)
    return ho_sfl.reference(
        run.split, rounds, settings, lambda r, p: run.normals(run.x_c, "ho-sfl", r + 1, p), wire
    )


def one_batch_each(run: Training, told: list[list[dict[str, Any]]]) -> ref.Rounds:
    ids = [[one["client"] for one in of_round] for of_round in told]
    return ref.Rounds(ids, [[[run.batch(one["batch"])] for one in of_round] for of_round in told])


SEEDS = {"splitfed-v1": (16, 15), "mu-splitfed": (5, 2), "ho-sfl": (6, 20), "fedavg": (13, 24)}
ORACLES: dict[str, tuple[dict[str, Any], Callable[[Training, Wire], ref.Result], tuple[str, ...]]] = {
    "splitfed-v1": (
        {**FIRST_ORDER, "local_iterations": 2},
        of_splitfed_v1,
        ("activation", "gradient", "model"),
    ),
    "mu-splitfed": ({**MU, "tau": 2}, of_mu_splitfed, ("activation", "model")),
    "ho-sfl": ({**FIRST_ORDER, "mu": 0.02, "perturbations": 2}, of_ho_sfl, ("activation", "gradient")),
    "fedavg": ({"optimizer": SGD, "local_iterations": 2}, of_fedavg, ("model",)),
}


@pytest.mark.parametrize("word", CODECS)
@pytest.mark.parametrize("algorithm", ORACLES)
def test_three_rounds(algorithm: str, word: str) -> None:
    """Everything that the algorithm sends is compressed; gradients of top-k activations at int8."""
    settings, oracle, sends = ORACLES[algorithm]
    codecs = {kind: CODECS["int8" if kind == "gradient" else word] for kind in sends}
    compression = {kind: told for kind, (told, _) in codecs.items()}
    variant = {"algorithm": algorithm, "compression": compression, **settings}
    seed = dict(zip(CODECS, SEEDS[algorithm], strict=True))[word]
    run = train(variant, workload=SKEWED, seed=seed)
    wire = Wire(**{kind: codec for kind, (_, codec) in codecs.items()})
    result = oracle(run, wire)

    run.check(result)
    plain = oracle(run, Wire())  # what is learned without compression is far from it
    apart = max(float((one - other).abs().max()) for one, other in zip(result.x_c, plain.x_c, strict=True))
    assert apart > 1e-4
