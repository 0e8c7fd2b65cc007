"""The oracles against theory: torch's own optimizers, exact identities, and estimators' means."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

if str(Path(__file__).resolve().parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import reference as ref

DTYPE = torch.float64
FEATURES, CUT, LABELS = 4, 3, 3


def client(x_c: ref.Params, x: Tensor) -> Tensor:
    return torch.tanh(x @ x_c[0] + x_c[1])


def server(x_s: ref.Params, z: Tensor) -> Tensor:
    return torch.tanh(z @ x_s[0]) @ x_s[1] + x_s[2]


def auxiliary(x_a: ref.Params, z: Tensor) -> Tensor:
    return z @ x_a[0] + x_a[1]


MODEL = ref.whole(client, server, 2)


def generator(*key: int) -> torch.Generator:
    seed = 17
    for k in key:
        seed = (seed * 1009 + k + 1) % (2**31)
    return torch.Generator().manual_seed(seed)


def normals(like: ref.Params, *key: int) -> ref.Params:
    g = generator(*key)
    return [torch.randn(t.shape, generator=g, dtype=DTYPE) for t in like]


X_C = [0.7 * t for t in normals([torch.empty(FEATURES, CUT), torch.empty(CUT)], 1)]
X_S = [0.7 * t for t in normals([torch.empty(CUT, 5), torch.empty(5, LABELS), torch.empty(LABELS)], 2)]
X_A = [0.7 * t for t in normals([torch.empty(CUT, LABELS), torch.empty(LABELS)], 3)]


def batch(*key: int, size: int = 4) -> tuple[Tensor, Tensor]:
    g = generator(99, *key)
    x = torch.randn(size, FEATURES, generator=g, dtype=DTYPE)
    return x, torch.randint(0, LABELS, (size,), generator=g)


def grid(rounds: int, M: int, E: int) -> list[list[list[tuple[Tensor, Tensor]]]]:
    return [[[batch(r, m, i) for i in range(E)] for m in range(M)] for r in range(rounds)]


def basis(like: ref.Params, p: int) -> ref.Params:
    """The p-th unit vector; as sphere directions the d of them have mean u u^T = I exactly."""
    flat = torch.zeros(sum(t.numel() for t in like), dtype=DTYPE)
    flat[p] = 1.0
    out, start = [], 0
    for t in like:
        out.append(flat[start : start + t.numel()].reshape(t.shape))
        start += t.numel()
    return out


def close(a: ref.Params, b: ref.Params, tol: float = 1e-12) -> bool:
    return all(torch.allclose(p, q, rtol=tol, atol=tol) for p, q in zip(a, b, strict=True))


def torch_training(x: ref.Params, batches: list[tuple[Tensor, Tensor]], opt: ref.Opt) -> ref.Params:
    """The same model unsplit, with torch's loss, autograd and optimizer."""
    p = [t.clone().requires_grad_(True) for t in x]
    o: torch.optim.Optimizer
    if opt.kind == "sgd":
        o = torch.optim.SGD(p, lr=opt.lr, momentum=opt.momentum, weight_decay=opt.weight_decay)
    elif opt.kind == "adam":
        o = torch.optim.Adam(p, lr=opt.lr, weight_decay=opt.weight_decay)
    else:
        o = torch.optim.AdamW(p, lr=opt.lr, weight_decay=opt.weight_decay)
    for bx, by in batches:
        o.zero_grad()
        torch.nn.functional.cross_entropy(MODEL(p, bx), by).backward()
        if opt.clip is not None:
            torch.nn.utils.clip_grad_norm_(p, opt.clip)
        o.step()
    return [t.detach() for t in p]


SGD = ref.Opt("sgd", lr=0.3, momentum=0.9, weight_decay=5e-3)
ADAM = ref.Opt("adam", lr=0.05, weight_decay=1e-2)
ADAMW = ref.Opt("adamw", lr=0.05, weight_decay=0.1)
PLAIN = ref.Opt("sgd", lr=0.2)


# losses, optimizers, directions


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
    data = grid(1, 1, 6)
    got = ref.fedavg(model=MODEL, x=X_C + X_S, batches=data, participants=[[7]], E=6, opt=opt)
    assert close(got.x_c, torch_training(X_C + X_S, data[0][0], opt), 1e-10)


