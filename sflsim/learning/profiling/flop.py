"""Counts the FLOP of what runs: torch's counter, corrected where it counts nothing or too much.

One convention: 2 FLOP per multiply-accumulate of matrix products, convolutions and attention; places
that padding fills count like others. A gradient by one factor of a product costs what the product
does. What an attention kernel computes twice to save memory counts once, so that the figure belongs
to the network and not to the kernel. Everything element by element is free, an outer product too. The
fused layers of a CPU (LSTM, the fast path of multi-head attention) are single operations that tell no
shapes of their products; on the meta device they are made of products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

Shape = Sequence[int]


class FlopCounter(FlopCounterMode):
    """Counts while it is entered; `get_total_flops` returns the sum."""

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=_formulas())

    @property
    def work(self) -> float:
        """The FLOP counted so far."""
        return float(self.get_total_flops())


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return what each operation costs that torch's counter leaves out or gets wrong."""
    aten = torch.ops.aten
    attention = [
        getattr(aten, f"_scaled_dot_product_{kernel}")
        for kernel in ("flash_attention_for_cpu", "fused_attention_overrideable")
    ]
    attention_backward = [
        getattr(aten, f"_scaled_dot_product_{kernel}_backward")
        for kernel in (
            *("flash_attention", "efficient_attention", "cudnn_attention"),
            *("flash_attention_for_cpu", "fused_attention_overrideable"),
        )
    ]
    onto_a_sum = (aten.addmm_, aten._addmm_activation, aten.baddbmm_, aten.addbmm, aten.addbmm_)
    return {
        aten.convolution_backward: _convolution_backward,
        **dict.fromkeys(attention, _attention),
        **dict.fromkeys(attention_backward, _attention_backward),
        **dict.fromkeys((aten.mv, aten.dot, aten.vdot), _product),
        **dict.fromkeys((*onto_a_sum, aten.addmv, aten.addmv_), _product_onto),
        aten._trilinear: _trilinear,
    }


def _convolution_backward(
    above: Shape,
    x: Shape,
    weight: Shape,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """By input and by weight, as far as wanted, what the forward pass costs; the weight knows the groups."""
    forward: int = conv_flop_count(list(x), list(weight), list(above), transposed)
    return (wanted[0] + wanted[1]) * forward


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Two products for each pair of positions: query with key, probabilities with values."""
    macs: int = prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    return 2 * macs


def _attention_backward(above: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """By both factors of both products."""
    return 2 * _attention(query, key, value)


def _product(a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    """The sum over one dimension, for each number of the result."""
    return 2 * prod(a) * (b[-1] if len(b) > 1 else 1)


def _product_onto(onto: Shape, a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    return _product(a, b)


def _trilinear(
    a: Shape, b: Shape, c: Shape, into_a: Sequence[int], into_b: Sequence[int], into_c: Sequence[int],
    *_: Any, **__: Any,
) -> int:  # fmt: skip
    """The bilinear layer and its gradients: a product over all dimensions of the three together."""
    spread = [_widened(shape, places) for shape, places in ((a, into_a), (b, into_b), (c, into_c))]
    return 2 * int(prod(max(sizes) for sizes in zip(*spread, strict=True)))


def _widened(shape: Shape, places: Sequence[int]) -> list[int]:
    """Return a shape with dimensions of size 1 put in at the places."""
    sizes = list(shape)
    for place in sorted(places):
        sizes.insert(place, 1)
    return sizes
