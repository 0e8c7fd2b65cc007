"""Client parts that are averaged in every I-th round (AdaptSFL, MECHANISMS.md section 4).

Server parts are averaged in each round. Between two averages of client parts a client goes on from its own.

Reading: rounds count from 1; the I-th, 2 I-th, ... average. Who takes part in such a round for the first time
since the last average starts from that average, and a client that is not in it loses its own part: after it
everybody starts from the new one. An average is over the participants of its round.
Reading: a part is a message only where it is pulled from an average or pushed to one.
Reading: between averages, what is evaluated is the mean of the participants' parts, which nobody starts from.
"""

from __future__ import annotations

from collections.abc import Sequence

from oracle.references.codecs import PLAIN, Wire
from oracle.references.common import Params, clone


class ClientParts:
    """What each client holds, from round to round."""

    def __init__(self, x: Params, every: int = 1) -> None:
        self.shared, self.every, self.round = clone(x), every, 0
        self.own: dict[int, Params] = {}

    def start(self, client: int, wire: Wire = PLAIN) -> Params:
        """Return what a client begins a round with: its own, or what arrives of the average."""
        return clone(self.own[client]) if client in self.own else wire.parts(clone(self.shared))

    def sent(self, parts: Sequence[Params], wire: Wire) -> list[Params]:
        """Return the parts at the end of a round: what arrives of them, if they are averaged."""
        averages = (self.round + 1) % self.every == 0
        return [wire.parts(x) if averages else x for x in parts]

    def end(self, ids: Sequence[int], parts: Sequence[Params], mean: Params) -> Params:
        """End a round whose participants hold `parts`; return its mean, which is evaluated."""
        self.round += 1
        if self.round % self.every == 0:
            self.shared, self.own = clone(mean), {}
        else:
            self.own.update({k: clone(x) for k, x in zip(ids, parts, strict=True)})
        return clone(mean)