def test_sphere_has_radius_sqrt_d_over_the_whole_part() -> None:
    u = ref.shaped_direction(normals(X_C, 8), "sphere")
    assert math.isclose(sum(float((t * t).sum()) for t in u), 15.0, rel_tol=1e-12)
    assert close(ref.shaped_direction(normals(X_C, 8), "gaussian"), normals(X_C, 8))


# SplitFed, SL, FedAvg, FedLoRA


@pytest.mark.parametrize("opt", [SGD, ADAM, ADAMW])
def test_splitfed_v1_with_one_client_is_unsplit_training(opt: ref.Opt) -> None:
    data = grid(1, 1, 5)
    got = ref.splitfed_v1(
        client=client,
        server=server,
        x_c=X_C,
        x_s=X_S,
        batches=data,
        participants=[[0]],
        E=5,
        opt_c=opt,
        opt_s=opt,
    )
    assert close(got.x_c + got.x_s, torch_training(X_C + X_S, data[0][0], opt), 1e-10)


@pytest.mark.parametrize("opt", [SGD, ADAM])
def test_splitfed_v1_is_fedavg_of_the_whole_model(opt: ref.Opt) -> None:
    data, who, w = grid(3, 3, 2), [[0, 1, 2]] * 3, [[1.0, 2.0, 5.0]] * 3
    split = ref.splitfed_v1(
        client=client,
        server=server,
        x_c=X_C,
        x_s=X_S,
        batches=data,
        participants=who,
        E=2,
        opt_c=opt,
        opt_s=opt,
        weights=w,
    )
    full = ref.fedavg(model=MODEL, x=X_C + X_S, batches=data, participants=who, E=2, opt=opt, weights=w)
    assert close(split.x_c + split.x_s, full.x_c, 1e-10)


def test_weights_by_sample_count_equal_the_pooled_gradient() -> None:
    sizes = [2, 3, 7]
    data = [[[batch(0, m, size=sizes[m])] for m in range(3)]]
    pooled = [[[(torch.cat([d[0][0] for d in data[0]]), torch.cat([d[0][1] for d in data[0]]))]]]
    many = ref.fedavg(
        model=MODEL,
        x=X_C + X_S,
        batches=data,
        participants=[[0, 1, 2]],
        E=1,
        opt=PLAIN,
        weights=[[float(n) for n in sizes]],
    )
    one = ref.fedavg(model=MODEL, x=X_C + X_S, batches=pooled, participants=[[0]], E=1, opt=PLAIN)
    assert close(many.x_c, one.x_c)


def test_frozen_client_leaves_the_client_alone() -> None:
    data = grid(2, 2, 2)
    got = ref.frozen_client(
        client=client,
        server=server,
        x_c=X_C,
        x_s=X_S,
        batches=data,
        participants=[[0, 1]] * 2,
        E=2,
        opt_s=SGD,
    )
    assert all(torch.equal(a, b) for a, b in zip(got.x_c, X_C, strict=True))
    fixed = ref.fedavg(
        model=lambda x, b: server(x, client(X_C, b)),
        x=X_S,
        batches=data,
        participants=[[0, 1]] * 2,
        E=2,
        opt=SGD,
    )
    assert close(got.x_s, fixed.x_c)


def v2(order: list[list[tuple[int, int]]], data: list, M: int, E: int, opt: ref.Opt = SGD) -> ref.Result:
    return ref.splitfed_v2(
        client=client,
        server=server,
        x_c=X_C,
        x_s=X_S,
        batches=data,
        E=E,
        order=order,
        participants=[list(range(M))] * len(order),
        opt_c=opt,
        opt_s=opt,
    )


def test_splitfed_v2_of_one_client_is_v1_and_sl_in_a_single_round() -> None:
    data = grid(1, 1, 4)
    two = v2([[(0, i) for i in range(4)]], data, 1, 4)
    common = {
        "client": client,
        "server": server,
        "x_c": X_C,
        "x_s": X_S,
        "batches": data,
        "participants": [[0]],
        "E": 4,
    }
    one = ref.splitfed_v1(**common, opt_c=SGD, opt_s=SGD)  # type: ignore[arg-type]
    sl = ref.sl(**common, opt_c=SGD, opt_s=SGD)  # type: ignore[arg-type]
    assert close(two.x_c + two.x_s, one.x_c + one.x_s)
    assert close(two.x_c + two.x_s, sl.x_c + sl.x_s)


