"""MU-SplitFed (AL 31-38): zeroth order on both sides, ``tau[round][position]`` server steps.

Step 2 (AL 35): G_s = mean_p (F(x_s + lam u; z) - F(x_s - lam u; z)) / (2 lam) u at the current replica.
Step 3 (AL 36): delta_c,p = F(x_s^tau; z+_p) - F(x_s^tau; z-_p); joint: F(x_s^tau + lam u_s; z+_p) -
F(x_s^tau - lam u_s; z-_p), after which x_s <- x_s^tau - eta_s mean_p delta_c,p / (2 lam) u_s,p.
Step 4 (AL 37): x_c <- x_c - eta_c mean_p delta_c,p / (2 lam) u_c,p. Step 5 (AL 38).

Reading: with P > 1 the client sends P pairs z±_p, one per direction, and the server answers P scalars;
the P estimates, not P steps, are averaged (all taken at the same point).
Reading: joint takes a fresh server direction, ``u_s(round, position, tau, p)`` (step index tau, one past
the tau steps), pairs the p-th server direction with the p-th client direction, and the client's update
uses the joint delta too.
Reading: joint's extra step is one step after the tau, not one of them.
Reading: plain steps with eta_s and eta_c: no momentum, no optimizer.
Reading: weights are uniform by default (AL 12) and the same for both parts in step 5.
Reading: one local iteration per round. tau = 0 means no server step.
Reading: every one of z, z+ and z- is a message of its own; of a compressed client part the client starts from
what arrives, and what arrives of it is averaged, while x in step 5 is the Fed Server's own.
Reading: with averages in every I-th round only, x in step 5 is the client part of the last average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from oracle.references.client_parts import ClientParts
from oracle.references.codecs import PLAIN, Wire
from oracle.references.common import (
    Params,
    Result,
    Rounds,
    Split,
    axpy,
    client_forward,
    clone,
    loss_at,
    normalised,
    shaped_direction,
)

ClientDirection = Callable[[int, int, int], Params]  # (round, position, p)
ServerDirection = Callable[[int, int, int, int], Params]  # (round, position, step, p)


@dataclass(frozen=True)
class Settings:
    """Smoothing radius, learning rates, directions per estimate, and their kind."""

    lam: float
    eta_s: float
    eta_c: float
    eta_g: float
    P: int = 1
    direction: str = "sphere"
    client_feedback: str = "separate"
    every: int = 1


def reference(
    split: Split,
    rounds: Rounds,
    settings: Settings,
    tau: Sequence[Sequence[int]],
    u_c: ClientDirection,
    u_s: ServerDirection,
    wire: Wire = PLAIN,
) -> Result:
    """Return what is learned, ``extra["delta_c"][round][position][p]`` and ``["delta_s"][...][step][p]``.

    ``u_c`` and ``u_s`` are raw Gaussian vectors shaped like the part; ``direction`` turns them into sphere
    directions of radius sqrt(d) over the whole part, or not. The participant's one batch of the round is
    ``batches[round][position][0]``.
    """
    assert settings.client_feedback in ("separate", "joint")
    client, server, lam, P = split.client, split.server, settings.lam, settings.P
    held, x_s = ClientParts(split.x_c, settings.every), clone(split.x_s)
    x_c = clone(split.x_c)
    result = Result(x_c, x_s, extra={"delta_c": [], "delta_s": []})
    for r in range(len(rounds)):
        ids = rounds.participants[r]
        M = len(ids)
        shares = normalised(rounds.weights_of(r), M)
        client_parts: list[Params] = []
        replicas: list[Params] = []
        result.extra["delta_c"].append([])
        result.extra["delta_s"].append([])
        for m in range(M):
            batch = rounds.batches[r][m][0]
            y = batch[1]
            x_cm, x_sm = held.start(ids[m], wire), clone(x_s)

            # 1. the client: z, and z+ and z- for each direction
            u_cm = [shaped_direction(u_c(r, m, p), settings.direction) for p in range(P)]
            z = wire.up(client_forward(client, x_cm, batch))
            z_plus = [wire.up(client_forward(client, axpy(x_cm, lam, u_cm[p]), batch)) for p in range(P)]
            z_minus = [wire.up(client_forward(client, axpy(x_cm, -lam, u_cm[p]), batch)) for p in range(P)]

            # 2. the server: tau steps on the same z, fresh directions at each
            all_delta_s: list[list[float]] = []
            for step in range(tau[r][m]):
                G_s = [torch.zeros_like(t) for t in x_sm]
                deltas_s: list[float] = []
                for p in range(P):
                    u = shaped_direction(u_s(r, m, step, p), settings.direction)
                    delta = loss_at(server, axpy(x_sm, lam, u), z, y) - loss_at(
                        server, axpy(x_sm, -lam, u), z, y
                    )
                    deltas_s.append(delta)
                    G_s = axpy(G_s, delta / (2.0 * lam) / P, u)
                x_sm = axpy(x_sm, -settings.eta_s, G_s)
                all_delta_s.append(deltas_s)

            # 3. the scalars that go down
            deltas_c: list[float] = []
            if settings.client_feedback == "separate":
                for p in range(P):
                    deltas_c.append(
                        loss_at(server, x_sm, z_plus[p], y) - loss_at(server, x_sm, z_minus[p], y)
                    )
            else:
                G_s = [torch.zeros_like(t) for t in x_sm]
                for p in range(P):
                    u = shaped_direction(u_s(r, m, tau[r][m], p), settings.direction)
                    delta = loss_at(server, axpy(x_sm, lam, u), z_plus[p], y) - loss_at(
                        server, axpy(x_sm, -lam, u), z_minus[p], y
                    )
                    deltas_c.append(delta)
                    G_s = axpy(G_s, delta / (2.0 * lam) / P, u)
                x_sm = axpy(x_sm, -settings.eta_s, G_s)

            # 4. the client's step
            G_c = [torch.zeros_like(t) for t in x_cm]
            for p in range(P):
                G_c = axpy(G_c, deltas_c[p] / (2.0 * lam) / P, u_cm[p])
            x_cm = axpy(x_cm, -settings.eta_c, G_c)

            client_parts.append(x_cm)
            replicas.append(x_sm)
            result.extra["delta_c"][r].append(deltas_c)
            result.extra["delta_s"][r].append(all_delta_s)

        # 5. x <- x + eta_g mean_m (x_m - x), both parts
        x, client_parts = held.shared, held.sent(client_parts, wire)
        new_c, new_s = clone(x), clone(x_s)
        for m in range(M):
            new_c = axpy(new_c, settings.eta_g * shares[m], axpy(client_parts[m], -1.0, x))
            new_s = axpy(new_s, settings.eta_g * shares[m], axpy(replicas[m], -1.0, x_s))
        x_c, x_s = held.end(ids, client_parts, new_c), new_s
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result
