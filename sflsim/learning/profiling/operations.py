"""Counts the work of what runs by kind of operation (see `sflsim.work`), without data on the meta device.

FLOP are those of `profiling.flop`. Bytes are what every operation reads and writes, a number that is spread
over several places once; what caches save is not known. The meta device takes attention apart into products
and a softmax, whose bytes are more than those of a fused kernel.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sflsim.learning.profiling.flop import FlopCounter
from sflsim.work import Kinds, WorkByKind

aten = torch.ops.aten
UNWRITTEN = (aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided)


class WorkCounter(FlopCounter):
    """Counts while it is entered; `work` is the sum, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self._operations = _Operations(self)

    def __enter__(self) -> Self:
        # The operations first, so that they see what the FLOP counter has taken apart.
        self._operations.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._operations.__exit__(*exception)  # type: ignore[no-untyped-call]

    @property
    def work(self) -> WorkByKind:
        """The work counted so far."""
        found, flop = self._operations, float(self.get_total_flops())
        matmul = flop - found.convolution_flop - found.depthwise_flop
        return WorkByKind(
            Kinds(found.convolution_flop, found.depthwise_flop, matmul, found.moved_bytes, found.operations)
        )


class _Operations(TorchDispatchMode):
    """Counts bytes and operations, and tells convolutions apart."""

    def __init__(self, flop: FlopCounter) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._formulas = flop.flop_registry
        self.convolution_flop = self.depthwise_flop = self.moved_bytes = self.operations = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func.overloadpacket
        inputs, outputs = _tensors((args, kwargs)), _tensors(out)
        if packet not in UNWRITTEN and not _are_views(outputs, inputs):
            self.moved_bytes += sum(_bytes(tensor) for tensor in (*inputs, *outputs))
            self.operations += 1
        if packet is aten.convolution or packet is aten.convolution_backward:
            flop = self._formulas[packet](*args, **kwargs, out_val=out)
            x, groups = (args[0], args[8]) if packet is aten.convolution else (args[1], args[9])
            if groups > 1 and groups == x.shape[1]:
                self.depthwise_flop += flop
            else:
                self.convolution_flop += flop
        return out


def _are_views(outputs: list[Tensor], inputs: list[Tensor]) -> bool:
    """Tell whether outputs are nothing but inputs seen in another way; in place, one is the input itself."""
    storages = {tensor.untyped_storage()._cdata for tensor in inputs}
    itself = {id(tensor) for tensor in inputs}
    return all(tensor.untyped_storage()._cdata in storages and id(tensor) not in itself for tensor in outputs)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's numbers; one that is spread by strides of zero counts once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
