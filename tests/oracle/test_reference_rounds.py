"""The references of algorithms that learn in rounds, against torch's training and each other."""

from __future__ import annotations

import math

import pytest
import torch
from oracle.references import common as ref
from oracle.references import fedavg, fedlora, frozen_client, sl, splitfed_v1, splitfed_v2
from oracle.toy import (
    ADAM,
    ADAMW,
    CUT,
    DTYPE,
    FEATURES,
    MODEL,
    PLAIN,
    SGD,
    SPLIT,
    X_C,
    X_S,
    batch,
    client,
    close,
    everyone,
    generator,
    grid,
    normals,
    server,
    torch_training,
)
from torch import Tensor


def on_top_of_the_client(x_s: ref.Params, x: Tensor) -> Tensor:
    """The whole model as a function of the server part alone."""
    return server(x_s, client(X_C, x))


def fedavg_of(rounds: ref.Rounds, E: int, opt: ref.Opt, model: ref.Part = MODEL) -> ref.Params:
    x = X_S if model is on_top_of_the_client else X_C + X_S
    return fedavg.reference(model, x, rounds, fedavg.Settings(E, opt)).x_c


# Losses, optimizers, directions


def test_cross_entropy_is_torchs_and_takes_minus_infinity() -> None:
    logits = 20.0 * torch.randn(6, 3, generator=generator(5), dtype=DTYPE)
    y = torch.tensor([0, 1, 0, 1, 1, 0])
    assert torch.allclose(ref.cross_entropy(logits, y), torch.nn.functional.cross_entropy(logits, y))
    offset = torch.tensor([math.log(0.5), math.log(0.5), -math.inf], dtype=DTYPE)
    leaf = logits.clone().requires_grad_(True)
    ref.cross_entropy(leaf, y, offset).backward()
    other = logits[:, :2].clone().requires_grad_(True)
    torch.nn.functional.cross_entropy(other, y).backward()
    assert leaf.grad is not None
    assert other.grad is not None
    assert torch.allclose(leaf.grad[:, :2], other.grad)
    assert torch.equal(leaf.grad[:, 2], torch.zeros(6, dtype=DTYPE))


@pytest.mark.parametrize("opt", [SGD, ADAM, ADAMW, ref.Opt("sgd", lr=0.3, momentum=0.9, clip=0.1)])
def test_fedavg_of_one_client_is_torchs_training(opt: ref.Opt) -> None:
    rounds = everyone(1, 1, 6)
    expected = torch_training(X_C + X_S, rounds.batches[0][0], opt)
    assert close(fedavg_of(rounds, 6, opt), expected, 1e-10)


def test_sphere_has_radius_sqrt_d_over_the_whole_part() -> None:
    u = ref.shaped_direction(normals(X_C, 8), "sphere")
    assert math.isclose(sum(float((t * t).sum()) for t in u), 15.0, rel_tol=1e-12)
    assert close(ref.shaped_direction(normals(X_C, 8), "gaussian"), normals(X_C, 8))


# SplitFed, SL, FedAvg, FedLoRA


@pytest.mark.parametrize("opt", [SGD, ADAM, ADAMW])
def test_splitfed_v1_with_one_client_is_unsplit_training(opt: ref.Opt) -> None:
    rounds = everyone(1, 1, 5)
    got = splitfed_v1.reference(SPLIT, rounds, splitfed_v1.Settings(5, opt, opt))
    assert close(got.x_c + got.x_s, torch_training(X_C + X_S, rounds.batches[0][0], opt), 1e-10)


@pytest.mark.parametrize("opt", [SGD, ADAM])
def test_splitfed_v1_is_fedavg_of_the_whole_model(opt: ref.Opt) -> None:
    rounds = ref.Rounds([[0, 1, 2]] * 3, grid(3, 3, 2), [[1.0, 2.0, 5.0]] * 3)
    split = splitfed_v1.reference(SPLIT, rounds, splitfed_v1.Settings(2, opt, opt))
    assert close(split.x_c + split.x_s, fedavg_of(rounds, 2, opt), 1e-10)


