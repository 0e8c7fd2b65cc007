"""Codecs as MECHANISMS.md section 1 defines them, in numpy's float32.

Source: that page only (not part of the repository). Chance is an argument: uniform draws in [0, 1).

Reading: "nearest" rounds halves to even, as IEEE does. A tensor of equal numbers has one level.
Reading: k is the share of n to the nearest whole number (halves up), and at least one. Of equal sizes the
first counts as the larger. Reading: channels are axis 1 of [rows, channels, ...].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from oracle.references.common import Params, Part
from torch import Tensor

Numbers = npt.NDArray[np.float32]


def quantized(x: Numbers, bits: int, per_channel: bool = False, draws: Numbers | None = None) -> Numbers:
    """Uniform between minimum and maximum, `bits` per number; with `draws` rounded up with the fraction."""
    if per_channel:
        out = np.empty_like(x)
        for c in range(x.shape[1]):
            out[:, c] = quantized(x[:, c], bits, draws=None if draws is None else draws[:, c])
        return out
    low, high = np.float32(x.min()), np.float32(x.max())
    step = np.float32((high - low) / np.float32(2**bits - 1))
    if step == 0:
        return np.full_like(x, low)
    place = (x - low) / step
    level = np.rint(place) if draws is None else np.floor(place + draws)
    level = np.minimum(np.maximum(level, np.float32(0)), np.float32(2**bits - 1))
    return np.asarray(low + level * step, dtype=np.float32)


def half(x: Numbers) -> Numbers:
    """fp16: numpy's own cast."""
    return x.astype(np.float16).astype(np.float32)


def brain(x: Numbers) -> Numbers:
    """bf16: the upper 16 bits of a float32, the lower rounded to nearest, halves to even."""
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return ((rounded >> 16) << 16).astype(np.uint32).view(np.float32)


def count(share: float, n: int) -> int:
    """k of n numbers."""
    return max(1, math.floor(share * n + 0.5))


def largest(row: Numbers, k: int) -> list[int]:
    """The places of the k numbers of largest size of one row."""
    return sorted(range(len(row)), key=lambda place: (-abs(float(row[place])), place))[:k]


def kept(x: Numbers, places: list[list[int]]) -> Numbers:
    """The rows of x with all numbers zero but those at the places of each row."""
    flat = x.reshape(len(x), -1)
    out = np.zeros_like(flat)
    for row, own in enumerate(places):
        for place in own:
            out[row, place] = flat[row, place]
    return out.reshape(x.shape)


def top_places(x: Numbers, share: float) -> list[list[int]]:
    """The places that top-k sends of each row."""
    flat = x.reshape(len(x), -1)
    return [largest(row, count(share, flat.shape[1])) for row in flat]


def place_bits(n: int, k: int) -> int:
    """Bits that say which k of n numbers are sent: indices or a bitmap, whichever is smaller."""
    return 0 if k == n else min(k * math.ceil(math.log2(n)), n)


@dataclass(frozen=True)
class Link:
    """The codecs of a variant: a word each, "int8" (per tensor) or "top-k" of a share; "" for none."""

    activation: str = ""
    gradient: str = ""
    model: str = ""
    share: float = 1.0

    def server(self, server: Part) -> Part:
        """The server's part behind the link: it computes on what arrives, its gradient goes back likewise."""
        return lambda x_s, z: server(x_s, _Crossing.apply(z, self))  # type: ignore[no-untyped-call]

    def parameters(self, x: Params) -> Params:
        """What arrives of a model: int8 of each tensor, or top-k of all its numbers together."""
        if not self.model:
            return x
        if self.model == "int8":
            return [_as(lambda one: quantized(one, 8), tensor) for tensor in x]
        whole = torch.cat([tensor.reshape(-1) for tensor in x])[None]
        arrived = _as(lambda one: kept(one, top_places(one, self.share)), whole)[0]
        pieces = arrived.split([tensor.numel() for tensor in x])
        return [piece.view(tensor.shape) for piece, tensor in zip(pieces, x, strict=True)]


class _Crossing(torch.autograd.Function):
    """D(C(z)) forward and D(C(g)) backward, in float32; g of a top-k activation at its places alone."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, link: Link) -> Tensor:
        ctx.link, ctx.places = link, None
        if link.activation == "top-k":
            ctx.places = top_places(z.detach().float().numpy(), link.share)
            return _as(lambda one: kept(one, ctx.places), z)
        return _as(lambda one: quantized(one, 8), z) if link.activation else z.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (g,) = gradients
        link, places = ctx.link, ctx.places
        if places is None:
            return (_as(lambda one: quantized(one, 8), g) if link.gradient else g), None
        values = torch.stack([row.reshape(-1)[own] for row, own in zip(g, places, strict=True)])
        if link.gradient:
            values = _as(lambda one: quantized(one, 8), values)
        out = torch.zeros_like(g)
        for row, own, row_values in zip(out, places, values, strict=True):
            row.view(-1)[own] = row_values
        return out, None


def _as(codec: Callable[[Numbers], Numbers], x: Tensor) -> Tensor:
    return torch.from_numpy(codec(x.detach().float().contiguous().numpy())).to(x.dtype)
