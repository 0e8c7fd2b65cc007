"""A small convolutional network for small images. Torch lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from sflsim.learning.models.base import ModelConfig, image_shape

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[int, Field(ge=1, le=4096)]


class CNN(ModelConfig):
    """Blocks conv-1 ... conv-n (3x3 convolution, ReLU, 2x2 max-pool while the image is wide enough),
    dense (linear, ReLU) and output (linear); cuts 1 to n + 1.
    """

    without_constants: ClassVar[bool] = True
    kind: Literal["cnn"] = "cnn"
    channels: tuple[Width, ...] = Field(default=(16, 32), min_length=1, description="of each convolution")
    dense: Width = Field(default=64, description="width of the dense layer")

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        return [f"conv-{number}" for number in range(1, len(self.channels) + 1)] + ["dense", "output"]

    def build(self, sample_shape: tuple[int, ...], classes: int) -> list[tuple[str, nn.Module]]:
        """Return the named blocks, with fresh weights, for images of (channels, rows, columns)."""
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
        blocks.append(nn.Sequential(nn.Flatten(), nn.Linear(before * rows * columns, self.dense), nn.ReLU()))
        blocks.append(nn.Linear(self.dense, classes))
        return list(zip(self.block_names, blocks, strict=True))
