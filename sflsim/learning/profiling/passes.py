"""The work of a part's passes as devices are charged for it, from what a forward and a backward pass count.

What counts no FLOP and takes time all the same: the step of the parameters behind a backward pass, and what
a zeroth-order step does beside its two forward passes. Both read and write all parameters, so they matter
where a batch is small.
"""

from __future__ import annotations

from sflsim.learning.network.split import Part
from sflsim.work import Kinds, Pass, Way, WorkByKind

STEP_NUMBERS = 3
"""A step reads gradient and parameter and writes the parameter."""
MOVED_NUMBERS, MOVED_OPERATIONS = 9, 4
"""Half of a two-sided step (`zeroth_order.two_sided`): a direction is drawn (1 number written for each
parameter), stacked (2), measured (1) and scaled (2); four times it is added to the parameters (3 each)."""


def passes(part: Part, forward: float, backward: float, batch_size: int) -> tuple[float, float]:
    """Return (forward, backward) as passes of this part, of what was counted; without kinds, as counted."""
    if not isinstance(forward, WorkByKind) or not isinstance(backward, WorkByKind):
        return forward, backward
    blocks = tuple(name for name, _ in part.blocks)
    parameters_bytes = float(part.dimension * part.dtype.itemsize)
    stepped = float(sum(part.is_parameter))

    def one(way: Way, counted: Kinds, memory: float, operations: float) -> WorkByKind:
        memory, operations = counted.memory + memory * parameters_bytes, counted.operations + operations
        kinds = counted._replace(memory=memory, operations=operations, passes=float(operations > 0))
        return WorkByKind(kinds, ((Pass(way, blocks, batch_size, float(forward), kinds), 1.0),))

    ahead = one("forward", forward.kinds, 0, 0)
    ahead.moved = one("zeroth-order", forward.kinds, MOVED_NUMBERS, MOVED_OPERATIONS if stepped else 0)
    return ahead, one("backward", backward.kinds, STEP_NUMBERS, stepped)