def test_splitfed_v2_keeps_the_servers_momentum_and_minds_the_order() -> None:
    data = grid(2, 2, 2)
    a = v2([[(0, 0), (1, 0), (0, 1), (1, 1)], [(0, 0), (0, 1), (1, 0), (1, 1)]], data, 2, 2)
    b = v2([[(1, 0), (0, 0), (1, 1), (0, 1)], [(0, 0), (0, 1), (1, 0), (1, 1)]], data, 2, 2)
    assert not close(a.x_s, b.x_s, 1e-6)
    # by hand: the server alone with torch's optimizer, on the activations of frozen clients
    still = ref.Opt(lr=0.0)
    order = [[(0, 0), (1, 0), (1, 1), (0, 1)], [(1, 0), (0, 0), (0, 1), (1, 1)]]
    got = ref.splitfed_v2(
        client=client,
        server=server,
        x_c=X_C,
        x_s=X_S,
        batches=data,
        participants=[[0, 1]] * 2,
        E=2,
        order=order,
        opt_c=still,
        opt_s=SGD,
    )
    flat = [data[r][m][i] for r in range(2) for m, i in order[r]]
    only = ref.fedavg(
        model=lambda x, bx: server(x, client(X_C, bx)),
        x=X_S,
        batches=[[flat]],
        participants=[[0]],
        E=8,
        opt=SGD,
    )
    assert close(got.x_s, only.x_c)


def test_sl_with_plain_sgd_is_one_long_training() -> None:
    data = grid(2, 3, 2)
    got = ref.sl(
        client=client,
        server=server,
        x_c=X_C,
        x_s=X_S,
        batches=data,
        participants=[[2, 0, 1]] * 2,
        E=2,
        opt_c=PLAIN,
        opt_s=PLAIN,
    )
    flat = [data[r][m][i] for r in range(2) for m in range(3) for i in range(2)]
    assert close(got.x_c + got.x_s, torch_training(X_C + X_S, flat, PLAIN), 1e-10)


def test_fedlora_trains_the_adapters_on_a_frozen_base() -> None:
    adapters = normals([torch.empty(FEATURES, 2), torch.empty(2, CUT)], 31)

    def model(base: ref.Params, ab: ref.Params, bx: Tensor) -> Tensor:
        return MODEL([base[0] + 2.0 * ab[0] @ ab[1], *base[1:]], bx)

    base = [t.clone() for t in X_C + X_S]
    got = ref.fedlora(
        model=model, base=base, x=adapters, batches=grid(2, 2, 2), participants=[[0, 1]] * 2, E=2, opt=PLAIN
    )
    assert all(torch.equal(a, b) for a, b in zip(base, X_C + X_S, strict=True))
    assert len(got.x_c) == 2
    assert not close(got.x_c, adapters, 1e-3)


# MU-SplitFed


def gradients(data: tuple[Tensor, Tensor], x_s: ref.Params = X_S) -> tuple[ref.Params, ref.Params]:
    _, g = ref.gradient(MODEL, X_C + x_s, data)
    return g[:2], g[2:]


def mu_run(**change: object) -> ref.Result:
    arguments: dict[str, object] = {
        "client": client,
        "server": server,
        "x_c": X_C,
        "x_s": X_S,
        "batches": grid(1, 1, 1),
        "participants": [[0]],
        "tau": [[1]],
        "u_c": lambda r, m, p: normals(X_C, 40, r, m, p),
        "u_s": lambda r, m, t, p: normals(X_S, 41, r, m, t, p),
        "lam": 1e-4,
        "eta_s": 0.1,
        "eta_c": 0.1,
        "eta_g": 1.0,
    }
    arguments.update(change)
    return ref.mu_splitfed(**arguments)  # type: ignore[arg-type]


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
    data, who = grid(2, 2, 1), [[0, 1]] * 2
    a = mu_run(batches=data, participants=who, tau=[[1, 1]] * 2, eta_g=0.3)
    arguments = {
        "client": client,
        "server": server,
        "x_c": X_C,
        "x_s": X_S,
        "batches": data,
        "participants": who,
        "u_c": lambda r, m, p: normals(X_C, 40, r, m, p),
        "u_s": lambda r, m, t, p: normals(X_S, 41, r, m, t, p),
        "lam": 1e-4,
        "eta_s": 0.1,
        "eta_c": 0.1,
        "eta_g": 0.3,
    }
    b = ref.zo_splitfed(**arguments)  # type: ignore[arg-type]
    assert close(a.x_c + a.x_s, b.x_c + b.x_s, 0.0)
    full = mu_run(batches=data[:1], participants=who[:1], tau=[[1, 1]], eta_g=1.0)
    part = mu_run(batches=data[:1], participants=who[:1], tau=[[1, 1]], eta_g=0.25)
    x = X_C + X_S
    middle = [p + 0.25 * (f - p) for p, f in zip(x, full.x_c + full.x_s, strict=True)]
    assert close(part.x_c + part.x_s, middle)
    # weights (1, 0): the first participant alone
    alone = mu_run(batches=[[data[0][0]]])
    ignored = mu_run(batches=data[:1], participants=who[:1], tau=[[1, 3]], weights=[[1.0, 0.0]])
    assert close(alone.x_c + alone.x_s, ignored.x_c + ignored.x_s)


