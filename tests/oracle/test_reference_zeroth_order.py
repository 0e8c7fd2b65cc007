"""The references of zeroth-order algorithms: over a whole basis of directions they are gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from oracle.references import common as ref
from oracle.references import ho_sfl, mu_splitfed, zo_splitfed
from oracle.toy import (
    ADAMW,
    DTYPE,
    MODEL,
    PLAIN,
    SGD,
    SPLIT,
    X_C,
    X_S,
    basis,
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

# MU-SplitFed


def gradients(data: tuple[Tensor, Tensor], x_s: ref.Params = X_S) -> tuple[ref.Params, ref.Params]:
    _, g = ref.gradient(MODEL, X_C + x_s, data)
    return g[:2], g[2:]


def mu_run(
    rounds: ref.Rounds | None = None,
    *,
    tau: Sequence[Sequence[int]] = ((1,),),
    u_c: mu_splitfed.ClientDirection = lambda r, m, p: normals(X_C, 40, r, m, p),
    u_s: mu_splitfed.ServerDirection = lambda r, m, t, p: normals(X_S, 41, r, m, t, p),
    **settings: Any,
) -> ref.Result:
    """MU-SplitFed on the toy: one round of one client with one server step, if nothing else is said."""
    settings = {"lam": 1e-4, "eta_s": 0.1, "eta_c": 0.1, "eta_g": 1.0, **settings}
    return mu_splitfed.reference(
        SPLIT, rounds or everyone(1, 1, 1), mu_splitfed.Settings(**settings), tau, u_c, u_s
    )


def step_taken(after: ref.Params, before: ref.Params, eta: float) -> ref.Params:
    return [(b - a) / eta for a, b in zip(after, before, strict=True)]


def test_mu_splitfed_over_a_whole_basis_is_the_gradient() -> None:
    data = grid(1, 1, 1)[0][0][0]
    g_c, g_s = gradients(data)
    # the server's d directions e_1..e_d, tau 1, the client still
    got = mu_run(
        P=33, u_s=lambda r, m, t, p: basis(X_S, p), u_c=lambda r, m, p: basis(X_C, p % 15), eta_c=0.0
    )
    assert close(step_taken(got.x_s, X_S, 0.1), g_s, 1e-6)
    # the client's, at the server it sees: x_s after tau steps
    got = mu_run(P=15, u_c=lambda r, m, p: basis(X_C, p), tau=[[2]])
    g_c_after, _ = gradients(data, got.x_s)
    assert close(step_taken(got.x_c, X_C, 0.1), g_c_after, 1e-6)
    got = mu_run(P=15, u_c=lambda r, m, p: basis(X_C, p), tau=[[0]])
    assert close(step_taken(got.x_c, X_C, 0.1), g_c, 1e-6)


@pytest.mark.parametrize("direction", ["sphere", "gaussian"])
def test_mu_splitfed_mean_over_many_directions_nears_the_gradient(direction: str) -> None:
    P = 1000
    raw = torch.randn(P, 33, generator=generator(51), dtype=DTYPE)
    raw_c = torch.randn(P, 15, generator=generator(52), dtype=DTYPE)

    def cut(flat: Tensor, like: ref.Params) -> ref.Params:
        parts = torch.split(flat, [t.numel() for t in like])
        return [a.reshape(t.shape) for a, t in zip(parts, like, strict=True)]

    got = mu_run(
        P=P,
        direction=direction,
        u_s=lambda r, m, t, p: cut(raw[p], X_S),
        u_c=lambda r, m, p: cut(raw_c[p], X_C),
    )
    data = grid(1, 1, 1)[0][0][0]
    for estimate, g in [
        (step_taken(got.x_s, X_S, 0.1), gradients(data)[1]),
        (step_taken(got.x_c, X_C, 0.1), gradients(data, got.x_s)[0]),
    ]:
        norm = math.sqrt(sum(float((t * t).sum()) for t in g))
        error = math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in zip(estimate, g, strict=True)))
        d = sum(t.numel() for t in g)
        assert error / norm < 1.6 * math.sqrt(d / P)


def test_mu_splitfed_by_hand_tau_two() -> None:
    bx, by = grid(1, 1, 1)[0][0][0]
    got = mu_run(tau=[[2]], lam=0.01)
    flat = torch.cat([t.flatten() for t in X_S])

    def loss(v: Tensor, z: Tensor) -> float:
        parts = torch.split(v, [t.numel() for t in X_S])
        logits = server([a.reshape(t.shape) for a, t in zip(parts, X_S, strict=True)], z)
        return float(torch.nn.functional.cross_entropy(logits, by))

    z = client(X_C, bx)
    for t in range(2):
        u = torch.cat([a.flatten() for a in normals(X_S, 41, 0, 0, t, 0)])
        u = u / u.norm() * math.sqrt(33)
        flat = flat - 0.1 * (loss(flat + 0.01 * u, z) - loss(flat - 0.01 * u, z)) / 0.02 * u
    assert torch.allclose(torch.cat([a.flatten() for a in got.x_s]), flat, rtol=1e-11, atol=1e-11)
    raw = normals(X_C, 40, 0, 0, 0)
    scale = math.sqrt(15) / math.sqrt(sum(float((a * a).sum()) for a in raw))
    z_plus = client([a + 0.01 * scale * b for a, b in zip(X_C, raw, strict=True)], bx)
    z_minus = client([a - 0.01 * scale * b for a, b in zip(X_C, raw, strict=True)], bx)
    delta = loss(flat, z_plus) - loss(flat, z_minus)
    assert math.isclose(delta, got.extra["delta_c"][0][0][0], rel_tol=1e-9)
    hand = [a - 0.1 * delta / 0.02 * scale * b for a, b in zip(X_C, raw, strict=True)]
    assert close(got.x_c, hand, 1e-10)


def test_mu_splitfed_joint_is_the_estimate_of_the_whole_model() -> None:
    """tau = 0 and joint: u = (u_c, u_s) perturbs both parts at once, so delta is the whole model's."""
    got = mu_run(tau=[[0]], client_feedback="joint", direction="gaussian", lam=0.01)
    u_c, u_s = normals(X_C, 40, 0, 0, 0), normals(X_S, 41, 0, 0, 0, 0)
    bx, by = grid(1, 1, 1)[0][0][0]
    u = u_c + u_s
    x = X_C + X_S
    up = torch.nn.functional.cross_entropy(MODEL([a + 0.01 * b for a, b in zip(x, u, strict=True)], bx), by)
    down = torch.nn.functional.cross_entropy(MODEL([a - 0.01 * b for a, b in zip(x, u, strict=True)], bx), by)
    g = float(up - down) / 0.02
    assert close(got.x_c + got.x_s, [a - 0.1 * g * b for a, b in zip(x, u, strict=True)], 1e-10)


