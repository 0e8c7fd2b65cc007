"""What a training step or a forward pass holds in memory at its worst moment, found without data.

The very step is run on torch's meta device while every storage is followed from its birth to its
death: parameters, gradients as they come, what is saved for backward and freed on the way,
temporaries of single operations. Compared with the resident memory of real processes in
tests/scenarios/test_memory.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Peak:
    """Bytes alive at the worst moment, beside parameters and what else was there before."""

    gradients_bytes: int
    others_bytes: int
    """Saved for backward, and temporaries."""

    @property
    def total_bytes(self) -> int:
        """Return the sum."""
        return self.gradients_bytes + self.others_bytes


class Storages(TorchDispatchMode):
    """Follows every storage that operations make; what was there before is not counted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self._events: list[tuple[int, int]] = []  # number of a storage, bytes born or (below 0) gone
        self._numbers: dict[int, int] = {}  # address of a living storage -> its number
        self._births = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {
            tensor.untyped_storage()._cdata
            for tensor in tree_leaves((args, kwargs))
            if isinstance(tensor, Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._follow(tensor, inputs)
        return out

    def _follow(self, tensor: Tensor, inputs: set[int]) -> None:
        """Note a storage that is new; a view of what was there before is not."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._numbers or address in inputs:
            return
        size_bytes = storage.nbytes()
        self._numbers[address] = number = self._births
        self._births += 1
        self._count(number, size_bytes)
        weakref.finalize(storage, self._forget, address, number, size_bytes)

    def _forget(self, address: int, number: int, size_bytes: int) -> None:
        del self._numbers[address]
        self._count(number, -size_bytes)

    def _count(self, number: int, change_bytes: int) -> None:
        self._events.append((number, change_bytes))
        self.live_bytes += change_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def peak(self, gradients: Sequence[Tensor] = ()) -> Peak:
        """Return the worst moment so far; `gradients` are told from the rest while they live."""
        own = {self._numbers.get(tensor.untyped_storage()._cdata) for tensor in gradients}
        worst, live, live_gradients = Peak(0, 0), 0, 0
        for number, change_bytes in self._events:
            live += change_bytes
            live_gradients += change_bytes if number in own else 0
            if live > worst.total_bytes:
                worst = Peak(live_gradients, live - live_gradients)
        return worst
