"""FedLoRA (AL 18): FedAvg on the adapters alone.

Reading: the two matrices of an adapter are averaged each by itself (not their product).
"""

from __future__ import annotations

from collections.abc import Callable

from oracle.references import fedavg
from oracle.references.common import Params, Result, Rounds, clone
from oracle.references.fedavg import Settings
from torch import Tensor


def reference(
    model: Callable[[Params, Params, object], Tensor],
    base: Params,
    x: Params,
    rounds: Rounds,
    settings: Settings,
) -> Result:
    """Return what is learned, the adapters in ``x_c``; ``model(base, adapters, batch_x) -> logits``."""
    frozen = clone(base)

    def adapted(adapters: Params, batch_x: object) -> Tensor:
        return model(frozen, adapters, batch_x)

    return fedavg.reference(adapted, x, rounds, settings)
