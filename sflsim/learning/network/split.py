"""A network as an ordered list of named blocks, and a part of it as a function of its parameters.

`Part` turns consecutive blocks into `forward(parameters, x)`. The parameters of a part are one
flat vector, so that zeroth-order math and averages read like the papers; the blocks see views of
it. Weights of convolutions lie in it with their channels last, as images do, so that no pass has to
turn either around. Batch norm's running statistics lie in the vector too, behind the parameters of
their layer: they are cut, sent and averaged like these, but neither optimizers nor directions touch
them. The leading dimension of every tensor is the participants computed at once, each with its own
weights. Shapes: C participants, B samples, n numbers in a vector, d of them parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from sflsim.learning.network.layers import Layer, aliases_of, apply_single, apply_stacked, layers_of, trained
from sflsim.learning.network.modes import Training, has_modes, in_training, statistics, with_explicit_mode


class Part:
    """Consecutive blocks of a network as a pure function of a flat vector.

    `names`, `shapes` and `sizes` are those of the tensors in the vector, in its order: of each layer
    the parameters, then the running statistics. `is_parameter` tells them apart; `size` counts all
    numbers, `dimension` those of the parameters.
    """

    def __init__(self, blocks: Sequence[tuple[str, nn.Module]]) -> None:
        self.blocks = [(name, with_explicit_mode(name, block)) for name, block in blocks]
        self.names: list[str] = []
        self.shapes: list[torch.Size] = []
        self.is_parameter: list[bool] = []
        self._layers: list[Layer] = []
        self._dtype = torch.get_default_dtype()
        for name, block in self.blocks:
            for layer_name, module in layers_of(name, block):
                self._add(layer_name, module)
        self.sizes = [prod(shape) for shape in self.shapes]
        self.size = sum(self.sizes)
        self.dimension = sum(size for size, own in zip(self.sizes, self.is_parameter, strict=True) if own)

    def _add(self, layer_name: str, module: nn.Module) -> None:
        start, parameters, state = len(self.shapes), trained(module), statistics(module)
        for name, tensor in [*parameters, *state]:
            self.names.append(f"{layer_name}.{name}")
            self.shapes.append(tensor.shape)
            self._dtype = tensor.dtype
        self.is_parameter += [True] * len(parameters) + [False] * len(state)
        names = tuple(name for name, _ in [*parameters, *state])
        span = slice(start, len(self.shapes))
        self._layers.append(Layer(module, span, names, aliases_of(module), has_modes(module)))

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the numbers in the vector."""
        return self._dtype

    @property
    def has_statistics(self) -> bool:
        """Tell whether running statistics lie in the vector."""
        return self.size > self.dimension

    @property
    def has_mask(self) -> bool:
        """Tell whether the last channel of what it returns is an attention mask."""
        return any(getattr(block, "has_mask", False) for _, block in self.blocks)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Return where the parameters lie in the vector: (first, end) of each unbroken stretch."""
        found: list[tuple[int, int]] = []
        place = 0
        for size, own in zip(self.sizes, self.is_parameter, strict=True):
            if own and found and found[-1][1] == place:
                found[-1] = (found[-1][0], place + size)
            elif own:
                found.append((place, place + size))
            place += size
        return found

    def initial(self) -> Tensor:
        """Return the blocks' own numbers as one vector [n]."""
        tensors = [
            _laid_out(tensor.detach()).reshape(-1)
            for layer in self._layers
            for _, tensor in [*trained(layer.module), *statistics(layer.module)]
        ]
        return torch.cat(tensors) if tensors else torch.empty(0)

    def views(self, flat_CN: Tensor) -> list[Tensor]:
        """Return all tensors as views of the flat vectors [C, n]: [C, *shape], or [*shape] for C = 1."""
        participants = flat_CN.shape[0]
        if participants == 1:
            pieces = flat_CN[0].split(self.sizes)
            return [_view(piece, (), shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        pieces = flat_CN.split(self.sizes, dim=1)
        return [
            _view(piece, (participants,), shape) for piece, shape in zip(pieces, self.shapes, strict=True)
        ]

    def leaves(self, flat_CN: Tensor) -> list[Tensor]:
        """Return views that share the memory of `flat_CN`: parameters as leaves of autograd, the rest plain.

        A pass in training moves the running statistics in `flat_CN`.
        """
        return [
            # .data: a statistic that moves must not make autograd think that the weights beside it have
            view.detach().requires_grad_() if own else view.data
            for view, own in zip(self.views(flat_CN), self.is_parameter, strict=True)
        ]

    def parameters(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return those of `views` that are parameters: what gradients and optimizers are about."""
        return [view for view, own in zip(views, self.is_parameter, strict=True) if own]

    def statistics(self, flat_CN: Tensor) -> list[Tensor]:
        """Return views of the running statistics."""
        return [view for view, own in zip(self.views(flat_CN), self.is_parameter, strict=True) if not own]

    def forward(self, views: Sequence[Tensor], x_CB: Tensor, training: Training | None = None) -> Tensor:
        """Return the output [C, B, ...] for tensors as `views` gives them and input [C, B, ...].

        With `training`, batch norm takes the statistics of the batch and moves the running ones in the
        memory of `views` (see `leaves`), and dropout is on; else the network is in use.
        """
        if x_CB.shape[0] == 1:
            return self.apply(views, x_CB.squeeze(0), training).unsqueeze(0)
        for layer in self._layers:
            x_CB = apply_stacked(layer, views[layer.span], x_CB, training)
        return x_CB

    def mark_unstackable(self, x_B: Tensor) -> None:
        """Have layers that stacking fails on, or changes, run per participant; tried on input [B, ...]."""
        views = self.views(self.initial()[None])
        with torch.no_grad():
            for layer in self._layers:
                x_CB, tensors = torch.stack([x_B, x_B]), views[layer.span]
                x_B = apply_single(layer, tensors, x_B)
                try:
                    both = apply_stacked(layer, [torch.stack([one, one]) for one in tensors], x_CB, None)
                except Exception:  # whatever vmap or the layer says
                    both = torch.empty(0)
                if both.shape[1:] != x_B.shape or not torch.allclose(both, x_B.expand_as(both), 1e-3, 1e-4):
                    layer.module.stackable = False  # type: ignore[assignment]

    def apply(self, views: Sequence[Tensor], x_B: Tensor, training: Training | None = None) -> Tensor:
        """Return the output [B, ...] for one set of tensors [*shape] and input [B, ...]."""
        for layer in self._layers:
            if training is None or not layer.has_modes:
                x_B = apply_single(layer, views[layer.span], x_B)
            else:
                with in_training(training, 0):
                    x_B = apply_single(layer, views[layer.span], x_B)
        return x_B


def _laid_out(tensor: Tensor) -> Tensor:
    """Return a tensor with its axes in the order in which it lies in the vector: channels last."""
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def _view(piece: Tensor, leading: tuple[int, ...], shape: torch.Size) -> Tensor:
    """Return a stretch of the vector as a tensor [*leading, *shape]; see `_laid_out`."""
    if len(shape) != 4:
        return piece.view(*leading, *shape)
    out, into, rows, columns = shape
    return piece.view(*leading, out, rows, columns, into).movedim(-1, -3)


def cut_blocks(blocks: Sequence[tuple[str, nn.Module]], cut: int) -> tuple[Part, Part]:
    """Return (client part, server part): the client holds the first `cut` blocks."""
    assert 0 < cut < len(blocks)
    return Part(blocks[:cut]), Part(blocks[cut:])


def auxiliary_head(activation_shape: tuple[int, ...], classes: int) -> Part:
    """Return a linear classifier on activations of the given shape, for losses at the client."""
    linear = nn.Linear(prod(activation_shape), classes)
    return Part([("auxiliary", nn.Sequential(nn.Flatten(), linear))])
