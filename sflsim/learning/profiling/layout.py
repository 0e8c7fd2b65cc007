"""Derives how the messages of a cut are laid out from a model on torch's meta device.

From the network that is trained, also where `workload.costs` gives sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sflsim.foreign import foreign
from sflsim.learning.config import Workload
from sflsim.learning.layout import Layout, Tensors
from sflsim.learning.models.base import kind_of
from sflsim.learning.network.split import Part, auxiliary_head, cut_blocks
from sflsim.learning.profiling.measure import INSTEAD, MEASURED, meta_parameters, meta_sample
from sflsim.learning.received import channels_second, outputs_second
from sflsim.learning.task import built
from sflsim.learning.torch_state import own_torch


@own_torch()
def layout_of(workload: Workload, cut: int) -> Layout:
    """Return the layout of the messages at a cut.

    Raises:
        ScenarioError: the model cannot be built, or does not pass through torch's meta device.
    """
    model, dataset = workload.model, workload.dataset
    with torch.device("meta"):
        blocks = built(model, dataset.sample_shape, dataset.classes, cut)
    with foreign("workload.model", f"{kind_of(model)} on torch's meta device", MEASURED, INSTEAD, model):
        client, server = cut_blocks(blocks, cut)
        with torch.device("meta"), torch.no_grad():
            z = client.apply(meta_parameters(client), meta_sample(workload)[None])
    head = auxiliary_head(tuple(z.shape[1:]), dataset.classes)
    return Layout(
        channels=channels_second(z[..., :-1] if client.has_mask else z).shape[1],
        mask_numbers=z[..., -1].numel() if client.has_mask else 0,
        parts={"client": _tensors(client), "server": _tensors(server), "auxiliary": _tensors(head)},
    )


def _tensors(part: Part) -> Tensors:
    shapes: Sequence[torch.Size] = part.shapes
    channels = (outputs_second(torch.empty(shape, device="meta")).shape[1] for shape in shapes)
    return Tensors(len(shapes), sum(channels))
