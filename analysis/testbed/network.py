"""A network whose blocks differ in kind: one of depthwise convolutions beside dense ones."""

from __future__ import annotations

from typing import Literal

from torch import nn

import sflsim
from sflsim.learning.models.base import ModelConfig


@sflsim.register_model
class Unlike(ModelConfig):
    """Blocks stem (a convolution), depthwise (7 x 7 for each channel, then 1 x 1), dense (3 x 3) and output.

    Most FLOP are the dense block's, most of the client's time at cut 2 is the depthwise one's.
    """

    kind: Literal["unlike"] = "unlike"
    width: int = 48

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        return ["stem", "depthwise", "dense", "output"]

    def build(self, sample_shape: tuple[int, ...], classes: int) -> list[tuple[str, nn.Module]]:
        """Return the named blocks, with fresh weights, for images of (channels, rows, columns)."""
        channels, rows, columns = sample_shape
        width = self.width
        each = [nn.Conv2d(width, width, 7, padding=3, groups=width), nn.ReLU(), nn.Conv2d(width, width, 1)]
        blocks = [
            nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()),
            nn.Sequential(*each, nn.ReLU()),
            nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Flatten(), nn.Linear(2 * width * (rows // 2) * (columns // 2), classes)),
        ]
        return list(zip(self.block_names, blocks, strict=True))
