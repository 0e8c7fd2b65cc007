"""FSL-SAGE (MECHANISMS.md section 5): CSE-FSL whose auxiliary heads are fitted to true cut gradients.

The round is that of CSE-FSL: local steps on the head's loss, the activation of every q-th batch up, one
server part that steps on what arrives, client part and head averaged. Every l rounds, before the local steps,
the server computes the true dF/dz on what it has buffered of each participant (at most `fit_samples` samples)
and fits the head to it: `fit_epochs` epochs on the mean squared difference of the head's cut gradient and the
true one. The client trains the round with its fitted head.

Reading: rounds count from 1; nothing has been sent before round 1, so heads are fitted at the start of the
rounds after the l-th, 2 l-th, ... one.
Reading: the buffer holds the newest whole batches that a client sent, over all rounds, as long as they have
together at most `fit_samples` samples; the newest one in any case. A step is one batch, in order of arrival.
Reading: both gradients are by the activation of the *sum* of the batch's losses (so that batches of all sizes
weigh alike); the difference is averaged over all numbers of a batch.
Reading: what is fitted is a copy of the averaged head, by an optimizer of its own that starts afresh at each
fit; a participant of which nothing is buffered keeps the head that it has.
Reading: a head is averaged when its client part is, so that between two averages (`every`) a client goes on
from its own head, which the server has not got: what it fits then is the head of the last average.
Reading: client part and head travel as one message of the model, a fitted head as one of its own; the server
fits the averaged head that it holds to the activations that arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from oracle.references.client_parts import ClientParts
from oracle.references.codecs import PLAIN, Wire
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
    cross_entropy,
    gradient,
    leaves,
    opt_step,
    server_gradients,
    weighted_mean,
    whole,
)
from oracle.references.cse_fsl import Head, Order, sent_iterations


@dataclass(frozen=True)
class Settings:
    """CSE-FSL's settings and those of the fit."""

    E: int
    q: int
    opt_c: Opt
    opt_s: Opt
    opt_head: Opt
    fit_every: int
    fit_epochs: int
    fit_samples: int
    every: int = 1


def reference(
    split: Split, head: Head, rounds: Rounds, settings: Settings, order: Order, wire: Wire = PLAIN
) -> Result:
    """Return what is learned; ``order`` as in `cse_fsl`."""
    n_c = len(split.x_c)
    held, x_s = ClientParts([*split.x_c, *head.x_a], settings.every), clone(split.x_s)
    local_model = whole(split.client, head.part, n_c)
    state_s = OptState()
    buffers: dict[int, list[Batch]] = {}
    result = Result(clone(split.x_c), x_s, extra={"x_a_rounds": []})
    for r in range(len(rounds)):
        ids = rounds.participants[r]
        fits = r > 0 and r % settings.fit_every == 0
        trained: list[Params] = []
        sent: dict[tuple[int, int], Batch] = {}
        for m, k in enumerate(ids):
            both, state = held.start(k, wire), OptState()
            if fits and k in buffers:
                x_a = held.shared[n_c:]
                x_am = fitted(split.server, x_s, head.part, x_a, buffers[k], settings)
                both = [*both[:n_c], *wire.parts(x_am)]
            for i in range(settings.E):
                batch = rounds.batches[r][m][i]
                if i in sent_iterations(settings.E, settings.q):
                    sent[m, i] = (wire.up(client_forward(split.client, both[:n_c], batch)), batch[1])
                _, g = gradient(local_model, both, batch)
                both, state = opt_step(settings.opt_c, both, g, state)
            trained.append(both)
        for m, i in order[r]:
            z, y = sent[m, i]
            _, g_s, _ = server_gradients(split.server, x_s, z, y)
            x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
        for (m, _), batch in sorted(sent.items(), key=lambda item: item[0]):
            buffer = buffers.setdefault(ids[m], [])
            buffer.append(batch)
            while sum(len(y) for _, y in buffer) > settings.fit_samples and len(buffer) > 1:
                buffer.pop(0)
        trained = held.sent(trained, wire)
        mean = held.end(ids, trained, weighted_mean(trained, rounds.weights_of(r)))
        result.x_c_rounds.append(mean[:n_c])
        result.x_s_rounds.append(x_s)
        result.extra["x_a_rounds"].append(mean[n_c:])
    result.x_c, result.x_s = result.x_c_rounds[-1], x_s
    return result


def fitted(
    server: Part, x_s: Params, head: Part, x_a: Params, buffer: list[Batch], settings: Settings
) -> Params:
    """The head whose cut gradients on the buffered batches have come nearer to the server's."""
    x_a, state = clone(x_a), OptState()
    wanted = [len(y) * server_gradients(server, x_s, z, y)[2] for z, y in buffer]
    for _ in range(settings.fit_epochs):
        for (z, y), true in zip(buffer, wanted, strict=True):
            point, cut = leaves(x_a), z.detach().clone().requires_grad_(True)
            loss = len(y) * cross_entropy(head(point, cut), y)
            (own,) = torch.autograd.grad(loss, cut, create_graph=True)
            miss = torch.mean((own - true) ** 2)
            g = torch.autograd.grad(miss, point, materialize_grads=True, allow_unused=True)
            x_a, state = opt_step(settings.opt_head, x_a, [t.detach() for t in g], state)
    return x_a
