"""The twelve vision networks that were timed on Raspberry Pis, as torch modules.

Layer by layer as their papers have them and as the library of the measurements (timm 0.9.10) builds them:
ResNet (arXiv 1512.03385), MobileNetV2 (1801.04381), MobileNetV3 (1905.02244), ViT (2010.11929), each with a
classifier of 1,000 classes. Their numbers of parameters are checked in tests/theory/test_device_rates.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

CLASSES = 1000


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: nn.Module | None = None
) -> list[nn.Module]:
    """Return a convolution without bias, batch norm and, if given, an activation function."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), *([act] if act else [])]


class Residual(nn.Module):
    """The sum of two ways through a block, with an activation function behind it."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip, self.act = body, skip or nn.Identity(), act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for x [B, C, H, W]."""
        summed: Tensor = self.act(self.body(x) + self.skip(x))
        return summed


def resnet(depths: Sequence[int], bottleneck: bool = False) -> nn.Module:
    """Return ResNet-18 and -34 (two 3 x 3 convolutions a block) or -50 (bottlenecks)."""
    relu = partial(nn.ReLU, inplace=True)
    layers = [*convolution(3, 64, 7, 2, act=relu()), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, depth in enumerate(depths):
        width, stride = 64 << stage, 2 if stage else 1
        outputs = 4 * width if bottleneck else width
        for block in range(depth):
            step = stride if block == 0 else 1
            if bottleneck:
                body = [
                    *convolution(inputs, width, 1, act=relu()),
                    *convolution(width, width, 3, step, act=relu()),
                    *convolution(width, outputs, 1),
                ]
            else:
                body = [
                    *convolution(inputs, width, 3, step, act=relu()),
                    *convolution(width, outputs, 3),
                ]
            changes = step > 1 or inputs != outputs
            skip = nn.Sequential(*convolution(inputs, outputs, 1, step)) if changes else None
            layers.append(Residual(nn.Sequential(*body), skip, relu()))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


class SqueezeExcite(nn.Module):
    """Scales every channel by a factor that the means of all channels decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = rounded(channels / 4)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, reduced, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(reduced, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for x [B, C, H, W]."""
        scaled: Tensor = x * self.gate(x.mean((2, 3), keepdim=True))
        return scaled


def rounded(channels: float) -> int:
    """Return the nearest multiple of 8 that is not below 90 % of the channels."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def inverted_residual(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    expansion: float,
    se: bool,
    act: Callable[[], nn.Module],
) -> nn.Module:
    """Return an expansion (none for 1), a depthwise convolution and a projection."""
    middle = rounded(inputs * expansion) if expansion != 1 else inputs
    body = [
        *(convolution(inputs, middle, 1, act=act()) if expansion != 1 else []),
        *convolution(middle, middle, kernel, stride, groups=middle, act=act()),
        *([SqueezeExcite(middle)] if se else []),
        *convolution(middle, outputs, 1),
    ]
    block = nn.Sequential(*body)
    return Residual(block) if stride == 1 and inputs == outputs else block


Row = tuple[int, int, float, int, bool, str]
"""Kernel, stride, expansion, channels, squeeze-and-excitation, activation function."""
V2: list[Row] = [
    (3, stride if block == 0 else 1, expansion, channels, False, "relu6")
    for expansion, channels, blocks, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )
    for block in range(blocks)
]
V3_LARGE: list[Row] = [
    (3, 1, 1, 16, False, "relu"), (3, 2, 4, 24, False, "relu"), (3, 1, 3, 24, False, "relu"),
    (5, 2, 3, 40, True, "relu"), (5, 1, 3, 40, True, "relu"), (5, 1, 3, 40, True, "relu"),
    (3, 2, 6, 80, False, "swish"), (3, 1, 2.5, 80, False, "swish"),
    (3, 1, 2.3, 80, False, "swish"), (3, 1, 2.3, 80, False, "swish"),
    (3, 1, 6, 112, True, "swish"), (3, 1, 6, 112, True, "swish"),
    (5, 2, 6, 160, True, "swish"), (5, 1, 6, 160, True, "swish"), (5, 1, 6, 160, True, "swish"),
]  # fmt: skip
V3_SMALL: list[Row] = [
    (3, 2, 1, 16, True, "relu"), (3, 2, 4.5, 24, False, "relu"), (3, 1, 3.67, 24, False, "relu"),
    (5, 2, 4, 40, True, "swish"), (5, 1, 6, 40, True, "swish"), (5, 1, 6, 40, True, "swish"),
    (5, 1, 3, 48, True, "swish"), (5, 1, 3, 48, True, "swish"),
    (5, 2, 6, 96, True, "swish"), (5, 1, 6, 96, True, "swish"), (5, 1, 6, 96, True, "swish"),
]  # fmt: skip
ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "swish": partial(nn.Hardswish, inplace=True),
}


def mobilenet(rows: Sequence[Row], width: float, stem: int, last: float, head: int, act: str) -> nn.Module:
    """Return a MobileNet: `last` channels behind its blocks and, in V3, `head` behind the pooling."""
    inputs = rounded(stem * width)
    layers = convolution(3, inputs, 3, 2, act=ACTS[act]())
    for kernel, stride, expansion, channels, se, row_act in rows:
        outputs = rounded(channels * width)
        layers.append(inverted_residual(inputs, outputs, kernel, stride, expansion, se, ACTS[row_act]))
        inputs = outputs
    channels = int(last)
    layers += [*convolution(inputs, channels, 1, act=ACTS[act]()), nn.AdaptiveAvgPool2d(1)]
    if head:
        layers += [nn.Conv2d(channels, head, 1), ACTS[act]()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(head or channels, CLASSES))


def mobilenet_v2(width: float) -> nn.Module:
    """Return MobileNetV2 of a width."""
    return mobilenet(V2, width, 32, 1280, 0, "relu6")


def mobilenet_v3(rows: Sequence[Row], width: float, last: int, head: int) -> nn.Module:
    """Return MobileNetV3, small or large, of a width."""
    return mobilenet(rows, width, 16, rounded(last * width), head, "swish")


class Attention(nn.Module):
    """Self-attention of several heads, as products of its own (torch 1.13 has no fused kernel)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for x [B, N, width]."""
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q * (width // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).reshape(b, n, width))
        return mixed


class Patches(nn.Module):
    """Patches of 16 x 16 pixels as tokens, a token of the class before them, and positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 197, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens [B, 197, width] for images [B, 3, 224, 224]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.positions


class First(nn.Module):
    """The first token."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, width] of x [B, N, width]."""
        return x[:, 0]


def vit(width: int, heads: int) -> nn.Module:
    """Return ViT with 12 blocks and patches of 16 x 16."""
    layers: list[nn.Module] = [Patches(width)]
    for _ in range(12):
        mlp = [nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)]
        layers += [
            Residual(nn.Sequential(nn.LayerNorm(width), Attention(width, heads))),
            Residual(nn.Sequential(nn.LayerNorm(width), *mlp)),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(width), First(), nn.Linear(width, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": partial(resnet, (2, 2, 2, 2)),
    "resnet34": partial(resnet, (3, 4, 6, 3)),
    "resnet50": partial(resnet, (3, 4, 6, 3), bottleneck=True),
    "mobilenetv2_050": partial(mobilenet_v2, 0.5),
    "mobilenetv2_100": partial(mobilenet_v2, 1.0),
    "mobilenetv3_small_075": partial(mobilenet_v3, V3_SMALL, 0.75, 576, 1024),
    "mobilenetv3_small_100": partial(mobilenet_v3, V3_SMALL, 1.0, 576, 1024),
    "mobilenetv3_large_075": partial(mobilenet_v3, V3_LARGE, 0.75, 960, 1280),
    "mobilenetv3_large_100": partial(mobilenet_v3, V3_LARGE, 1.0, 960, 1280),
    "vit_tiny": partial(vit, 192, 3),
    "vit_small": partial(vit, 384, 6),
    "vit_base": partial(vit, 768, 12),
}
