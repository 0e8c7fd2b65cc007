"""The layers of a network, and how one is applied to tensors that are given: for one participant, or stacked.

Shapes: C lanes, B samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from sflsim.learning.network.modes import Training, in_training


@dataclass(frozen=True)
class Layer:
    """One layer of a chain: its place in the list of tensors, and their names in the module."""

    module: nn.Module
    span: slice
    names: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    """Further names of tied parameters, each with the one in `names`."""
    has_modes: bool


def layers_of(name: str, block: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the leaf layers of a chain of modules; any other module is a layer of its own.

    So is a chain that uses a parameter in two places.
    """
    if type(block) is nn.Sequential and not _shares(block):
        return [
            pair
            for child, module in block._modules.items()  # a layer that stands there twice is run twice
            if module is not None
            for pair in layers_of(f"{name}.{child}", module)
        ]
    return [(name, block)]


def _shares(chain: nn.Module) -> bool:
    """Tell whether children of a chain have a parameter or a buffer in common."""
    held = [
        {id(one) for one in (*child.parameters(), *child.buffers())}
        for child in chain._modules.values()
        if child
    ]
    return sum(map(len, held)) > len(set().union(*held))


def aliases_of(layer: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return the names under which further modules hold a parameter, each with its first name."""
    first: dict[int, str] = {}
    found = []
    for path, module in layer.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                name = f"{path}.{key}" if path else key
                if first.setdefault(id(parameter), name) != name:
                    found.append((name, first[id(parameter)]))
    return tuple(found)


def trained(layer: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters of a layer that are trained, by name; the frozen ones stay in the module."""
    return [(name, parameter) for name, parameter in layer.named_parameters() if parameter.requires_grad]


def apply_single(layer: Layer, tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    """Apply a layer with the given tensors to [B, ...]; the common ones without functional_call's cost."""
    module = layer.module
    if not tensors:
        return module(x)  # type: ignore[no-any-return]
    whole = len(tensors) == len(module._parameters)
    if type(module) is nn.Linear and whole and "forward" not in vars(module):
        return F.linear(x, *tensors)
    if (
        type(module) is nn.Conv2d
        and whole
        and module.padding_mode == "zeros"
        and "forward" not in vars(module)
    ):
        bias = tensors[1] if len(tensors) > 1 else None
        return F.conv2d(x, tensors[0], bias, module.stride, module.padding, module.dilation, module.groups)
    given = dict(zip(layer.names, tensors, strict=True))
    given |= {alias: given[name] for alias, name in layer.aliases if name in given}
    # torch's own way to tie weights does not put back those of a module that stands in two places
    result: Tensor = functional_call(module, given, (x,), tie_weights=False)
    return result


def apply_stacked(layer: Layer, tensors: Sequence[Tensor], x: Tensor, training: Training | None) -> Tensor:
    """Apply a layer with tensors [C, ...] to [C, B, ...]."""
    module, participants = layer.module, x.shape[0]
    if not tensors and (training is None or not layer.has_modes) and getattr(module, "stackable", True):
        return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # type: ignore[no-any-return]
    is_plain = type(module) is nn.Linear and "forward" not in vars(module)
    if is_plain and x.dim() == 3 and len(tensors) == len(module._parameters):
        if len(tensors) > 1:
            return torch.baddbmm(tensors[1].unsqueeze(1), x, tensors[0].mT)
        return torch.bmm(x, tensors[0].mT)
    if not getattr(module, "stackable", True):
        return torch.stack([_of_participant(layer, tensors, x, training, i) for i in range(participants)])

    def single(tensors: Any, x: Tensor, participant: Tensor) -> Tensor:
        with in_training(training, participant):
            return apply_single(layer, tensors, x)

    # masks come from their own generators; otherwise vmap would draw again for each participant
    indices = torch.arange(participants, device=x.device)
    stacked: Tensor = vmap(single, randomness="same")(list(tensors), x, indices)
    return stacked


def _of_participant(
    layer: Layer, tensors: Sequence[Tensor], x: Tensor, training: Training | None, i: int
) -> Tensor:
    """Apply a layer that cannot be stacked to participant i."""
    with in_training(training, i):
        return apply_single(layer, [tensor[i] for tensor in tensors], x[i])
