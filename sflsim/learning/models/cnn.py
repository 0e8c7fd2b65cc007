"""A small convolutional network for small images. Torch lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from sflsim.learning.models.base import ModelConfig, Sizes, image_shape

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[int, Field(ge=1, le=4096)]


class CNN(ModelConfig):
    """Blocks conv-1 ... conv-n (3x3 convolution, ReLU, 2x2 max-pool while the image is wide enough),
    dense (linear, ReLU; several are dense-1 ... dense-m) and output (linear); cuts 1 to n + m.
    """

    without_constants: ClassVar[bool] = True
    kind: Literal["cnn"] = "cnn"
    channels: Annotated[tuple[Width, ...], Sizes] = Field(
        default=(16, 32), min_length=1, description="of each convolution"
    )
    dense: Annotated[tuple[Width, ...], Sizes] = Field(
        default=(64,), min_length=1, description="width of each dense layer"
    )

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        several = len(self.dense) > 1
        dense = [f"dense-{number}" if several else "dense" for number in range(1, len(self.dense) + 1)]
        return [*(f"conv-{number}" for number in range(1, len(self.channels) + 1)), *dense, "output"]

    def build(self, sample_shape: tuple[int, ...], classes: int) -> list[tuple[str, nn.Module]]:
        """Return the named blocks, with fresh weights, for images of (channels, rows, columns)."""
        from itertools import pairwise

        from torch import nn

        before, rows, columns = image_shape(sample_shape, self.kind)
        blocks: list[nn.Module] = []
        for after in self.channels:
            layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            if min(rows, columns) >= 4:
                layers.append(nn.MaxPool2d(2))
                rows, columns = rows // 2, columns // 2
            blocks.append(nn.Sequential(*layers))
            before = after
        widths = [before * rows * columns, *self.dense]
        dense = [nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(widths)]
        dense[0] = nn.Sequential(nn.Flatten(), *dense[0].children())
        blocks += [*dense, nn.Linear(widths[-1], classes)]
        return list(zip(self.block_names, blocks, strict=True))
