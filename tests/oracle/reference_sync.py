"""Oracles of the algorithms that learn in rounds: FedAvg, FedLoRA, SL, SplitFed V1/V2, MU-SplitFed, HO-SFL,
and the frozen-client control. Loops only; all chance and all orders are arguments.

Source: shared/ALGORITHMS.md only ("AL <line>"). Common readings, for every function here:

Reading: ``batches[round][position][iteration] = (x, y)`` where position counts the round's participants in
the order of ``participants[round]``; injected directions get the position, not the client's id.
Reading: "weighted by sample count" (AL 12) is the caller's ``weights[round][position]``, any positive scale,
divided here by their sum; None is uniform.
Reading: batch-norm running statistics (AL 14) are outside these oracles: both parts are pure functions.
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
    client_backward,
    client_forward,
    clone,
    gradient,
    loss_at,
    normalised,
    opt_step,
    server_gradients,
    shaped_direction,
    weighted_mean,
)
from torch import Tensor

Rounds = Sequence[Sequence[Sequence[Batch]]]
Participants = Sequence[Sequence[int]]


def splitfed_v1(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Rounds,
    participants: Participants,
    E: int,
    opt_c: Opt,
    opt_s: Opt,
    weights: Weights = None,
    train_client: bool = True,
) -> Result:
    """SplitFed V1 (AL 26, 28): a server replica per client, stepped on each batch; both parts averaged.

    Reading: both optimizers start fresh for each participant in each round (the page says nothing; the
    brief of this oracle does). Reading: client parts and server replicas are averaged with the same weights,
    and the average replaces the model (no server learning rate). Reading: the cut gradient is taken at the
    replica before its step on that batch. Reading: with E local iterations exactly
    ``batches[round][position][0..E-1]`` are used, in that order.
    ``losses[round][position][iteration]``.
    """
    x_c, x_s = clone(x_c), clone(x_s)
    result = Result(x_c, x_s)
    for r in range(len(participants)):
        client_parts: list[Params] = []
        replicas: list[Params] = []
        round_losses: list[list[float]] = []
        for m in range(len(participants[r])):
            x_cm, x_sm = clone(x_c), clone(x_s)
            state_c, state_s = OptState(), OptState()
            losses: list[float] = []
            for i in range(E):
                batch = batches[r][m][i]
                z = client_forward(client, x_cm, batch)
                loss, g_s, cut = server_gradients(server, x_sm, z, batch[1])
                x_sm, state_s = opt_step(opt_s, x_sm, g_s, state_s)
                if train_client:
                    g_c = client_backward(client, x_cm, batch, cut)
                    x_cm, state_c = opt_step(opt_c, x_cm, g_c, state_c)
                losses.append(loss)
            client_parts.append(x_cm)
            replicas.append(x_sm)
            round_losses.append(losses)
        w = None if weights is None else weights[r]
        if train_client:
            x_c = weighted_mean(client_parts, w)
        x_s = weighted_mean(replicas, w)
        result.losses.append(round_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result


def frozen_client(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Rounds,
    participants: Participants,
    E: int,
    opt_s: Opt,
    weights: Weights = None,
) -> Result:
    """The control (AL 71): SplitFed V1 with x_c never changed; only the server part learns."""
    return splitfed_v1(
        client=client,
        server=server,
        x_c=x_c,
        x_s=x_s,
        batches=batches,
        participants=participants,
        E=E,
        opt_c=Opt(lr=0.0),
        opt_s=opt_s,
        weights=weights,
        train_client=False,
    )


def splitfed_v2(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Rounds,
    participants: Participants,
    E: int,
    order: Sequence[Sequence[tuple[int, int]]],
    opt_c: Opt,
    opt_s: Opt,
    weights: Weights = None,
) -> Result:
    """SplitFed V2 (AL 27, 28): one server model, stepped in the order in which batches arrive.

    ``order[round]`` lists (position, iteration) as they reach the server; each pair of the round once, a
    participant's iterations in turn, since its next one starts after its own gradient came back.
    Reading: the server's optimizer state lives over the whole run, the clients' start fresh each round.
    Reading: the cut gradient sent back is taken at x_s before the step of that batch.
    Reading: the server's model is not averaged at the round's end (there is only one).
    ``losses[round]`` is in arrival order.
    """
    x_c, x_s = clone(x_c), clone(x_s)
    result = Result(x_c, x_s)
    state_s = OptState()
    for r in range(len(participants)):
        M = len(participants[r])
        client_parts = [clone(x_c) for _ in range(M)]
        states = [OptState() for _ in range(M)]
        done = [0] * M
        arrival_losses: list[float] = []
        for m, i in order[r]:
            assert done[m] == i, "a client's next batch leaves after its own gradient came back"
            batch = batches[r][m][i]
            z = client_forward(client, client_parts[m], batch)
            loss, g_s, cut = server_gradients(server, x_s, z, batch[1])
            x_s, state_s = opt_step(opt_s, x_s, g_s, state_s)
            g_c = client_backward(client, client_parts[m], batch, cut)
            client_parts[m], states[m] = opt_step(opt_c, client_parts[m], g_c, states[m])
            done[m] = i + 1
            arrival_losses.append(loss)
        assert done == [E] * M, "every participant makes E iterations"
        x_c = weighted_mean(client_parts, None if weights is None else weights[r])
        result.losses.append(arrival_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result


def mu_splitfed(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Rounds,
    participants: Participants,
    tau: Sequence[Sequence[int]],
    u_c: Callable[[int, int, int], Params],
    u_s: Callable[[int, int, int, int], Params],
    lam: float,
    eta_s: float,
    eta_c: float,
    eta_g: float,
    P: int = 1,
    direction: str = "sphere",
    client_feedback: str = "separate",
    weights: Weights = None,
) -> Result:
    """MU-SplitFed (AL 31-38): zeroth order on both sides, ``tau[round][position]`` server steps.

    ``u_c(round, position, p)`` and ``u_s(round, position, step, p)`` are raw Gaussian vectors shaped like the
    part; ``direction`` turns them into sphere directions of radius sqrt(d) over the whole part, or not.
    The participant's one batch of the round is ``batches[round][position][0]``.

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
    ``extra["delta_c"][round][position][p]``, ``extra["delta_s"][round][position][step][p]``.
    """
    assert client_feedback in ("separate", "joint")
    x_c, x_s = clone(x_c), clone(x_s)
    result = Result(x_c, x_s, extra={"delta_c": [], "delta_s": []})
    for r in range(len(participants)):
        M = len(participants[r])
        shares = normalised(None if weights is None else weights[r], M)
        client_parts: list[Params] = []
        replicas: list[Params] = []
        result.extra["delta_c"].append([])
        result.extra["delta_s"].append([])
        for m in range(M):
            batch = batches[r][m][0]
            y = batch[1]
            x_cm, x_sm = clone(x_c), clone(x_s)

            # 1. the client: z, and z+ and z- for each direction
            u_cm = [shaped_direction(u_c(r, m, p), direction) for p in range(P)]
            z = client_forward(client, x_cm, batch)
            z_plus = [client_forward(client, axpy(x_cm, lam, u_cm[p]), batch) for p in range(P)]
            z_minus = [client_forward(client, axpy(x_cm, -lam, u_cm[p]), batch) for p in range(P)]

            # 2. the server: tau steps on the same z, fresh directions at each
            all_delta_s: list[list[float]] = []
            for step in range(tau[r][m]):
                G_s = [torch.zeros_like(t) for t in x_sm]
                deltas_s: list[float] = []
                for p in range(P):
                    u = shaped_direction(u_s(r, m, step, p), direction)
                    delta = loss_at(server, axpy(x_sm, lam, u), z, y) - loss_at(
                        server, axpy(x_sm, -lam, u), z, y
                    )
                    deltas_s.append(delta)
                    G_s = axpy(G_s, delta / (2.0 * lam) / P, u)
                x_sm = axpy(x_sm, -eta_s, G_s)
                all_delta_s.append(deltas_s)

            # 3. the scalars that go down
            deltas_c: list[float] = []
            if client_feedback == "separate":
                for p in range(P):
                    deltas_c.append(
                        loss_at(server, x_sm, z_plus[p], y) - loss_at(server, x_sm, z_minus[p], y)
                    )
            else:
                G_s = [torch.zeros_like(t) for t in x_sm]
                for p in range(P):
                    u = shaped_direction(u_s(r, m, tau[r][m], p), direction)
                    delta = loss_at(server, axpy(x_sm, lam, u), z_plus[p], y) - loss_at(
                        server, axpy(x_sm, -lam, u), z_minus[p], y
                    )
                    deltas_c.append(delta)
                    G_s = axpy(G_s, delta / (2.0 * lam) / P, u)
                x_sm = axpy(x_sm, -eta_s, G_s)

            # 4. the client's step
            G_c = [torch.zeros_like(t) for t in x_cm]
            for p in range(P):
                G_c = axpy(G_c, deltas_c[p] / (2.0 * lam) / P, u_cm[p])
            x_cm = axpy(x_cm, -eta_c, G_c)

            client_parts.append(x_cm)
            replicas.append(x_sm)
            result.extra["delta_c"][r].append(deltas_c)
            result.extra["delta_s"][r].append(all_delta_s)

        # 5. x <- x + eta_g mean_m (x_m - x), both parts
        new_c, new_s = clone(x_c), clone(x_s)
        for m in range(M):
            new_c = axpy(new_c, eta_g * shares[m], axpy(client_parts[m], -1.0, x_c))
            new_s = axpy(new_s, eta_g * shares[m], axpy(replicas[m], -1.0, x_s))
        x_c, x_s = new_c, new_s
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result


def zo_splitfed(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Rounds,
    participants: Participants,
    u_c: Callable[[int, int, int], Params],
    u_s: Callable[[int, int, int, int], Params],
    lam: float,
    eta_s: float,
    eta_c: float,
    eta_g: float,
    P: int = 1,
    direction: str = "sphere",
    client_feedback: str = "separate",
    weights: Weights = None,
) -> Result:
    """ZO SplitFed (AL 29): MU-SplitFed with tau = 1."""
    return mu_splitfed(
        client=client,
        server=server,
        x_c=x_c,
        x_s=x_s,
        batches=batches,
        participants=participants,
        tau=[[1] * len(ids) for ids in participants],
        u_c=u_c,
        u_s=u_s,
        lam=lam,
        eta_s=eta_s,
        eta_c=eta_c,
        eta_g=eta_g,
        P=P,
        direction=direction,
        client_feedback=client_feedback,
        weights=weights,
    )


def fedavg(
    *,
    model: Part,
    x: Params,
    batches: Rounds,
    participants: Participants,
    E: int,
    opt: Opt,
    weights: Weights = None,
) -> Result:
    """FedAvg (AL 17): E local first-order steps from x, then the weighted mean. Model in ``x_c``.

    Reading: the optimizer starts fresh for each participant in each round; the mean replaces x (no server
    learning rate). ``model(x, batch_x) -> logits``; reference_losses.whole joins a split model.
    """
    x = clone(x)
    result = Result(x, [])
    for r in range(len(participants)):
        trained: list[Params] = []
        round_losses: list[list[float]] = []
        for m in range(len(participants[r])):
            x_m, losses = local_steps(model=model, x=x, batches=batches[r][m], E=E, opt=opt)
            trained.append(x_m)
            round_losses.append(losses)
        x = weighted_mean(trained, None if weights is None else weights[r])
        result.losses.append(round_losses)
        result.x_c_rounds.append(x)
    result.x_c = x
    return result


def local_steps(
    *, model: Part, x: Params, batches: Sequence[Batch], E: int, opt: Opt
) -> tuple[Params, list[float]]:
    """E first-order steps from x with a fresh optimizer: new parameters and the loss before each step."""
    x = clone(x)
    state = OptState()
    losses: list[float] = []
    for i in range(E):
        loss, g = gradient(model, x, batches[i])
        x, state = opt_step(opt, x, g, state)
        losses.append(loss)
    return x, losses


def fedlora(
    *,
    model: Callable[[Params, Params, object], Tensor],
    base: Params,
    x: Params,
    batches: Rounds,
    participants: Participants,
    E: int,
    opt: Opt,
    weights: Weights = None,
) -> Result:
    """FedLoRA (AL 18): FedAvg on the adapters ``x`` alone; ``model(base, adapters, batch_x) -> logits``.

    Reading: the two matrices of an adapter are averaged each by itself (not their product).
    """
    frozen = clone(base)

    def adapted(adapters: Params, batch_x: object) -> Tensor:
        return model(frozen, adapters, batch_x)

    return fedavg(
        model=adapted, x=x, batches=batches, participants=participants, E=E, opt=opt, weights=weights
    )


def sl(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Rounds,
    participants: Participants,
    E: int,
    opt_c: Opt,
    opt_s: Opt,
) -> Result:
    """Plain split learning (AL 22, 23): one client at a time, E iterations, x_c handed on; no averaging.

    Reading: clients go in the order of ``participants[round]``, and the first of the next round starts from
    the x_c of the last of this one. Reading: only x_c is handed on, so the client's optimizer starts fresh
    at every hand-over; the server's optimizer state lives over the whole run. Reading: the cut gradient is
    taken at x_s before the step of that batch. ``losses[round][position][iteration]``.
    """
    x_c, x_s = clone(x_c), clone(x_s)
    result = Result(x_c, x_s)
    state_s = OptState()
    for r in range(len(participants)):
        round_losses: list[list[float]] = []
        for m in range(len(participants[r])):
            state_c = OptState()
            losses: list[float] = []
            for i in range(E):
                batch = batches[r][m][i]
                z = client_forward(client, x_c, batch)
                loss, g_s, cut = server_gradients(server, x_s, z, batch[1])
                x_s, state_s = opt_step(opt_s, x_s, g_s, state_s)
                g_c = client_backward(client, x_c, batch, cut)
                x_c, state_c = opt_step(opt_c, x_c, g_c, state_c)
                losses.append(loss)
            round_losses.append(losses)
        result.losses.append(round_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result


def ho_sfl(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Rounds,
    participants: Participants,
    K: int,
    u: Callable[[int, int], Params],
    P: int,
    mu: float,
    opt_c: Opt,
    opt_s: Opt,
    direction: str = "gaussian",
    weights: Weights = None,
) -> Result:
    """HO-SFL (AL 48-54): first-order server, zeroth-order clients, only scalars sent.

    ``u(round, p)`` is the raw Gaussian of the round's p-th shared seed. A participant's batch of the step is
    ``batches[round][position][0]``. ``extra["clients"]``: the x_c of each of the K clients once it has
    replayed the whole history (asserted identical); ``extra["vbar"][round][p]``;
    ``extra["v"][round][position][p]``.

    Reading: lam_m is the cut gradient of client m's own mean loss, at x_s before the step, not divided by M;
    M enters once in the server's mean gradient and once, and only once, in vbar (AL 58).
    Reading: both means are uniform by default ("mean of the M gradients", "mean_m"); ``weights`` puts the
    same weights in both.
    Reading: optimizer states (server and clients) live over the whole run.
    Reading: perturbing "in place" and restoring is x_c + mu u and back with no rounding left over.
    Reading: a client that sits a round out replays it before its next forward, or at the run's end.
    Reading: direction is N(0, I) (AL 52); "sphere" is allowed as an option.
    """
    x_s = clone(x_s)
    state_s = OptState()
    held = [clone(x_c) for _ in range(K)]  # what each client holds
    states = [OptState() for _ in range(K)]
    replayed = [0] * K  # how much of the history each client has applied
    history: list[list[float]] = []  # vbar of every round; the seeds are (round, p)
    result = Result(clone(x_c), x_s, extra={"v": [], "vbar": history})

    def catch_up(k: int) -> None:
        while replayed[k] < len(history):
            r_old = replayed[k]
            g = [torch.zeros_like(t) for t in held[k]]
            for p in range(P):
                g = axpy(g, history[r_old][p] / (P * mu), shaped_direction(u(r_old, p), direction))
            held[k], states[k] = opt_step(opt_c, held[k], g, states[k])
            replayed[k] = r_old + 1

    for r in range(len(participants)):
        M = len(participants[r])
        shares = normalised(None if weights is None else weights[r], M)
        for k in participants[r]:
            catch_up(k)

        # 1. and 2.: forward, server's forward and backward, one server step from the mean gradient
        zs: list[Tensor] = []
        lams: list[Tensor] = []
        losses: list[float] = []
        g_mean = [torch.zeros_like(t) for t in x_s]
        for m in range(M):
            batch = batches[r][m][0]
            z_m = client_forward(client, held[participants[r][m]], batch)
            loss, g_s, lam_m = server_gradients(server, x_s, z_m, batch[1])
            g_mean = axpy(g_mean, shares[m], g_s)
            zs.append(z_m)
            lams.append(lam_m)
            losses.append(loss)
        x_s, state_s = opt_step(opt_s, x_s, g_mean, state_s)

        # 3. the scalars
        v: list[list[float]] = []
        for m in range(M):
            k = participants[r][m]
            v_m: list[float] = []
            for p in range(P):
                perturbed = axpy(held[k], mu, shaped_direction(u(r, p), direction))
                z_mp = client_forward(client, perturbed, batches[r][m][0])
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
        for k in participants[r]:
            catch_up(k)

        result.losses.append(losses)
        result.extra["v"].append(v)
        result.x_s_rounds.append(x_s)
        result.x_c_rounds.append(clone(held[participants[r][0]]))

    # 5. those that sat out
    for k in range(K):
        catch_up(k)
    for k in range(1, K):
        for i in range(len(held[0])):
            assert torch.equal(held[k][i], held[0][i]), "all clients hold the same x_c"
    result.x_c, result.x_s = held[0], x_s
    result.extra["clients"] = held
    return result
