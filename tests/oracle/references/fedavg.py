"""FedAvg (AL 17): E local first-order steps from x, then the weighted mean.

Reading: the optimizer starts fresh for each participant in each round; the mean replaces x (no server
learning rate). Reading: of a compressed model the client trains what arrives, and what arrives of it is
averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

from oracle.references.codecs import PLAIN, Wire
from oracle.references.common import Opt, Params, Part, Result, Rounds, clone, local_steps, weighted_mean


@dataclass(frozen=True)
class Settings:
    """Local iterations and the clients' optimizer."""

    E: int
    opt: Opt


def reference(model: Part, x: Params, rounds: Rounds, settings: Settings, wire: Wire = PLAIN) -> Result:
    """Return what is learned, the model in ``x_c``.

    ``model(x, batch_x) -> logits``; :func:`common.whole` joins a split model.
    """
    x = clone(x)
    result = Result(x, [])
    for r in range(len(rounds)):
        trained: list[Params] = []
        round_losses: list[list[float]] = []
        for m in range(len(rounds.participants[r])):
            x_m, losses = local_steps(model, wire.parts(x), rounds.batches[r][m], settings.E, settings.opt)
            trained.append(wire.parts(x_m))
            round_losses.append(losses)
        x = weighted_mean(trained, rounds.weights_of(r))
        result.losses.append(round_losses)
        result.x_c_rounds.append(x)
    result.x_c = x
    return result