def test_mu_splitfed_round_end_and_tau_one() -> None:
    rounds = everyone(2, 2, 1)
    a = mu_run(rounds, tau=[[1, 1]] * 2, eta_g=0.3)
    b = zo_splitfed.reference(
        SPLIT,
        rounds,
        mu_splitfed.Settings(lam=1e-4, eta_s=0.1, eta_c=0.1, eta_g=0.3),
        u_c=lambda r, m, p: normals(X_C, 40, r, m, p),
        u_s=lambda r, m, t, p: normals(X_S, 41, r, m, t, p),
    )
    assert close(a.x_c + a.x_s, b.x_c + b.x_s, 0.0)
    first = ref.Rounds([[0, 1]], rounds.batches[:1])
    full = mu_run(first, tau=[[1, 1]], eta_g=1.0)
    part = mu_run(first, tau=[[1, 1]], eta_g=0.25)
    x = X_C + X_S
    middle = [p + 0.25 * (f - p) for p, f in zip(x, full.x_c + full.x_s, strict=True)]
    assert close(part.x_c + part.x_s, middle)
    # weights (1, 0): the first participant alone
    alone = mu_run(ref.Rounds([[0]], [[rounds.batches[0][0]]]))
    ignored = mu_run(ref.Rounds([[0, 1]], rounds.batches[:1], [[1.0, 0.0]]), tau=[[1, 3]])
    assert close(alone.x_c + alone.x_s, ignored.x_c + ignored.x_s)


# HO-SFL


def ho(rounds: ref.Rounds, u: Callable[[int, int], ref.Params], **settings: Any) -> ref.Result:
    """HO-SFL on the toy with four clients."""
    settings = {"K": 4, "P": 3, "mu": 1e-3, "opt_c": SGD, "opt_s": SGD, **settings}
    return ho_sfl.reference(SPLIT, rounds, ho_sfl.Settings(**settings), u)


@pytest.mark.parametrize(("opt", "tol"), [(PLAIN, 1e-5), (SGD, 1e-4), (ADAMW, 1e-3)])
def test_ho_sfl_over_a_whole_basis_is_first_order_training(opt: ref.Opt, tol: float) -> None:
    """With the d directions sqrt(d) e_p the rebuilt g is the mean gradient: one division by M, not two."""
    data, who = grid(4, 2, 1), [[0, 1], [2, 3], [1, 2], [0, 3]]
    got = ho(
        ref.Rounds(who, data),
        lambda r, p: [math.sqrt(15) * t for t in basis(X_C, p)],
        P=15,
        mu=1e-7,
        opt_c=opt,
        opt_s=opt,
    )
    pooled = [(torch.cat([m[0][0] for m in r]), torch.cat([m[0][1] for m in r])) for r in data]
    expected = torch_training(X_C + X_S, pooled, opt)
    assert close(got.x_c + got.x_s, expected, tol)


@pytest.mark.parametrize("opt", [SGD, ADAMW])
def test_ho_sfl_clients_that_sat_out_replay(opt: ref.Opt) -> None:
    got = ho(
        ref.Rounds([[0, 1], [0, 1], [1, 2], [0, 2], [2, 1]], grid(5, 2, 1)),
        lambda r, p: normals(X_C, 60, r, p),
        opt_c=opt,
    )
    held = got.extra["clients"]
    assert len(held) == 4
    for k in range(4):  # client 3 never took part and holds the same model
        assert all(torch.equal(a, b) for a, b in zip(held[k], got.x_c, strict=True))
    assert close(got.x_c, got.x_c_rounds[-1], 0.0)


def test_ho_sfl_of_twin_clients_is_one_client() -> None:
    data = grid(3, 1, 1)

    def u(r: int, p: int) -> ref.Params:
        return normals(X_C, 61, r, p)

    one = ho(ref.Rounds([[0]] * 3, data), u)
    two = ho(ref.Rounds([[0, 1]] * 3, [[r[0], r[0]] for r in data]), u)
    assert close(one.x_c + one.x_s, two.x_c + two.x_s)
