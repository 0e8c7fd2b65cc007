"""The reference of GAS: its statistics against pooled moments, its steps against torch's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from oracle.references import common as ref
from oracle.references import gas
from oracle.toy import (
    CUT,
    DTYPE,
    LABELS,
    PLAIN,
    SGD,
    SPLIT,
    X_C,
    X_S,
    batch,
    client,
    close,
    generator,
    normals,
    server,
)


def test_gas_moments_weighted_by_count_are_the_pooled_moments() -> None:
    """With w the number of rows the formula is exact pooling, but for the 1e-5 I it adds each time."""
    groups = [torch.randn(n, 3, generator=generator(70, n), dtype=DTYPE) for n in (4, 1, 6)]
    known = None
    jitter = 0.0
    for g in groups:
        known = gas.updated_statistics(known, list(g), float(len(g)), "full")
        d = (known.S - len(g)) / known.S
        jitter = d * jitter + 1e-5
    assert known is not None
    everything = torch.cat(groups)
    centred = everything - everything.mean(0)
    pooled = centred.T @ centred / len(everything)
    assert torch.allclose(known.mu, everything.mean(0), atol=1e-12)
    assert torch.allclose(known.Sig, pooled + jitter * torch.eye(3, dtype=DTYPE), atol=1e-12)
    diagonal = None
    for g in groups:
        diagonal = gas.updated_statistics(diagonal, list(g), float(len(g)), "diagonal")
    assert diagonal is not None
    assert torch.allclose(diagonal.Sig, torch.diagonal(known.Sig), atol=1e-12)


def test_gas_weights_grow_with_the_iteration() -> None:
    rows = [torch.randn(5, 2, generator=generator(71, n), dtype=DTYPE) for n in range(4)]
    known = None
    for n in range(4):
        known = gas.updated_statistics(known, list(rows[n]), float(n + 1), "full")
    assert known is not None
    means = torch.stack([r.mean(0) for r in rows])
    w = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=DTYPE) / 10.0
    assert known.S == 10.0
    assert torch.allclose(known.mu, w @ means, atol=1e-12)


def test_gas_samples_have_the_moments() -> None:
    Sig = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=DTYPE)
    known = gas.LabelStatistics(1.0, torch.tensor([1.0, -2.0], dtype=DTYPE), Sig)
    normal = torch.randn(4000, 2, generator=generator(72), dtype=DTYPE)
    draws = torch.stack([gas.generated(known, e, "full") for e in normal])
    assert torch.allclose(draws.mean(0), known.mu, atol=0.1)
    assert torch.allclose(torch.cov(draws.T), Sig, atol=0.15)


COURSE = gas.Course(
    batches={k: [batch(80, k, i) for i in range(12)] for k in range(4)},
    active=[0, 1],
    arrivals=[0, 1, 0, 1, 0, 0],
    replacements={},
    label_frequency=dict.fromkeys(range(4), [1 / 3] * 3),
)
SETTINGS = gas.Settings(E=100, Q_s=100, Q_c=2, B=6, n_labels=LABELS, opt_c=SGD, opt_s=SGD)


def gas_run(settings: gas.Settings = SETTINGS, **course: Any) -> ref.Result:
    """GAS on the toy: six arrivals of two clients that fill no buffer, if nothing else is said."""
    return gas.reference(
        SPLIT,
        replace(COURSE, **course),
        settings,
        lambda n, label, i: normals([torch.empty(CUT)], 81, n, label, i)[0],
    )


def test_gas_client_alone_is_training_through_a_fixed_server() -> None:
    got = gas_run()
    for k, n in [(0, 4), (1, 2)]:
        data = [batch(80, k, i) for i in range(n)]
        alone, _ = ref.local_steps(lambda x, b: server(X_S, client(x, b)), X_C, data, n, SGD)
        assert close(got.extra["clients"][k], alone)
    assert close(got.x_s, X_S, 0.0)
    assert got.extra["waiting_activations"] == 6


def test_gas_logit_adjustment_is_torchs_loss_on_shifted_logits() -> None:
    p = [0.7, 0.2, 0.1]
    got = gas_run(replace(SETTINGS, opt_c=PLAIN), label_frequency={0: p, 1: p}, arrivals=[0])
    bx, by = batch(80, 0, 0)
    leaf = [t.clone().requires_grad_(True) for t in X_C]
    logits = server(X_S, client(leaf, bx)) + torch.log(torch.tensor(p, dtype=DTYPE))
    loss = torch.nn.functional.cross_entropy(logits, by)
    g = torch.autograd.grad(loss, leaf)
    assert math.isclose(got.losses[0], float(loss.detach()))
    assert close(got.extra["clients"][0], [a - 0.2 * b for a, b in zip(X_C, g, strict=True)])


def test_gas_server_step_on_real_and_generated_activations() -> None:
    got = gas_run(
        replace(SETTINGS, Q_s=3, opt_s=PLAIN, opt_c=ref.Opt(lr=0.0)),
        arrivals=[0, 1, 0],
        label_frequency={0: [0.7, 0.2, 0.1], 1: [0.1, 0.1, 0.8]},  # the server's own loss is plain
    )
    data = [batch(80, 0, 0), batch(80, 1, 0), batch(80, 0, 1)]
    z = torch.cat([client(X_C, b[0]) for b in data])
    y = torch.cat([b[1] for b in data])
    counts = [int((y == label).sum()) for label in range(3)]
    assert min(counts) >= 1
    assert sum(counts) == 12
    assert got.extra["top_ups"] == [[max(0, 6 - c) for c in counts]]
    zs, ys = [z], [y]
    for label in range(3):
        rows = z[y == label]
        Sig = torch.cov(rows.T, correction=0) + 1e-5 * torch.eye(CUT, dtype=DTYPE)
        for i in range(max(0, 6 - counts[label])):
            e = normals([torch.empty(CUT)], 81, 1, label, i)[0]
            zs.append((rows.mean(0) + torch.linalg.cholesky(Sig) @ e)[None])
            ys.append(torch.tensor([label]))
    leaf = [t.clone().requires_grad_(True) for t in X_S]
    g = torch.autograd.grad(
        torch.nn.functional.cross_entropy(server(leaf, torch.cat(zs)), torch.cat(ys)), leaf
    )
    assert close(got.x_s, [a - 0.2 * b for a, b in zip(X_S, g, strict=True)], 1e-9)


def test_gas_model_buffer_and_replacements() -> None:
    two = replace(SETTINGS, E=2)
    got = gas_run(
        replace(two, Q_s=2),
        arrivals=[0, 0, 2, 1, 1, 2, 3],
        replacements={1: [(0, 2)], 4: [(1, 3)], 5: [(2, None)]},
    )
    early = gas_run(replace(SETTINGS, Q_s=2), arrivals=[0, 0, 2, 1, 1], active=[0, 1, 2])
    zero, one = early.extra["clients"][0], early.extra["clients"][1]
    assert close(got.x_c_rounds[0], [(a + b) / 2 for a, b in zip(zero, one, strict=True)])
    assert list(got.extra["clients"]) == [3]
    alone = gas_run(active=[2], arrivals=[2])  # 2 began before the buffer was full
    still = gas_run(two, arrivals=[0, 0, 2], replacements={1: [(0, 2)]})
    assert close(still.extra["clients"][2], alone.extra["clients"][2])
    assert got.extra["waiting_models"] == [2]
    assert got.extra["server_steps"] == 3
    with pytest.raises(AssertionError):
        gas_run(replace(SETTINGS, E=1), arrivals=[0, 0])
    with pytest.raises(AssertionError):
        gas_run(two, arrivals=[0], replacements={0: [(0, 2)]})
