"""What a training step or a forward pass holds in memory at its worst moment, found without data.

The very step is run on torch's meta device while every storage is followed from its birth to its
death: parameters, gradients as they come, what is saved for backward and freed on the way,
temporaries of single operations. Compared with the resident memory of real processes in
tests/scenarios/test_memory.py.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Storages(TorchDispatchMode):
    """Follows every storage that operations make; what was there before is not counted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self._alive: set[int] = set()  # addresses

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and follow what is new in its output; views of its inputs are not."""
        inputs = {storage._cdata for storage in _storages((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for storage in _storages(out):
            address, size_bytes = storage._cdata, storage.nbytes()
            if address not in self._alive and address not in inputs:
                self._alive.add(address)
                self.live_bytes += size_bytes
                self.peak_bytes = max(self.peak_bytes, self.live_bytes)
                weakref.finalize(storage, self._forget, address, size_bytes)
        return out

    def _forget(self, address: int, size_bytes: int) -> None:
        self._alive.remove(address)
        self.live_bytes -= size_bytes


def _storages(values: Any) -> list[Any]:
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]
