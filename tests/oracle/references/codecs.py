"""Codecs of messages: what arrives, D(C(x)), and how many bytes travel; in numpy, a number at a time.

Source: MECHANISMS.md section 1, a digest of the papers that is not part of the repository, and the page on
compression. Numbers come and go as float32 (what a link carries); in between everything is exact or float64.

Reading: a range is sent as it is; a level is the float32 nearest to low + code (high - low) / (2^bits - 1);
a tensor or channel whose numbers are all equal arrives as it is.
Reading: the nearest level; of two equally near ones, that of the even code (IEEE's rule).
Reading: a draw in [0, 1) is added to the number's place among the levels, and the level below is sent.
Reading: k is the share of n to the nearest whole number (halves up), at least one; of equal sizes the first.
Reading: the values of top-k are one message to their codec: a range over the numbers that are sent, those of
all samples together (per channel: a channel is not known there, so per tensor only).
Reading: bits of a message are packed and filled up to whole bytes at its end, once for the numbers and once
for the places.
Reading: the channels of images [B, C, H, W] are their second axis, else the last one; of a model's tensor
the outputs, its first axis; biases are one channel.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from oracle.references.common import Params
from torch import Tensor

F32 = np.float32


@dataclass(frozen=True)
class Codec:
    """fp16, bf16, quantize (`bits`, `per`) or top-k (`keep`, `values`)."""

    kind: str
    bits: int = 8
    per: str = "tensor"
    keep: Fraction = Fraction(1)
    values: Codec | None = None


def as_fp16(x: float) -> float:
    """The nearest number of 1 + 5 + 10 bits, ties to even; beyond the largest, infinity."""
    if x == 0 or math.isinf(x):
        return x
    exponent = max(math.frexp(abs(x))[1] - 1, -14)
    unit = math.ldexp(1.0, exponent - 10)
    rounded = round(abs(x) / unit) * unit  # Python rounds ties to even; powers of two are exact
    return math.copysign(math.inf if rounded > 65504 else rounded, x)


def as_bf16(x: float) -> float:
    """Float32 without its last 16 bits, rounded to nearest, ties to even."""
    (bits,) = np.array([x], dtype=F32).view(np.uint32).tolist()
    head, tail = bits >> 16, bits & 0xFFFF
    if tail > 0x8000 or (tail == 0x8000 and head % 2 == 1):
        head += 1
    (value,) = np.array([head << 16], dtype=np.uint32).view(F32).tolist()
    return float(value)


def quantized(numbers: list[float], bits: int, draws: list[float] | None = None) -> list[float]:
    """Numbers that share a range, as they arrive; rounded by `draws` if there are any."""
    low, high = Fraction(min(numbers)), Fraction(max(numbers))
    if low == high:
        return list(numbers)
    out = []
    for i, x in enumerate(numbers):
        position = (Fraction(x) - low) / (high - low) * (2**bits - 1)
        code = round(position) if draws is None else math.floor(position + Fraction(draws[i]))
        out.append(float(F32(low + code * (high - low) / (2**bits - 1))))
    return out


def channels_of(shape: tuple[int, ...], axis: int) -> list[list[int]]:
    """The flat positions of each channel."""
    groups: list[list[int]] = [[] for _ in range(shape[axis])]
    for flat, index in enumerate(itertools.product(*map(range, shape))):
        groups[index[axis]].append(flat)
    return groups


def top(row: list[float], k: int) -> list[int]:
    """The places of the k numbers of largest size of one row."""
    return sorted(sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))[:k])


def count(keep: Fraction, n: int) -> int:
    """How many of n numbers are sent."""
    return max(1, math.floor(keep * n + Fraction(1, 2)))


def coded(
    codec: Codec, x: list[float], groups: list[list[int]], draws: list[float] | None = None
) -> list[float]:
    """What arrives of numbers all of which are sent; `groups` are the positions that share a range."""
    if codec.kind == "fp16":
        return [as_fp16(v) for v in x]
    if codec.kind == "bf16":
        return [as_bf16(v) for v in x]
    assert codec.kind == "quantize"
    out = list(x)
    for group in groups:
        drawn = None if draws is None else [draws[i] for i in group]
        for i, v in zip(group, quantized([x[i] for i in group], codec.bits, drawn), strict=True):
            out[i] = v
    return out


def arrived_at(places: list[list[int]], rows: list[list[float]], values: Codec | None) -> list[list[float]]:
    """What arrives of rows of which only the numbers at `places` are sent."""
    sent = [rows[r][i] for r in range(len(rows)) for i in places[r]]
    if values is not None:
        sent = coded(values, sent, [list(range(len(sent)))])
    out = [[0.0] * len(row) for row in rows]
    numbers = iter(sent)
    for r in range(len(rows)):
        for i in places[r]:
            out[r][i] = next(numbers)
    return out


def _numbers(x: Tensor) -> list[float]:
    return [float(F32(v)) for v in x.detach().reshape(-1).tolist()]


def _like(numbers: list[float] | list[list[float]], x: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=x.dtype).reshape(x.shape)


def _rows(x: Tensor) -> list[list[float]]:
    return [_numbers(x[r]) for r in range(x.shape[0])]


@dataclass(frozen=True)
class Wire:
    """The codec of each kind of message; None sends it as it is."""

    activation: Codec | None = None
    gradient: Codec | None = None
    model: Codec | None = None

    def up(self, z: Tensor, draws: list[float] | None = None) -> Tensor:
        """What arrives of the activation [B, ...] of one batch."""
        return activation(self.activation, z, draws)

    def down(self, g: Tensor, z: Tensor) -> Tensor:
        """What arrives of the gradient by what arrived of z: at the places of z, if not all was sent."""
        if self.activation is not None and self.activation.kind == "top-k":
            rows = _rows(z)
            places = [top(row, count(self.activation.keep, len(row))) for row in rows]
            return _like(arrived_at(places, _rows(g), self.gradient), g)
        return activation(self.gradient, g)

    def parts(self, x: Params) -> Params:
        """What arrives of (a part of) a model, sent as one message."""
        codec = self.model
        if codec is None or not x:
            return x
        if codec.kind == "top-k":
            row = [v for t in x for v in _numbers(t)]
            (flat,) = arrived_at([top(row, count(codec.keep, len(row)))], [row], codec.values)
            numbers = iter(flat)
            return [_like([next(numbers) for _ in range(t.numel())], t) for t in x]
        out = []
        for t in x:
            whole = [list(range(t.numel()))]
            groups = channels_of(tuple(t.shape), 0) if codec.per == "channel" and t.dim() > 1 else whole
            out.append(_like(coded(codec, _numbers(t), groups), t))
        return out


PLAIN = Wire()


def activation(codec: Codec | None, z: Tensor, draws: list[float] | None = None) -> Tensor:
    """What arrives of an activation (or its gradient) [B, ...], sent as one message."""
    if codec is None:
        return z
    if codec.kind == "top-k":
        rows = _rows(z)
        places = [top(row, count(codec.keep, len(row))) for row in rows]
        return _like(arrived_at(places, rows, codec.values), z)
    axis = 1 if z.dim() == 4 else z.dim() - 1
    groups = channels_of(tuple(z.shape), axis) if codec.per == "channel" else [list(range(z.numel()))]
    return _like(coded(codec, _numbers(z), groups, draws), z)


def value_bytes(codec: Codec | None, numbers: int, ranges: int = 1) -> int:
    """Bytes of numbers all of which are sent; `ranges` tensors or channels have a range of their own."""
    if codec is None:
        return 4 * numbers
    if codec.kind in ("fp16", "bf16"):
        return 2 * numbers
    return math.ceil(codec.bits * numbers / 8) + 8 * ranges


def place_bytes(rows: int, n: int, k: int) -> int:
    """Bytes of the places of k of n numbers in each row: indices, or a bitmap where that is smaller."""
    if k == n:
        return 0
    index_bits = 0
    while 2**index_bits < n:
        index_bits += 1
    return math.ceil(rows * min(k * index_bits, n) / 8)


def sent_bytes(codec: Codec | None, rows: int, n: int, ranges: int = 1) -> int:
    """Bytes of a message of `rows` rows of n numbers."""
    if codec is not None and codec.kind == "top-k":
        k = count(codec.keep, n)
        return value_bytes(codec.values, rows * k) + place_bytes(rows, n, k)
    return value_bytes(codec, rows * n, ranges)


def gradient_bytes(wire: Wire, rows: int, n: int) -> int:
    """Bytes of the gradient of an activation: of a top-k one values only, whose places the server knows."""
    codec = wire.activation
    sent = count(codec.keep, n) if codec is not None and codec.kind == "top-k" else n
    return sent_bytes(wire.gradient, rows, sent)
