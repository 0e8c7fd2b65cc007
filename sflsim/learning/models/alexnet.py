"""The AlexNet for 32x32 images that GAS's code, and after it MU-SplitFed, trains. Torch lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from sflsim.learning.models.base import ModelConfig, image_shape

if TYPE_CHECKING:
    from torch import nn

SMALLEST = 12  # rows and columns: two halvings, then a pooling of 3 by 2


class AlexNet(ModelConfig):
    """Blocks conv-1 ... conv-5, dense-1, dense-2 and output; 3,868,746 parameters for CIFAR-10.

    3x3 convolutions to 32, 64, 128, 256 and 256 channels, pooling and ReLU after the first, second and
    fifth; linear layers to 1024, 512 and the classes. As in the papers' code, no activation function
    follows the third and the fourth convolution or a linear layer. Cut 2 sends 64x8x8 numbers a sample
    of CIFAR's size. (GAS, arXiv 2409.01251; MU-SplitFed, arXiv 2510.21155.)
    """

    without_constants: ClassVar[bool] = True
    kind: Literal["alexnet"] = "alexnet"

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        return [*(f"conv-{number}" for number in range(1, 6)), "dense-1", "dense-2", "output"]

    def build(self, sample_shape: tuple[int, ...], classes: int) -> list[tuple[str, nn.Module]]:
        """Return the named blocks, with fresh weights, for images of (channels, rows, columns).

        Raises:
            ScenarioError: the samples are no images, or too small ones.
        """
        from torch import nn

        channels, rows, columns = image_shape(sample_shape, self.kind, SMALLEST)

        def conv(before: int, after: int, *pooling: nn.Module) -> nn.Module:
            activation = [nn.ReLU()] if pooling else []
            return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), *pooling, *activation)

        left = 256 * ((rows // 4 - 3) // 2 + 1) * ((columns // 4 - 3) // 2 + 1)
        blocks = [
            conv(channels, 32, nn.MaxPool2d(2)),
            conv(32, 64, nn.MaxPool2d(2)),
            conv(64, 128),
            conv(128, 256),
            conv(256, 256, nn.MaxPool2d(3, 2)),
            nn.Sequential(nn.Flatten(), nn.Linear(left, 1024)),
            nn.Sequential(nn.Linear(1024, 512)),
            nn.Linear(512, classes),
        ]
        return list(zip(self.block_names, blocks, strict=True))