# HO-SFL


def ho(data: list, who: list[list[int]], u: Callable[[int, int], ref.Params], **change: object) -> ref.Result:
    arguments: dict[str, object] = {
        "client": client,
        "server": server,
        "x_c": X_C,
        "x_s": X_S,
        "batches": data,
        "participants": who,
        "K": 4,
        "u": u,
        "P": 3,
        "mu": 1e-3,
        "opt_c": SGD,
        "opt_s": SGD,
    }
    arguments.update(change)
    return ref.ho_sfl(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("opt", "tol"), [(PLAIN, 1e-5), (SGD, 1e-4), (ADAMW, 1e-3)])
def test_ho_sfl_over_a_whole_basis_is_first_order_training(opt: ref.Opt, tol: float) -> None:
    """With the d directions sqrt(d) e_p the rebuilt g is the mean gradient: one division by M, not two."""
    data, who = grid(4, 2, 1), [[0, 1], [2, 3], [1, 2], [0, 3]]
    got = ho(
        data,
        who,
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
        grid(5, 2, 1),
        [[0, 1], [0, 1], [1, 2], [0, 2], [2, 1]],
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

    one = ho(data, [[0]] * 3, u)
    two = ho([[r[0], r[0]] for r in data], [[0, 1]] * 3, u)
    assert close(one.x_c + one.x_s, two.x_c + two.x_s)


# FedAsync, FedBuff


def test_fedbuff_of_everyone_at_once_is_fedavg() -> None:
    data = grid(2, 3, 2)
    avg = ref.fedavg(model=MODEL, x=X_C + X_S, batches=data, participants=[[0, 1, 2]] * 2, E=2, opt=SGD)
    flat = [data[r][m] for r in range(2) for m in range(3)]
    buff = ref.fedbuff(
        model=MODEL,
        x=X_C + X_S,
        batches=flat,
        E=2,
        opt=SGD,
        b=3,
        arrivals=[(m, r) for r in range(2) for m in range(3)],
    )
    assert close(avg.x_c, buff.x_c)


def test_fedbuff_stale_deltas_shrink() -> None:
    data = grid(1, 2, 2)[0]
    got = ref.fedbuff(model=MODEL, x=X_C + X_S, batches=data, arrivals=[(0, 0), (1, 0)], E=2, opt=PLAIN, b=1)
    second, _ = ref.local_steps(model=MODEL, x=X_C + X_S, batches=data[1], E=2, opt=PLAIN)
    v1 = got.x_c_rounds[0]
    hand = [a + (s - x) / math.sqrt(2) for a, s, x in zip(v1, second, X_C + X_S, strict=True)]
    assert close(got.x_c, hand)
    assert got.extra["staleness"] == [0, 1]


def test_fedasync_with_alpha_one_and_no_staleness_is_sequential_training() -> None:
    data = grid(1, 4, 2)[0]
    got = ref.fedasync(
        model=MODEL, x=X_C + X_S, batches=data, arrivals=[(j, j) for j in range(4)], E=2, opt=PLAIN, alpha=1.0
    )
    assert close(got.x_c, torch_training(X_C + X_S, [b for m in data for b in m], PLAIN), 1e-10)
    stale = ref.fedasync(
        model=MODEL, x=X_C + X_S, batches=data, arrivals=[(j, 0) for j in range(4)], E=2, opt=PLAIN, alpha=0.6
    )
    assert stale.extra["a"] == pytest.approx([0.6, 0.6 / math.sqrt(2), 0.6 / math.sqrt(3), 0.3])
    hinge = [ref.staleness_weight(t, "hinge") for t in (0, 4, 5, 6)]
    assert hinge == pytest.approx([1.0, 1.0, 1 / 11, 1 / 21])


# GAS


def test_gas_moments_weighted_by_count_are_the_pooled_moments() -> None:
    """With w the number of rows the formula is exact pooling, but for the 1e-5 I it adds each time."""
    groups = [torch.randn(n, 3, generator=generator(70, n), dtype=DTYPE) for n in (4, 1, 6)]
    known = None
    jitter = 0.0
    for g in groups:
        known = ref.updated_statistics(known, list(g), float(len(g)), "full")
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
        diagonal = ref.updated_statistics(diagonal, list(g), float(len(g)), "diagonal")
    assert diagonal is not None
    assert torch.allclose(diagonal.Sig, torch.diagonal(known.Sig), atol=1e-12)


def test_gas_weights_grow_with_the_iteration() -> None:
    rows = [torch.randn(5, 2, generator=generator(71, n), dtype=DTYPE) for n in range(4)]
    known = None
    for n in range(4):
        known = ref.updated_statistics(known, list(rows[n]), float(n + 1), "full")
    assert known is not None
    means = torch.stack([r.mean(0) for r in rows])
    w = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=DTYPE) / 10.0
    assert known.S == 10.0
    assert torch.allclose(known.mu, w @ means, atol=1e-12)


