"""HO-SFL (AL 48-54): first-order server, zeroth-order clients, only scalars sent.

Reading: lam_m is the cut gradient of client m's own mean loss, at x_s before the step, not divided by M;
M enters once in the server's mean gradient and once, and only once, in vbar (AL 58).
Reading: both means are uniform by default ("mean of the M gradients", "mean_m"); ``weights`` puts the
same weights in both.
Reading: optimizer states (server and clients) live over the whole run.
Reading: perturbing "in place" and restoring is x_c + mu u and back with no rounding left over.
Reading: a client that sits a round out replays it before its next forward, or at the run's end.
Reading: the scalars are made at the client, of what it computes and of the cut gradient that arrives; only
the server sees what arrives of z. Each client's gradient is sent before it is weighed.
Reading: direction is N(0, I) (AL 52); "sphere" is allowed as an option.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from oracle.references.codecs import PLAIN, Wire
from oracle.references.common import (
    Opt,
    OptState,
    Params,
    Result,
    Rounds,
    Split,
    axpy,
    client_forward,
    clone,
    normalised,
    opt_step,
    server_gradients,
    shaped_direction,
)
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """Clients, directions per step, smoothing radius, optimizers, kind of direction."""

    K: int
    P: int
    mu: float
    opt_c: Opt
    opt_s: Opt
    direction: str = "gaussian"


def reference(
    split: Split, rounds: Rounds, settings: Settings, u: Callable[[int, int], Params], wire: Wire = PLAIN
) -> Result:
    """Return what is learned, ``extra["vbar"][round][p]`` and ``extra["v"][round][position][p]``.

    ``u(round, p)`` is the raw Gaussian of the round's p-th shared seed. A participant's batch of the step is
    ``batches[round][position][0]``. ``extra["clients"]``: the x_c of each of the K clients once it has
    replayed the whole history (asserted identical).
    """
    client, P, mu = split.client, settings.P, settings.mu
    x_s = clone(split.x_s)
    state_s = OptState()
    held = [clone(split.x_c) for _ in range(settings.K)]  # what each client holds
    states = [OptState() for _ in range(settings.K)]
    replayed = [0] * settings.K  # how much of the history each client has applied
    history: list[list[float]] = []  # vbar of every round; the seeds are (round, p)
    result = Result(clone(split.x_c), x_s, extra={"v": [], "vbar": history})

    def direction(r: int, p: int) -> Params:
        return shaped_direction(u(r, p), settings.direction)

    def catch_up(k: int) -> None:
        while replayed[k] < len(history):
            r_old = replayed[k]
            g = [torch.zeros_like(t) for t in held[k]]
            for p in range(P):
                g = axpy(g, history[r_old][p] / (P * mu), direction(r_old, p))
            held[k], states[k] = opt_step(settings.opt_c, held[k], g, states[k])
            replayed[k] = r_old + 1

    for r in range(len(rounds)):
        participants, batches = rounds.participants[r], rounds.batches[r]
        M = len(participants)
        shares = normalised(rounds.weights_of(r), M)
        for k in participants:
            catch_up(k)

        # 1. and 2.: forward, server's forward and backward, one server step from the mean gradient
        zs: list[Tensor] = []
        lams: list[Tensor] = []
        losses: list[float] = []
        g_mean = [torch.zeros_like(t) for t in x_s]
        for m in range(M):
            batch = batches[m][0]
            z_m = client_forward(client, held[participants[m]], batch)
            loss, g_s, lam_m = server_gradients(split.server, x_s, wire.up(z_m), batch[1])
            g_mean = axpy(g_mean, shares[m], g_s)
            zs.append(z_m)
            lams.append(wire.down(lam_m, z_m))
            losses.append(loss)
        x_s, state_s = opt_step(settings.opt_s, x_s, g_mean, state_s)

        # 3. the scalars
        v: list[list[float]] = []
        for m in range(M):
            v_m: list[float] = []
            for p in range(P):
                perturbed = axpy(held[participants[m]], mu, direction(r, p))
                z_mp = client_forward(client, perturbed, batches[m][0])
                v_m.append(float(torch.sum(lams[m] * (z_mp - zs[m]))))
            v.append(v_m)

        # 4. their mean, and the same step everywhere
        vbar: list[float] = []
        for p in range(P):
            total = 0.0
            for m in range(M):
                total = total + shares[m] * v[m][p]
            vbar.append(total)
        history.append(vbar)
        for k in participants:
            catch_up(k)

        result.losses.append(losses)
        result.extra["v"].append(v)
        result.x_s_rounds.append(x_s)
        result.x_c_rounds.append(clone(held[participants[0]]))

    # 5. those that sat out
    for k in range(settings.K):
        catch_up(k)
    for k in range(1, settings.K):
        for i in range(len(held[0])):
            assert torch.equal(held[k][i], held[0][i]), "all clients hold the same x_c"
    result.x_c, result.x_s = held[0], x_s
    result.extra["clients"] = held
    return result
