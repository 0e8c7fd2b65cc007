"""Derives `Costs` from a model on torch's meta device. Imports torch, split and costs."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from sflsim.learning.costs import Costs
from sflsim.learning.split import Part, auxiliary_head

LABEL_BYTES = 8  # int64, as torch holds and sends class labels


def derive_costs(client: Part, server: Part, sample_shape: tuple[int, ...], batch_size: int) -> Costs:
    """Return the costs of a cut: `client` and `server` are its two parts, on any device."""
    x = torch.empty(batch_size, *sample_shape, device="meta")
    client_parameters, server_parameters = _meta(client), _meta(server)
    with torch.no_grad(), LiveBytes() as live, FlopCounterMode(display=False) as forward:
        client.apply(client_parameters, x)
    z, client_forward, client_backward, saved_bytes = _train(client, client_parameters, x)
    assert client_forward == forward.get_total_flops()
    z = z.detach().requires_grad_()
    out, server_forward, server_backward, _ = _train(server, server_parameters, z)
    whole = Part([*client.blocks, *server.blocks])
    with torch.no_grad(), LiveBytes() as whole_live:
        whole.apply([*client_parameters, *server_parameters], x)
    *_, whole_saved_bytes = _train(whole, [*client_parameters, *server_parameters], x)
    head = auxiliary_head(tuple(z.shape[1:]), out.shape[-1])
    head_parameters = _meta(head)
    _, head_forward, head_backward, _ = _train(head, head_parameters, z)
    return Costs(
        client_forward_flop=float(client_forward),
        client_backward_flop=float(client_backward),
        server_forward_flop=float(server_forward),
        server_backward_flop=float(server_backward),
        activation_bytes=float(_bytes(z)),
        labels_bytes=float(LABEL_BYTES * batch_size),
        client_model_bytes=float(sum(_bytes(tensor) for tensor in client_parameters)),
        server_model_bytes=float(sum(_bytes(tensor) for tensor in server_parameters)),
        client_saved_bytes=float(saved_bytes),
        client_live_bytes=float(live.peak_bytes + _bytes(x)),
        whole_saved_bytes=float(whole_saved_bytes),
        whole_live_bytes=float(whole_live.peak_bytes + _bytes(x)),
        auxiliary_forward_flop=float(head_forward),
        auxiliary_backward_flop=float(head_backward),
        auxiliary_model_bytes=float(sum(_bytes(tensor) for tensor in head_parameters)),
        client_frozen_bytes=float(_frozen_bytes(client)),
        server_frozen_bytes=float(_frozen_bytes(server)),
    )


def _meta(part: Part) -> list[Tensor]:
    return [torch.empty(shape, device="meta", requires_grad=True) for shape in part.shapes]


def _frozen_bytes(part: Part) -> int:
    return sum(_bytes(buffer) for _, block in part.blocks for buffer in block.buffers())


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _train(part: Part, parameters: list[Tensor], x: Tensor) -> tuple[Tensor, int, int, int]:
    """Return (output, forward FLOP, backward FLOP, bytes saved for backward) of one pass."""
    frozen = [buffer for _, block in part.blocks for buffer in block.buffers()]
    own = {tensor.untyped_storage()._cdata for tensor in [*parameters, *frozen]}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with (
        FlopCounterMode(display=False) as forward,
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
    ):
        out = part.apply(parameters, x)
    with FlopCounterMode(display=False) as backward:
        out.backward(torch.empty_like(out))
    return out, forward.get_total_flops(), backward.get_total_flops(), sum(saved.values())


class LiveBytes(TorchDispatchMode):
    """Follows the bytes of the tensors that operations make, from their birth to their last view's death."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self._views: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {
            tensor.untyped_storage()._cdata
            for tensor in torch.utils._pytree.tree_leaves((args, kwargs))
            if isinstance(tensor, Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata in self._views or storage._cdata not in known:
                    self._follow(tensor, storage._cdata, storage.nbytes())
        return out

    def _follow(self, tensor: Tensor, storage: int, size_bytes: int) -> None:
        if storage not in self._views:
            self._views[storage] = 0
            self.live_bytes += size_bytes
            self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        self._views[storage] += 1
        weakref.finalize(tensor, self._forget, storage, size_bytes)

    def _forget(self, storage: int, size_bytes: int) -> None:
        self._views[storage] -= 1
        if not self._views[storage]:
            del self._views[storage]
            self.live_bytes -= size_bytes
