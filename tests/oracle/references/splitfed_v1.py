"""SplitFed V1 (AL 26, 28): a server replica per client, stepped on each batch; both parts averaged.

Reading: both optimizers start fresh for each participant in each round (the page says nothing; the brief of
this oracle does). Reading: client parts and server replicas are averaged with the same weights, and the
average replaces the model (no server learning rate). Reading: the cut gradient is taken at the replica before
its step on that batch. Reading: with E local iterations exactly ``batches[round][position][0..E-1]`` are
used, in that order.
Reading: of a compressed model the client trains what arrives, and what arrives of it is averaged; between
averages of client parts (`every`) no part travels.
"""

from __future__ import annotations

from dataclasses import dataclass

from oracle.references.client_parts import ClientParts
from oracle.references.codecs import PLAIN, Wire
from oracle.references.common import (
    Opt,
    OptState,
    Params,
    Result,
    Rounds,
    Split,
    client_backward,
    client_forward,
    clone,
    opt_step,
    server_gradients,
    weighted_mean,
)


@dataclass(frozen=True)
class Settings:
    """Local iterations and optimizers; a client part that is not trained stays as it is."""

    E: int
    opt_c: Opt
    opt_s: Opt
    train_client: bool = True
    every: int = 1


def reference(split: Split, rounds: Rounds, settings: Settings, wire: Wire = PLAIN) -> Result:
    """Return what is learned; ``losses[round][position][iteration]``."""
    held, x_c, x_s = ClientParts(split.x_c, settings.every), clone(split.x_c), clone(split.x_s)
    result = Result(x_c, x_s)
    for r in range(len(rounds)):
        client_parts: list[Params] = []
        replicas: list[Params] = []
        round_losses: list[list[float]] = []
        ids = rounds.participants[r]
        for m in range(len(ids)):
            x_cm, x_sm = held.start(ids[m], wire), clone(x_s)
            state_c, state_s = OptState(), OptState()
            losses: list[float] = []
            for i in range(settings.E):
                batch = rounds.batches[r][m][i]
                z = client_forward(split.client, x_cm, batch)
                loss, g_s, cut = server_gradients(split.server, x_sm, wire.up(z), batch[1])
                x_sm, state_s = opt_step(settings.opt_s, x_sm, g_s, state_s)
                if settings.train_client:
                    g_c = client_backward(split.client, x_cm, batch, wire.down(cut, z))
                    x_cm, state_c = opt_step(settings.opt_c, x_cm, g_c, state_c)
                losses.append(loss)
            client_parts.append(x_cm)
            replicas.append(x_sm)
            round_losses.append(losses)
        if settings.train_client:
            client_parts = held.sent(client_parts, wire)
            x_c = held.end(ids, client_parts, weighted_mean(client_parts, rounds.weights_of(r)))
        x_s = weighted_mean(replicas, rounds.weights_of(r))
        result.losses.append(round_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result