def test_gas_samples_have_the_moments() -> None:
    Sig = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=DTYPE)
    known = ref.LabelStatistics(1.0, torch.tensor([1.0, -2.0], dtype=DTYPE), Sig)
    normal = torch.randn(4000, 2, generator=generator(72), dtype=DTYPE)
    draws = torch.stack([ref.generated(known, e, "full") for e in normal])
    assert torch.allclose(draws.mean(0), known.mu, atol=0.1)
    assert torch.allclose(torch.cov(draws.T), Sig, atol=0.15)


def gas_run(**change: object) -> ref.Result:
    even = [1 / 3] * 3
    arguments: dict[str, object] = {
        "client": client,
        "server": server,
        "x_c": X_C,
        "x_s": X_S,
        "batches": {k: [batch(80, k, i) for i in range(12)] for k in range(4)},
        "active": [0, 1],
        "arrivals": [0, 1, 0, 1, 0, 0],
        "replacements": {},
        "label_frequency": dict.fromkeys(range(4), even),
        "normal": lambda n, label, i: normals([torch.empty(CUT)], 81, n, label, i)[0],
        "E": 100,
        "Q_s": 100,
        "Q_c": 2,
        "B": 6,
        "n_labels": LABELS,
        "opt_c": SGD,
        "opt_s": SGD,
    }
    arguments.update(change)
    return ref.gas(**arguments)  # type: ignore[arg-type]


def test_gas_client_alone_is_training_through_a_fixed_server() -> None:
    got = gas_run()
    for k, n in [(0, 4), (1, 2)]:
        data = [batch(80, k, i) for i in range(n)]
        alone, _ = ref.local_steps(
            model=lambda x, b: server(X_S, client(x, b)), x=X_C, batches=data, E=n, opt=SGD
        )
        assert close(got.extra["clients"][k], alone)
    assert close(got.x_s, X_S, 0.0)
    assert got.extra["waiting_activations"] == 6


def test_gas_logit_adjustment_is_torchs_loss_on_shifted_logits() -> None:
    p = [0.7, 0.2, 0.1]
    got = gas_run(label_frequency={0: p, 1: p}, arrivals=[0], opt_c=PLAIN)
    bx, by = batch(80, 0, 0)
    leaf = [t.clone().requires_grad_(True) for t in X_C]
    logits = server(X_S, client(leaf, bx)) + torch.log(torch.tensor(p, dtype=DTYPE))
    loss = torch.nn.functional.cross_entropy(logits, by)
    g = torch.autograd.grad(loss, leaf)
    assert math.isclose(got.losses[0], float(loss.detach()))
    assert close(got.extra["clients"][0], [a - 0.2 * b for a, b in zip(X_C, g, strict=True)])


