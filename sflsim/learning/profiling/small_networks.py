"""Small networks whose blocks hold all kinds of operation, to measure a machine's rates with.

Their families differ: plain convolutions, residual blocks, small and large depthwise convolutions, a
perceptron, attention. Every kind of operation is in two of them or more, so that one can be left out. Each
is a list of named blocks with fresh weights, for samples of the shape that stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sflsim.learning.network.residual import Residual, classifier, stem

Blocks = list[tuple[str, nn.Module]]
IMAGE = (3, 32, 32)
CLASSES = 10
BATCH_SIZES = (8, 32)
"""That they are measured with: two, so that what each batch costs is told from what each sample does."""


def convolutions() -> Blocks:
    """Return four convolutions with pooling, and a classifier."""
    widths = [(3, 24, 3), (24, 48, 3), (48, 96, 3), (96, 96, 1)]
    blocks: Blocks = [
        (f"conv-{number}", nn.Sequential(nn.Conv2d(*width, padding="same"), nn.ReLU(), nn.MaxPool2d(2)))
        for number, width in enumerate(widths, start=1)
    ]
    return [*blocks, ("output", nn.Sequential(nn.Flatten(), nn.Linear(96 * 4, CLASSES)))]


def residuals() -> Blocks:
    """Return residual blocks with batch norm."""
    return [
        ("stem", stem(3, 16, large=False)),
        ("wide", Residual(16, 16, 1)),
        ("middle", Residual(16, 32, 2)),
        ("narrow", Residual(32, 64, 2)),
        ("head", classifier(64, CLASSES, 0.0)),
    ]


def depthwise() -> Blocks:
    """Return inverted residual blocks, as in MobileNet."""
    return [
        ("stem", stem(3, 16, large=False)),
        ("wide", _inverted(16, 24, 4, 3, 2)),
        ("middle", _inverted(24, 24, 6, 5, 1)),
        ("narrow", _inverted(24, 48, 6, 3, 2)),
        ("head", classifier(48, CLASSES, 0.0)),
    ]


def large_kernels() -> Blocks:
    """Return large depthwise convolutions between linear layers, as in ConvNeXt."""
    return [
        ("patches", nn.Conv2d(3, 32, 2, 2)),
        ("wide", _Mixer(32)),
        ("halved", nn.Conv2d(32, 64, 2, 2)),
        ("narrow", _Mixer(64)),
        ("head", classifier(64, CLASSES, 0.0)),
    ]


def perceptron() -> Blocks:
    """Return linear layers."""
    widths = [(512, 768), (768, 384), (384, 128)]
    blocks: Blocks = [
        (f"dense-{number}", nn.Sequential(nn.Linear(*width), nn.ReLU()))
        for number, width in enumerate(widths, start=1)
    ]
    return [*blocks, ("output", nn.Linear(128, CLASSES))]


def attention() -> Blocks:
    """Return blocks of a transformer encoder on 64 tokens of width 64 and 16 of width 128."""
    return [
        ("first", _Encoder(64, 4)),
        ("second", _Encoder(64, 4)),
        ("fewer", nn.Sequential(nn.Unflatten(1, (16, 4)), nn.Flatten(2), nn.Linear(256, 128))),
        ("third", _Encoder(128, 4)),
        ("head", nn.Sequential(nn.Flatten(), nn.Linear(16 * 128, CLASSES))),
    ]


NETWORKS: dict[str, tuple[Callable[[], Blocks], tuple[int, ...]]] = {
    "convolutions": (convolutions, IMAGE),
    "residual": (residuals, IMAGE),
    "depthwise": (depthwise, IMAGE),
    "large kernels": (large_kernels, IMAGE),
    "perceptron": (perceptron, (512,)),
    "attention": (attention, (64, 64)),
}
"""By name: what builds the blocks, and the shape of a sample."""


def _inverted(before: int, after: int, expansion: int, kernel: int, stride: int) -> nn.Module:
    """Return a pointwise convolution, a depthwise one and a projection, each with batch norm."""
    wide = before * expansion
    return nn.Sequential(
        *(nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
        nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
        *(nn.BatchNorm2d(wide), nn.ReLU6(), nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after)),
    )


class _Mixer(nn.Module):
    """x + f(x), f a depthwise convolution of 7 x 7, a norm over the channels and two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, channels, rows, columns] of x of that shape."""
        y = self.norm(self.mix(x).permute(0, 2, 3, 1))
        result: Tensor = x + self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)
        return result


class _Encoder(nn.Module):
    """Attention and two linear layers, each with a norm before and a sum behind."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, tokens, width] of x [B, tokens, width]."""
        batch, tokens, width = x.shape
        apart = (batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm1(x)).reshape(apart).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(mixed)
        result: Tensor = x + self.down(torch.relu(self.up(self.norm2(x))))
        return result
