"""SplitFed V2 (AL 27, 28): one server model, stepped in the order in which batches arrive.

Reading: the server's optimizer state lives over the whole run, the clients' start fresh each round.
Reading: the cut gradient sent back is taken at x_s before the step of that batch.
Reading: the server's model is not averaged at the round's end (there is only one).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    weighted_mean,
)


@dataclass(frozen=True)
class Settings:
    """Local iterations and optimizers."""

    E: int
    opt_c: Opt
    opt_s: Opt


def reference(
    split: Split, rounds: Rounds, settings: Settings, order: Sequence[Sequence[tuple[int, int]]]
) -> Result:
    """Return what is learned; ``losses[round]`` is in arrival order.

    ``order[round]`` lists (position, iteration) as they reach the server; each pair of the round once, a
    participant's iterations in turn, since its next one starts after its own gradient came back.
    """
    x_c, x_s = clone(split.x_c), clone(split.x_s)
    result = Result(x_c, x_s)
    state_s = OptState()
    for r in range(len(rounds)):
        M = len(rounds.participants[r])
        client_parts = [clone(x_c) for _ in range(M)]
        states = [OptState() for _ in range(M)]
        done = [0] * M
        arrival_losses: list[float] = []
        for m, i in order[r]:
            assert done[m] == i, "a client's next batch leaves after its own gradient came back"
            batch = rounds.batches[r][m][i]
            z = client_forward(split.client, client_parts[m], batch)
            loss, g_s, cut = server_gradients(split.server, x_s, z, batch[1])
            x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
            g_c = client_backward(split.client, client_parts[m], batch, cut)
            client_parts[m], states[m] = opt_step(settings.opt_c, client_parts[m], g_c, states[m])
            done[m] = i + 1
            arrival_losses.append(loss)
        assert done == [settings.E] * M, "every participant makes E iterations"
        x_c = weighted_mean(client_parts, rounds.weights_of(r))
        result.losses.append(arrival_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result
