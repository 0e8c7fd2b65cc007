"""Client parts that are averaged in every I-th round only (MECHANISMS 4, ``aggregate_clients_every``).

Server parts are averaged each round, client parts only every I-th; between, a client goes on from its own.

Reading: rounds are counted from 1. A client without a part of its own starts from the client part of the last
average. An I-th round averages the parts of its participants; nobody has a part of its own afterwards, those
who did not take part neither. The model after a round in between is that of an average taken there.
Reading: with ``eta`` both parts move by eta from what they were (MU-SplitFed); the client part from that of
the last average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oracle.references.common import Params, Result, axpy, clone, weighted_mean

Alone = Callable[[int, int, Params, Params], tuple[Params, Params]]
"""What the m-th participant of round r makes of a client part and a server part."""


def reference(
    x_c: Params,
    x_s: Params,
    participants: Sequence[Sequence[int]],
    alone: Alone,
    every: int,
    weights: Sequence[Sequence[float]] | None = None,
    eta: float = 1.0,
) -> Result:
    """Return what is learned."""
    x_c, x_s = clone(x_c), clone(x_s)
    own: dict[int, Params] = {}
    result = Result(x_c, x_s)
    for r, ids in enumerate(participants):
        trained = [alone(r, m, own.get(ids[m], x_c), x_s) for m in range(len(ids))]
        w = None if weights is None else weights[r]
        mean_c = weighted_mean([client for client, _ in trained], w)
        mean_s = weighted_mean([server for _, server in trained], w)
        moved_c = axpy(x_c, eta, axpy(mean_c, -1.0, x_c))
        x_s = axpy(x_s, eta, axpy(mean_s, -1.0, x_s))
        if (r + 1) % every == 0:
            x_c, own = moved_c, {}
        else:
            own.update({ids[m]: trained[m][0] for m in range(len(ids))})
        result.x_c_rounds.append(moved_c)
        result.x_s_rounds.append(x_s)
    result.x_c, result.x_s = x_c, x_s
    return result
