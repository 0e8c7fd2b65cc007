"""Derives `Costs` from a model on torch's meta device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from sflsim.foreign import foreign
from sflsim.learning.config import Workload
from sflsim.learning.costs import Costs
from sflsim.learning.models.base import is_users, kind_of, trains_all
from sflsim.learning.network.modes import Training, statistics
from sflsim.learning.network.split import Part, auxiliary_head, cut_blocks
from sflsim.learning.profiling.flop import FlopCounter
from sflsim.learning.profiling.operations import WorkCounter
from sflsim.learning.profiling.passes import passes
from sflsim.learning.profiling.peak_memory import Storages
from sflsim.learning.task import built
from sflsim.learning.torch_state import own_torch
from sflsim.learning.without_compiler import without_compiler

MEASURED = "a model whose costs can be derived from shapes, without numbers"
INSTEAD = "or give all of workload.costs, so that none is derived"
LABEL_BYTES = 8  # int64, as torch holds and sends class labels


@own_torch()
def workload_costs(
    workload: Workload, cuts: Sequence[int], dtype_name: str = "float32", by_kind: bool = False
) -> dict[int, Costs]:
    """Return the costs of a workload at each cut (a number of blocks), its numbers held as `dtype_name`.

    With `by_kind` every FLOP figure is a `WorkByKind`.

    Raises:
        ScenarioError: the model cannot be built, or does not pass through torch's meta device.
    """
    dtype: torch.dtype = getattr(torch, dtype_name)
    sample, whole, model = meta_sample(workload, dtype), None, workload.model
    found: dict[int, Costs] = {}
    for cut in cuts:
        with torch.device("meta"):
            blocks = built(model, workload.dataset.sample_shape, workload.dataset.classes, cut)
        # a library's or a user's network may load the compiler itself, and part by part
        alone = without_compiler() if trains_all(model) and not is_users(model) else nullcontext()
        what = f"{kind_of(model)} on torch's meta device"
        with alone, foreign("workload.model", what, MEASURED, INSTEAD, model):
            for _, block in blocks:
                block.to(dtype)
            if whole is None or _adapted_by_cut(workload):
                whole = derive_whole(Part(blocks), sample, workload.mean_batch_size)
            parts = cut_blocks(blocks, cut)
            found[cut] = derive_costs(*parts, sample, workload.mean_batch_size, whole, by_kind)
    return found


def _adapted_by_cut(workload: Workload) -> bool:
    """Tell whether the network differs from cut to cut: adapters on one part alone."""
    adapters = getattr(workload.model, "adapters", None)
    return adapters is not None and adapters.on != "both"


def meta_sample(workload: Workload, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return one input on the meta device: numbers as `dtype`, token ids as they are."""
    dataset = workload.dataset
    if getattr(dataset, "sample_dtype", "float32") == "int64":
        dtype = torch.int64
    return torch.empty(dataset.sample_shape, device="meta", dtype=dtype)


def derive_costs(
    client: Part,
    server: Part,
    sample: Tensor,
    batch_size: int,
    whole: Whole | None = None,
    by_kind: bool = False,
) -> Costs:
    """Return the costs of a cut: `client` and `server` are its two parts, `sample` is one input.

    `whole`, the figures of the uncut network, saves their derivation where many cuts are asked for.
    """
    x = _batch(sample, batch_size)
    client_parameters = meta_parameters(client)
    with torch.device("meta"), torch.no_grad(), Storages() as live, FlopCounter() as forward:
        client.apply(client_parameters, x)
    of_client = _train(client, client_parameters, x, by_kind)
    assert of_client.forward_flop == forward.work
    z = of_client.out.detach().requires_grad_()
    of_server = _train(server, meta_parameters(server), z, by_kind)
    whole = whole or derive_whole(Part([*client.blocks, *server.blocks]), sample, batch_size)
    head = auxiliary_head(tuple(z.shape[1:]), of_server.out.shape[-1])
    head_parameters = meta_parameters(head, z.dtype)
    of_head = _train(head, head_parameters, z.detach().requires_grad_(), by_kind)
    client_forward_flop, client_backward_flop = of_client.passes(client, batch_size)
    server_forward_flop, server_backward_flop = of_server.passes(server, batch_size)
    auxiliary_forward_flop, auxiliary_backward_flop = of_head.passes(head, batch_size)
    return Costs(
        client_forward_flop=client_forward_flop,
        client_backward_flop=client_backward_flop,
        server_forward_flop=server_forward_flop,
        server_backward_flop=server_backward_flop,
        activation_bytes=float(_bytes(z)),
        labels_bytes=float(LABEL_BYTES * batch_size),
        client_model_bytes=float(sum(_bytes(tensor) for tensor in client_parameters)),
        server_model_bytes=float(sum(_bytes(tensor) for tensor in meta_parameters(server))),
        client_saved_bytes=float(of_client.saved_bytes),
        client_live_bytes=float(live.peak_bytes + _bytes(x)),
        whole_saved_bytes=float(whole.saved_bytes),
        whole_live_bytes=float(whole.live_bytes),
        auxiliary_forward_flop=auxiliary_forward_flop,
        auxiliary_backward_flop=auxiliary_backward_flop,
        auxiliary_model_bytes=float(sum(_bytes(tensor) for tensor in head_parameters)),
        client_frozen_bytes=float(_frozen_bytes(client)),
        server_frozen_bytes=float(_frozen_bytes(server)),
        client_step_bytes=float(of_client.step_bytes),
        whole_step_bytes=float(whole.step_bytes),
    )