def test_gas_server_step_on_real_and_generated_activations() -> None:
    got = gas_run(
        arrivals=[0, 1, 0],
        Q_s=3,
        opt_s=PLAIN,
        opt_c=ref.Opt(lr=0.0),
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
    got = gas_run(
        E=2, arrivals=[0, 0, 2, 1, 1, 2, 3], replacements={1: [(0, 2)], 4: [(1, 3)], 5: [(2, None)]}, Q_s=2
    )
    early = gas_run(E=100, arrivals=[0, 0, 2, 1, 1], replacements={}, active=[0, 1, 2], Q_s=2)
    zero, one = early.extra["clients"][0], early.extra["clients"][1]
    assert close(got.x_c_rounds[0], [(a + b) / 2 for a, b in zip(zero, one, strict=True)])
    assert list(got.extra["clients"]) == [3]
    alone = gas_run(E=100, active=[2], arrivals=[2], Q_s=100)  # 2 began before the buffer was full
    still = gas_run(E=2, arrivals=[0, 0, 2], replacements={1: [(0, 2)]}, Q_s=100)
    assert close(still.extra["clients"][2], alone.extra["clients"][2])
    assert got.extra["waiting_models"] == [2]
    assert got.extra["server_steps"] == 3
    with pytest.raises(AssertionError):
        gas_run(E=1, arrivals=[0, 0])
    with pytest.raises(AssertionError):
        gas_run(E=2, arrivals=[0], replacements={0: [(0, 2)]})


# CSE-FSL, HERON-SFL


def local(function: Callable[..., ref.Result], **change: object) -> ref.Result:
    order = [[(0, 1), (1, 1), (1, 3), (0, 3)], [(1, 1), (0, 1), (0, 3), (1, 3)]]
    arguments: dict[str, object] = {
        "client": client,
        "auxiliary": auxiliary,
        "server": server,
        "x_c": X_C,
        "x_a": X_A,
        "x_s": X_S,
        "batches": grid(2, 2, 5),
        "participants": [[0, 1]] * 2,
        "E": 5,
        "q": 2,
        "order": order,
        "opt_c": SGD,
        "opt_s": SGD,
    }
    arguments.update(change)
    return function(**arguments)


def test_cse_fsl_client_side_is_fedavg_with_the_head() -> None:
    got = local(ref.cse_fsl)
    avg = ref.fedavg(
        model=ref.whole(client, auxiliary, 2),
        x=X_C + X_A,
        batches=grid(2, 2, 5),
        participants=[[0, 1]] * 2,
        E=5,
        opt=SGD,
    )
    assert close(got.x_c + got.extra["x_a"], avg.x_c)
    assert ref.sent_iterations(10, 5) == [4, 9]
    assert ref.sent_iterations(10, 5, 0) == [0, 5]


def test_cse_fsl_server_steps_on_what_arrives() -> None:
    got = local(ref.cse_fsl, opt_c=ref.Opt(lr=0.0))
    data = grid(2, 2, 5)
    order = [[(0, 1), (1, 1), (1, 3), (0, 3)], [(1, 1), (0, 1), (0, 3), (1, 3)]]
    flat = [data[r][m][i] for r in range(2) for m, i in order[r]]
    alone, losses = ref.local_steps(
        model=lambda x, b: server(x, client(X_C, b)), x=X_S, batches=flat, E=8, opt=SGD
    )
    assert close(got.x_s, alone)
    assert got.extra["server_losses"][0] + got.extra["server_losses"][1] == pytest.approx(losses)


def test_heron_over_a_whole_basis_is_cse_fsl() -> None:
    d = 27
    a = local(ref.cse_fsl)
    b = local(ref.heron_sfl, u=lambda r, m, i, p: basis(X_C + X_A, p), P=d, mu=1e-7)
    assert close(a.x_c + a.extra["x_a"] + a.x_s, b.x_c + b.extra["x_a"] + b.x_s, 1e-4)
    c = local(ref.heron_sfl, u=lambda r, m, i, p: normals(X_C + X_A, 90, r, m, i, p), mu=1e-3)
    assert not close(a.x_c, c.x_c, 1e-3)
