"""The blocks of residual networks, their parameters named and initialised as torchvision's."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class Residual(nn.Module):
    """relu(x + f(x)), f two 3x3 convolutions with batch norm; x goes through a 1x1 one if shapes differ."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(before, after, 3, stride)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = _conv(after, after, 3)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, after, rows / stride, columns / stride] of x [B, before, rows, columns]."""
        f = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu(f + (x if self.downsample is None else self.downsample(x)))
        return result


def stem(channels: int, width: int, large: bool) -> nn.Module:
    """Return the first layers: for large images by a quarter of their size, else at it."""
    layers = OrderedDict[str, nn.Module](
        conv1=_conv(channels, width, 7, 2) if large else _conv(channels, width, 3),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(),
    )
    if large:
        layers["maxpool"] = nn.MaxPool2d(3, 2, padding=1)
    return nn.Sequential(layers)


def classifier(width: int, classes: int, dropout: float) -> nn.Module:
    """Return the last layers: mean over the image, dropout if there is any, linear."""
    layers = OrderedDict[str, nn.Module](avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["fc"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


def _conv(before: int, after: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
