"""Where learning meets compression: what arrives of activations, cut gradients and models.

An activation [B, ...] of one client's batch is a message, its channels the second axis of images, else the
last. The server computes on D(C(z)) and the client steps on D(C(g)): straight through, the codec's own
derivative being 1. Where the activation's codec leaves numbers out, the gradient is sent at its places. A
mask that travels in the last channel of text stays as it is. All of a client's batch has one draw, so z+ and
z- of a zeroth-order client are rounded alike. A model is one message; each of its tensors has a range of its
own, its channels being its outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sflsim.learning.codecs.base import Codec, Draws
from sflsim.learning.compression import Compression
from sflsim.learning.network.split import Part
from sflsim.streams import Key


@dataclass(frozen=True)
class Crossing:
    """How the activations of C participants' batches, which `keys` name, cross the link to the server."""

    compression: Compression
    keys: Sequence[Key]
    has_mask: bool = False

    def forward(self, z: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """Return what arrives of activations [C, B, ...], and the places that were sent of each."""
        codec, places, arrived = self.compression.codec("activation"), [], []
        for key, own in zip(self.keys, z, strict=True):
            x, draws = channels_second(self._without_mask(own)), Draws((*key, "activation"))
            places.append(None if codec is None else codec.places(x, draws))
            arrived.append(self._with_mask(_channels_back(message(codec, x, places[-1], draws)), own))
        return torch.stack(arrived), places

    def backward(self, gradient: Tensor, places: Sequence[Tensor | None]) -> Tensor:
        """Return what arrives of cut gradients [C, B, ...]; a mask has none."""
        codec, arrived = self.compression.codec("gradient"), []
        for key, own, sent in zip(self.keys, gradient, places, strict=True):
            x, draws = channels_second(self._without_mask(own)), Draws((*key, "gradient"))
            if sent is None and codec is not None:
                sent = codec.places(x, draws)
            back = _channels_back(message(codec, x, sent, draws))
            arrived.append(self._with_mask(back, torch.zeros_like(own)))
        return torch.stack(arrived)

    def _without_mask(self, z: Tensor) -> Tensor:
        return z[..., :-1] if self.has_mask else z

    def _with_mask(self, arrived: Tensor, z: Tensor) -> Tensor:
        return torch.cat([arrived, z[..., -1:]], dim=-1) if self.has_mask else arrived


class _Link(torch.autograd.Function):
    """What arrives of activations, with what arrives of their gradients as its backward pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, crossing: Crossing, shares: Tensor | None) -> Tensor:
        arrived, ctx.places = crossing.forward(z)
        ctx.crossing, ctx.shares = crossing, shares
        return arrived

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        if ctx.shares is None:
            return ctx.crossing.backward(gradient, ctx.places), None, None
        shares = ctx.shares.view(-1, *[1] * (gradient.dim() - 1))
        return ctx.crossing.backward(gradient / shares, ctx.places) * shares, None, None


def activations(z: Tensor, crossing: Crossing, shares: Tensor | None = None) -> Tensor:
    """Return what arrives of activations [C, B, ...]; gradients by the result come back through the link.

    `shares` [C] are the weights of the participants in the loss: what is sent is the gradient of each one's
    own loss.
    """
    if not torch.is_grad_enabled():
        return crossing.forward(z)[0]
    arrived: Tensor = _Link.apply(z, crossing, shares)  # type: ignore[no-untyped-call]
    return arrived


def model(codec: Codec, parts: Sequence[tuple[Part, Tensor]], key: Key) -> list[Tensor]:
    """Return what arrives of the parts of a model, flat vectors [n], sent as one message."""
    draws, sizes = Draws((*key, "model")), [len(flat) for _, flat in parts]
    whole = torch.cat([flat for _, flat in parts])[None]  # [1, n]
    places = codec.places(whole[:, None], draws) if whole.numel() else None
    if places is not None:
        return list(message(codec, whole, places, draws)[0].split(sizes))
    arrived = [torch.empty_like(flat) for _, flat in parts]
    for (part, flat), own in zip(parts, arrived, strict=True):
        for old, new in zip(part.views(flat[None]), part.views(own[None]), strict=True):
            new.copy_(codec.coded(outputs_second(old), draws).view_as(old))
    return arrived


def message(codec: Codec | None, x: Tensor, places: Tensor | None, draws: Draws) -> Tensor:
    """Return what arrives of x [rows, ...]: of all its numbers, or of those at `places` [rows, k] alone."""
    if places is None:
        return x if codec is None else codec.coded(x, draws)
    flat = x.flatten(1)
    values = flat.gather(1, places)
    if codec is not None:
        values = codec.coded(values[:, None], draws)[:, 0]
    return torch.zeros_like(flat).scatter(1, places, values).view_as(x)


def outputs_second(tensor: Tensor) -> Tensor:
    """Return a model's tensor as [1, outputs, ...]; a vector is one channel."""
    return tensor[None] if tensor.dim() > 1 else tensor.reshape(1, 1, -1)


def channels_second(z: Tensor) -> Tensor:
    """Return an activation as [B, channels, ...]."""
    return z if z.dim() == 4 else z.movedim(-1, 1)


def _channels_back(z: Tensor) -> Tensor:
    return z if z.dim() == 4 else z.movedim(1, -1)
