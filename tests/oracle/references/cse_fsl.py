"""CSE-FSL (AL 69): first-order local loss at an auxiliary head, activations sent every q batches.

Reading: client part and head are trained together by one optimizer, fresh for each participant in each
round, on mean cross entropy of the head. Reading: what is sent is the activation of the forward pass of
that iteration, that is before its local step. Reading: the server's optimizer state lives over the run;
everything sent in a round reaches the server (no loss on the client depends on when).
Reading: client part and head are averaged with the same weights; the one server model is not averaged.
Reading: a tail of fewer than q batches at the round's end sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oracle.references.common import (
    Batch,
    Opt,
    OptState,
    Params,
    Part,
    Result,
    Rounds,
    Split,
    client_forward,
    clone,
    gradient,
    opt_step,
    server_gradients,
    weighted_mean,
    whole,
)
from torch import Tensor

Order = Sequence[Sequence[tuple[int, int]]]  # of each round: (position, iteration) sent, as they arrive
LocalGradient = Callable[[int, int, int, Params, Batch], tuple[float, Params]]


@dataclass(frozen=True)
class Head:
    """The auxiliary head, ``part(params_a, z) -> logits``, and its first parameters."""

    part: Part
    x_a: Params


@dataclass(frozen=True)
class Settings:
    """Local iterations, which of them are sent, and optimizers; ``phase`` as in `sent_iterations`."""

    E: int
    q: int
    opt_c: Opt
    opt_s: Opt
    phase: int | None = None


def sent_iterations(E: int, q: int, phase: int | None = None) -> list[int]:
    """The iterations of a round whose activations are sent: every q-th (AL 69).

    Reading: the q-th, 2q-th, ... batch of the round, that is ``i % q == q - 1`` for i from 0; the count
    starts anew each round. ``phase`` puts another remainder in the place of q - 1 (0: the first of each q).
    """
    remainder = q - 1 if phase is None else phase
    return [i for i in range(E) if i % q == remainder]


def reference(split: Split, head: Head, rounds: Rounds, settings: Settings, order: Order) -> Result:
    """Return what is learned, the head in ``extra["x_a"]``; which activations are sent: `sent_iterations`."""
    model = whole(split.client, head.part, len(split.x_c))

    def first_order(r: int, m: int, i: int, both: Params, batch: Batch) -> tuple[float, Params]:
        return gradient(model, both, batch)

    return local_loss(split, head, rounds, settings, order, first_order)


def local_loss(
    split: Split,
    head: Head,
    rounds: Rounds,
    settings: Settings,
    order: Order,
    local_gradient: LocalGradient,
) -> Result:
    """Return what is learned if ``local_gradient(round, position, iteration, x_c + x_a, batch)`` steps."""
    x_c, x_a, x_s = clone(split.x_c), clone(head.x_a), clone(split.x_s)
    n_c = len(x_c)
    result = Result(x_c, x_s, extra={"x_a_rounds": [], "server_losses": []})
    state_s = OptState()
    sent = sent_iterations(settings.E, settings.q, settings.phase)
    for r in range(len(rounds)):
        parts: list[Params] = []
        heads: list[Params] = []
        in_flight: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        round_losses: list[list[float]] = []
        for m in range(len(rounds.participants[r])):
            both = clone(x_c) + clone(x_a)
            state = OptState()
            losses: list[float] = []
            for i in range(settings.E):
                batch = rounds.batches[r][m][i]
                if i in sent:
                    in_flight[(m, i)] = (client_forward(split.client, both[:n_c], batch), batch[1])
                loss, g = local_gradient(r, m, i, both, batch)
                both, state = opt_step(settings.opt_c, both, g, state)
                losses.append(loss)
            parts.append(both[:n_c])
            heads.append(both[n_c:])
            round_losses.append(losses)
        server_losses: list[float] = []
        assert sorted(order[r]) == sorted(in_flight), "what was sent arrives, once"
        for m, i in order[r]:
            z, y = in_flight[(m, i)]
            loss, g_s, _ = server_gradients(split.server, x_s, z, y)
            x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
            server_losses.append(loss)
        x_c = weighted_mean(parts, rounds.weights_of(r))
        x_a = weighted_mean(heads, rounds.weights_of(r))
        result.losses.append(round_losses)
        result.x_c_rounds.append(x_c)
        result.x_s_rounds.append(x_s)
        result.extra["x_a_rounds"].append(x_a)
        result.extra["server_losses"].append(server_losses)
    result.x_c, result.x_s = x_c, x_s
    result.extra["x_a"] = x_a
    return result
