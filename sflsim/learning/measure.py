"""Derives `Costs` from a model on torch's meta device. Imports torch, split and costs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sflsim.learning.config import Workload
from sflsim.learning.costs import Costs
from sflsim.learning.peak_memory import Storages
from sflsim.learning.split import Part, auxiliary_head, cut_blocks
from sflsim.learning.task import built

LABEL_BYTES = 8  # int64, as torch holds and sends class labels


def workload_costs(workload: Workload, cut: int, dtype_name: str = "float32") -> Costs:
    """Return the costs of a workload cut after `cut` blocks, its numbers held as torch's `dtype_name`."""
    dtype: torch.dtype = getattr(torch, dtype_name)
    with torch.device("meta"):
        blocks = built(workload.model, workload.dataset.sample_shape, workload.dataset.classes, cut)
    for _, block in blocks:
        block.to(dtype)
    client, server = cut_blocks(blocks, cut)
    return derive_costs(client, server, _sample(workload, dtype), workload.batch_size)


def _sample(workload: Workload, dtype: torch.dtype) -> Tensor:
    """Return one input on the meta device: numbers as `dtype`, token ids as they are."""
    dataset = workload.dataset
    if getattr(dataset, "sample_dtype", "float32") == "int64":
        dtype = torch.int64
    return torch.empty(dataset.sample_shape, device="meta", dtype=dtype)


def derive_costs(client: Part, server: Part, sample: Tensor, batch_size: int) -> Costs:
    """Return the costs of a cut: `client` and `server` are its two parts, `sample` is one input."""
    x = torch.empty(batch_size, *sample.shape, device="meta", dtype=sample.dtype)
    client_parameters, server_parameters = _meta(client), _meta(server)
    with torch.no_grad(), Storages() as live, FlopCounterMode(display=False) as forward:
        client.apply(client_parameters, x)
    z, client_forward, client_backward, saved_bytes = _train(client, client_parameters, x)
    assert client_forward == forward.get_total_flops()
    z = z.detach().requires_grad_()
    out, server_forward, server_backward, _ = _train(server, server_parameters, z)
    whole = Part([*client.blocks, *server.blocks])
    with torch.no_grad(), Storages() as whole_live:
        whole.apply([*client_parameters, *server_parameters], x)
    *_, whole_saved_bytes = _train(whole, [*client_parameters, *server_parameters], x)
    head = auxiliary_head(tuple(z.shape[1:]), out.shape[-1])
    head_parameters = _meta(head, z.dtype)
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
        client_step_bytes=float(_step_bytes(client, client_parameters, x)),
        whole_step_bytes=float(_step_bytes(whole, [*client_parameters, *server_parameters], x)),
    )


def _step_bytes(part: Part, parameters: list[Tensor], x: Tensor) -> int:
    """Return what one training step holds at its worst moment beside the parameters; its input included."""
    with Storages() as storages:
        out = part.apply(parameters, x)
        gradients = torch.autograd.grad(out, parameters, torch.empty_like(out))
    return storages.peak(gradients).total_bytes + _bytes(x)


def _meta(part: Part, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Return a part's parameters on the meta device, as `dtype` or as they are."""
    own = [
        parameter for _, block in part.blocks for parameter in block.parameters() if parameter.requires_grad
    ]
    return [
        torch.empty(parameter.shape, device="meta", dtype=dtype or parameter.dtype, requires_grad=True)
        for parameter in own
    ]


def _frozen_bytes(part: Part) -> int:
    return sum(_bytes(tensor) for tensor in _frozen(part))


def _frozen(part: Part) -> list[Tensor]:
    """Return what a part holds and nobody trains."""
    held = [tensor for _, block in part.blocks for tensor in (*block.parameters(), *block.buffers())]
    return [tensor for tensor in held if not tensor.requires_grad]


def _bytes(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().nbytes())


def _train(part: Part, parameters: list[Tensor], x: Tensor) -> tuple[Tensor, int, int, int]:
    """Return (output, forward FLOP, backward FLOP, bytes saved for backward) of one pass."""
    own = {tensor.untyped_storage()._cdata for tensor in [*parameters, *_frozen(part)]}
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