def test_weights_by_sample_count_equal_the_pooled_gradient() -> None:
    sizes = [2, 3, 7]
    data = [[[batch(0, m, size=sizes[m])] for m in range(3)]]
    pooled = [[[(torch.cat([d[0][0] for d in data[0]]), torch.cat([d[0][1] for d in data[0]]))]]]
    many = fedavg_of(ref.Rounds([[0, 1, 2]], data, [[float(n) for n in sizes]]), 1, PLAIN)
    one = fedavg_of(ref.Rounds([[0]], pooled), 1, PLAIN)
    assert close(many, one)


def test_frozen_client_leaves_the_client_alone() -> None:
    rounds = everyone(2, 2, 2)
    got = frozen_client.reference(SPLIT, rounds, frozen_client.Settings(2, SGD))
    assert all(torch.equal(a, b) for a, b in zip(got.x_c, X_C, strict=True))
    assert close(got.x_s, fedavg_of(rounds, 2, SGD, on_top_of_the_client))


def test_splitfed_v2_of_one_client_is_v1_and_sl_in_a_single_round() -> None:
    rounds = everyone(1, 1, 4)
    two = splitfed_v2.reference(
        SPLIT, rounds, splitfed_v2.Settings(4, SGD, SGD), [[(0, i) for i in range(4)]]
    )
    one = splitfed_v1.reference(SPLIT, rounds, splitfed_v1.Settings(4, SGD, SGD))
    in_turn = sl.reference(SPLIT, rounds, sl.Settings(4, SGD, SGD))
    assert close(two.x_c + two.x_s, one.x_c + one.x_s)
    assert close(two.x_c + two.x_s, in_turn.x_c + in_turn.x_s)


def test_splitfed_v2_keeps_the_servers_momentum_and_minds_the_order() -> None:
    rounds, second = everyone(2, 2, 2), [(0, 0), (0, 1), (1, 0), (1, 1)]
    settings = splitfed_v2.Settings(2, SGD, SGD)
    a = splitfed_v2.reference(SPLIT, rounds, settings, [[(0, 0), (1, 0), (0, 1), (1, 1)], second])
    b = splitfed_v2.reference(SPLIT, rounds, settings, [[(1, 0), (0, 0), (1, 1), (0, 1)], second])
    assert not close(a.x_s, b.x_s, 1e-6)
    # by hand: the server alone with torch's optimizer, on the activations of frozen clients
    order = [[(0, 0), (1, 0), (1, 1), (0, 1)], [(1, 0), (0, 0), (0, 1), (1, 1)]]
    got = splitfed_v2.reference(SPLIT, rounds, splitfed_v2.Settings(2, ref.Opt(lr=0.0), SGD), order)
    in_order = [rounds.batches[r][m][i] for r in range(2) for m, i in order[r]]
    assert close(got.x_s, fedavg_of(ref.Rounds([[0]], [[in_order]]), 8, SGD, on_top_of_the_client))


def test_sl_with_plain_sgd_is_one_long_training() -> None:
    data = grid(2, 3, 2)
    got = sl.reference(SPLIT, ref.Rounds([[2, 0, 1]] * 2, data), sl.Settings(2, PLAIN, PLAIN))
    in_order = [data[r][m][i] for r in range(2) for m in range(3) for i in range(2)]
    assert close(got.x_c + got.x_s, torch_training(X_C + X_S, in_order, PLAIN), 1e-10)


def test_fedlora_trains_the_adapters_on_a_frozen_base() -> None:
    adapters = normals([torch.empty(FEATURES, 2), torch.empty(2, CUT)], 31)

    def model(base: ref.Params, ab: ref.Params, bx: Tensor) -> Tensor:
        return MODEL([base[0] + 2.0 * ab[0] @ ab[1], *base[1:]], bx)

    base = [t.clone() for t in X_C + X_S]
    got = fedlora.reference(model, base, adapters, everyone(2, 2, 2), fedlora.Settings(2, PLAIN))
    assert all(torch.equal(a, b) for a, b in zip(base, X_C + X_S, strict=True))
    assert len(got.x_c) == 2
    assert not close(got.x_c, adapters, 1e-3)