@dataclass(frozen=True)
class Whole:
    """What the uncut network holds, wherever it is cut (see `Costs`)."""

    saved_bytes: int
    live_bytes: int
    step_bytes: int


def derive_whole(network: Part, sample: Tensor, batch_size: int) -> Whole:
    """Return the figures of the uncut network."""
    x, parameters = _batch(sample, batch_size), meta_parameters(network)
    with torch.device("meta"), torch.no_grad(), Storages() as live:
        network.apply(parameters, x)
    trained = _train(network, parameters, x)
    return Whole(trained.saved_bytes, live.peak_bytes + _bytes(x), trained.step_bytes)


@dataclass(frozen=True)
class Trained:
    """One training step: its output, its FLOP, and the bytes that it holds."""

    out: Tensor
    forward_flop: float
    backward_flop: float
    saved_bytes: int
    """Saved for the backward pass."""
    step_bytes: int
    """At the worst moment beside the parameters; the input included."""

    def passes(self, part: Part, batch_size: int) -> tuple[float, float]:
        """Return its forward and its backward pass."""
        return passes(part, self.forward_flop, self.backward_flop, batch_size)


def work_flop(part: Part, x: Tensor, inner: bool) -> tuple[float, float]:
    """Return (forward, backward) FLOP of a part, by kind, for inputs like `x` [B, ...].

    `inner`: the backward pass goes on below the part, so it takes the gradient by the input too.
    """
    x = torch.empty_like(x, device="meta", requires_grad=inner)
    return _train(part, meta_parameters(part), x, by_kind=True).passes(part, len(x))


def _train(part: Part, parameters: list[Tensor], x: Tensor, by_kind: bool = False) -> Trained:
    """Run one forward and backward pass; `by_kind` counts FLOP by kind."""
    counter = WorkCounter if by_kind else FlopCounter
    own = {tensor.untyped_storage()._cdata for tensor in [*parameters, *_frozen(part)]}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"), Storages() as storages:
        with (
            counter() as forward,
            torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        ):
            out = part.apply(parameters, x, Training(0, [[()]]))
        wanted = [tensor for tensor in (*parameters, x) if tensor.requires_grad]
        with counter() as backward:
            if wanted:
                torch.autograd.grad(out, wanted, torch.empty_like(out), allow_unused=True)
        step_bytes = storages.peak_bytes + _bytes(x)
    return Trained(out, forward.work, backward.work, sum(saved.values()), step_bytes)


def _batch(sample: Tensor, batch_size: int) -> Tensor:
    return torch.empty(batch_size, *sample.shape, device="meta", dtype=sample.dtype)


def meta_parameters(part: Part, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Return what a part's vector holds on the meta device, as `dtype` or as the blocks have it."""
    return [
        torch.empty(shape, device="meta", dtype=dtype or part.dtype, requires_grad=own)
        for shape, own in zip(part.shapes, part.is_parameter, strict=True)
    ]


def _frozen_bytes(part: Part) -> int:
    return sum(_bytes(tensor) for tensor in _frozen(part))


def _frozen(part: Part) -> list[Tensor]:
    """Return what a part holds and nobody trains."""
    held = [tensor for _, block in part.blocks for tensor in (*block.parameters(), *block.buffers())]
    moving = {id(tensor) for _, block in part.blocks for _, tensor in statistics(block)}
    return [tensor for tensor in held if not tensor.requires_grad and id(tensor) not in moving]


def _bytes(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().nbytes())
