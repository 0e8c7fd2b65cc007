"""Plain split learning (AL 22, 23): one client at a time, E iterations, x_c handed on; no averaging.

Reading: clients go in the order of ``participants[round]``, and the first of the next round starts from the
x_c of the last of this one. Reading: only x_c is handed on, so the client's optimizer starts fresh at every
hand-over; the server's optimizer state lives over the whole run. Reading: the cut gradient is taken at x_s
before the step of that batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from oracle.references.common import (
    Opt,
    OptState,
    Result,
    Rounds,
    Split,
    client_backward,
    client_forward,
    clone,
    opt_step,
    server_gradients,
)


@dataclass(frozen=True)
class Settings:
    """Iterations of a turn, and optimizers."""

    E: int
    opt_c: Opt
    opt_s: Opt


def reference(split: Split, rounds: Rounds, settings: Settings) -> Result:
    """Return what is learned; ``losses[round][position][iteration]``. Weights are not used."""
    x_c, x_s = clone(split.x_c), clone(split.x_s)
    result = Result(x_c, x_s)
    state_s = OptState()
    for r in range(len(rounds)):
        round_losses: list[list[float]] = []
        for m in range(len(rounds.participants[r])):
            state_c = OptState()
            losses: list[float] = []
            for i in range(settings.E):
                batch = rounds.batches[r][m][i]
                z = client_forward(split.client, x_c, batch)
                loss, g_s, cut = server_gradients(split.server, x_s, z, batch[1])
                x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
                g_c = client_backward(split.client, x_c, batch, cut)
                x_c, state_c = opt_step(settings.opt_c, x_c, g_c, state_c)
                losses.append(loss)
            round_losses.append(losses)
        result.losses.append(round_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result
