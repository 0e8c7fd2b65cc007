"""Oracles of the algorithms with a local loss at the client: CSE-FSL and HERON-SFL.

Source: shared/ALGORITHMS.md only ("AL <line>").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from reference_losses import (
    Batch,
    Opt,
    OptState,
    Params,
    Part,
    Result,
    Weights,
    axpy,
    client_forward,
    clone,
    gradient,
    loss_at,
    opt_step,
    server_gradients,
    shaped_direction,
    weighted_mean,
    whole,
)
from torch import Tensor

LocalGradient = Callable[[int, int, int, Params, Batch], tuple[float, Params]]


def sent_iterations(E: int, q: int, phase: int | None = None) -> list[int]:
    """The iterations of a round whose activations are sent: every q-th (AL 69).

    Reading: the q-th, 2q-th, ... batch of the round, that is ``i % q == q - 1`` for i from 0; the count
    starts anew each round. ``phase`` puts another remainder in the place of q - 1 (0: the first of each q).
    """
    remainder = q - 1 if phase is None else phase
    return [i for i in range(E) if i % q == remainder]


def _local_loss(
    *,
    local_gradient: LocalGradient,
    client: Part,
    server: Part,
    x_c: Params,
    x_a: Params,
    x_s: Params,
    batches: Sequence[Sequence[Sequence[Batch]]],
    participants: Sequence[Sequence[int]],
    E: int,
    q: int,
    order: Sequence[Sequence[tuple[int, int]]],
    opt_c: Opt,
    opt_s: Opt,
    weights: Weights,
    phase: int | None,
) -> Result:
    x_c, x_a, x_s = clone(x_c), clone(x_a), clone(x_s)
    n_c = len(x_c)
    result = Result(x_c, x_s, extra={"x_a_rounds": [], "server_losses": []})
    state_s = OptState()
    sent = sent_iterations(E, q, phase)
    for r in range(len(participants)):
        M = len(participants[r])
        parts: list[Params] = []
        heads: list[Params] = []
        in_flight: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        round_losses: list[list[float]] = []
        for m in range(M):
            both = clone(x_c) + clone(x_a)
            state = OptState()
            losses: list[float] = []
            for i in range(E):
                batch = batches[r][m][i]
                if i in sent:
                    in_flight[(m, i)] = (client_forward(client, both[:n_c], batch), batch[1])
                loss, g = local_gradient(r, m, i, both, batch)
                both, state = opt_step(opt_c, both, g, state)
                losses.append(loss)
            parts.append(both[:n_c])
            heads.append(both[n_c:])
            round_losses.append(losses)
        server_losses: list[float] = []
        assert sorted(order[r]) == sorted(in_flight), "what was sent arrives, once"
        for m, i in order[r]:
            z, y = in_flight[(m, i)]
            loss, g_s, _ = server_gradients(server, x_s, z, y)
            x_s, state_s = opt_step(opt_s, x_s, g_s, state_s)
            server_losses.append(loss)
        w = None if weights is None else weights[r]
        x_c = weighted_mean(parts, w)
        x_a = weighted_mean(heads, w)
        result.losses.append(round_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
        result.extra["x_a_rounds"].append(x_a)
        result.extra["server_losses"].append(server_losses)
    result.x_c, result.x_s = x_c, x_s
    result.extra["x_a"] = x_a
    return result


def cse_fsl(
    *,
    client: Part,
    auxiliary: Part,
    server: Part,
    x_c: Params,
    x_a: Params,
    x_s: Params,
    batches: Sequence[Sequence[Sequence[Batch]]],
    participants: Sequence[Sequence[int]],
    E: int,
    q: int,
    order: Sequence[Sequence[tuple[int, int]]],
    opt_c: Opt,
    opt_s: Opt,
    weights: Weights = None,
    phase: int | None = None,
) -> Result:
    """CSE-FSL (AL 69): first-order local loss at an auxiliary head, activations sent every q batches.

    ``auxiliary(params_a, z) -> logits``. ``order[round]``: the (position, iteration) pairs sent, in order of
    arrival; which are sent: :func:`sent_iterations`. ``extra["x_a"]``: the head.

    Reading: client part and head are trained together by one optimizer, fresh for each participant in each
    round, on mean cross entropy of the head. Reading: what is sent is the activation of the forward pass of
    that iteration, that is before its local step. Reading: the server's optimizer state lives over the run;
    everything sent in a round reaches the server (no loss on the client depends on when).
    Reading: client part and head are averaged with the same weights; the one server model is not averaged.
    Reading: a tail of fewer than q batches at the round's end sends nothing.
    """
    n_c = len(x_c)
    model = whole(client, auxiliary, n_c)

    def local_gradient(r: int, m: int, i: int, both: Params, batch: Batch) -> tuple[float, Params]:
        return gradient(model, both, batch)

    return _local_loss(
        local_gradient=local_gradient,
        client=client,
        server=server,
        x_c=x_c,
        x_a=x_a,
        x_s=x_s,
        batches=batches,
        participants=participants,
        E=E,
        q=q,
        order=order,
        opt_c=opt_c,
        opt_s=opt_s,
        weights=weights,
        phase=phase,
    )


def heron_sfl(
    *,
    client: Part,
    auxiliary: Part,
    server: Part,
    x_c: Params,
    x_a: Params,
    x_s: Params,
    batches: Sequence[Sequence[Sequence[Batch]]],
    participants: Sequence[Sequence[int]],
    E: int,
    q: int,
    order: Sequence[Sequence[tuple[int, int]]],
    u: Callable[[int, int, int, int], Params],
    mu: float,
    opt_c: Opt,
    opt_s: Opt,
    P: int = 1,
    direction: str = "sphere",
    weights: Weights = None,
    phase: int | None = None,
) -> Result:
    """HERON-SFL (AL 70): CSE-FSL with zeroth-order client steps on the auxiliary loss; server first order.

    ``g = 1/P sum_p (F(x + mu u_p) - F(x)) / mu u_p``; ``u(round, position, iteration, p)`` is a raw Gaussian
    list shaped like ``x_c + x_a`` (client tensors first).

    Reading: one direction over client part and head together, on the sphere of radius sqrt(d_c + d_a); the
    head too is trained without gradients. Reading: the estimate goes through the client's optimizer.
    Reading: the page names neither the step mu nor P; P = 1 by default. The rest as in :func:`cse_fsl`.
    """
    n_c = len(x_c)
    model = whole(client, auxiliary, n_c)

    def local_gradient(r: int, m: int, i: int, both: Params, batch: Batch) -> tuple[float, Params]:
        base = loss_at(model, both, batch[0], batch[1])
        g = [torch.zeros_like(t) for t in both]
        for p in range(P):
            u_p = shaped_direction(u(r, m, i, p), direction)
            moved = loss_at(model, axpy(both, mu, u_p), batch[0], batch[1])
            g = axpy(g, (moved - base) / mu / P, u_p)
        return base, g

    return _local_loss(
        local_gradient=local_gradient,
        client=client,
        server=server,
        x_c=x_c,
        x_a=x_a,
        x_s=x_s,
        batches=batches,
        participants=participants,
        E=E,
        q=q,
        order=order,
        opt_c=opt_c,
        opt_s=opt_s,
        weights=weights,
        phase=phase,
    )
