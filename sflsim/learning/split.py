"""A network as an ordered list of named blocks, and a part of it as a function of its parameters.

`Part` turns consecutive blocks into `forward(parameters, x)`. The parameters of a part are one
flat vector, so that zeroth-order math and averages read like the papers; the blocks see views of
it. Every tensor has a leading lane dimension: C participants computed at once, each with weights
of its own. Shapes: C lanes, B samples, d parameters. Imports torch only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

Layer = Callable[[Sequence[Tensor], Tensor], Tensor]


class Part:
    """Consecutive blocks of a network as a pure function of a flat parameter vector.

    `names` and `shapes` are those of the parameters, in the order in which the vector holds them.
    """

    def __init__(self, blocks: Sequence[tuple[str, nn.Module]]) -> None:
        self.blocks = list(blocks)
        self.names: list[str] = []
        self.shapes: list[torch.Size] = []
        self._layers: list[tuple[nn.Module, slice]] = []
        for name, block in self.blocks:
            for layer_name, layer in _layers(name, block):
                start = len(self.shapes)
                for parameter_name, parameter in trained(layer):
                    self.names.append(f"{layer_name}.{parameter_name}")
                    self.shapes.append(parameter.shape)
                self._layers.append((layer, slice(start, len(self.shapes))))
        self.sizes = [prod(shape) for shape in self.shapes]
        self.dimension = sum(self.sizes)

    def initial(self) -> Tensor:
        """Return the blocks' own parameters as one vector [d]."""
        parameters = [
            parameter.detach().reshape(-1) for layer, _ in self._layers for _, parameter in trained(layer)
        ]
        return torch.cat(parameters) if parameters else torch.empty(0)

    def views(self, flat_CD: Tensor) -> list[Tensor]:
        """Return the parameters as views of the flat vectors [C, d]: [C, *shape], or [*shape] for C = 1."""
        lanes = flat_CD.shape[0]
        if lanes == 1:
            pieces = flat_CD[0].split(self.sizes)
            return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        pieces = flat_CD.split(self.sizes, dim=1)
        return [piece.view(lanes, *shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def forward(self, views: Sequence[Tensor], x_CB: Tensor) -> Tensor:
        """Return the part's output [C, B, ...] for parameters as `views` gives them and input [C, B, ...]."""
        if x_CB.shape[0] == 1:
            return self.apply(views, x_CB[0]).unsqueeze(0)
        for layer, span in self._layers:
            x_CB = _stacked(layer, views[span], x_CB)
        return x_CB

    def apply(self, parameters: Sequence[Tensor], x_B: Tensor) -> Tensor:
        """Return the part's output [B, ...] for one set of parameters [*shape] and input [B, ...]."""
        for layer, span in self._layers:
            x_B = _single(layer, parameters[span], x_B)
        return x_B


def cut_blocks(blocks: Sequence[tuple[str, nn.Module]], cut: int) -> tuple[Part, Part]:
    """Return (client part, server part): the client holds the first `cut` blocks."""
    assert 0 < cut < len(blocks)
    return Part(blocks[:cut]), Part(blocks[cut:])


def auxiliary_head(activation_shape: tuple[int, ...], classes: int) -> Part:
    """Return a linear classifier on activations of the given shape, for losses at the client."""
    linear = nn.Linear(prod(activation_shape), classes)
    return Part([("auxiliary", nn.Sequential(nn.Flatten(), linear))])


def _layers(name: str, block: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the leaf layers of a chain of modules; any other module is a layer of its own."""
    if type(block) is nn.Sequential:
        return [
            pair for child, module in block.named_children() for pair in _layers(f"{name}.{child}", module)
        ]
    return [(name, block)]


def trained(layer: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters of a layer that are trained, by name; the frozen ones stay in the module."""
    return [(name, parameter) for name, parameter in layer.named_parameters() if parameter.requires_grad]


def _single(layer: nn.Module, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Apply a layer with the given parameters to [B, ...]; the common ones without functional_call's cost."""
    if not parameters:
        return layer(x)  # type: ignore[no-any-return]
    whole = len(parameters) == len(layer._parameters)
    if type(layer) is nn.Linear and whole:
        return F.linear(x, *parameters)
    if type(layer) is nn.Conv2d and whole and layer.padding_mode == "zeros":
        bias = parameters[1] if len(parameters) > 1 else None
        return F.conv2d(x, parameters[0], bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    names = [name for name, _ in trained(layer)]
    result: Tensor = functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))
    return result


def _stacked(layer: nn.Module, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Apply a layer with parameters [C, ...] to [C, B, ...]."""
    if not parameters:
        lanes, batch = x.shape[:2]
        return layer(x.flatten(0, 1)).unflatten(0, (lanes, batch))  # type: ignore[no-any-return]
    if type(layer) is nn.Linear and x.dim() == 3 and len(parameters) == len(layer._parameters):
        if len(parameters) > 1:
            return torch.baddbmm(parameters[1].unsqueeze(1), x, parameters[0].mT)
        return torch.bmm(x, parameters[0].mT)

    def one(parameters: Any, x: Tensor) -> Tensor:
        return _single(layer, parameters, x)

    stacked: Tensor = vmap(one)(list(parameters), x)
    return stacked
