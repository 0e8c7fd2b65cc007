"""ResNet-18 and -34 (He et al., arXiv 1512.03385) for small and for large images. Torch lazily.

Parameters are named as torchvision's, so that its weights load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sflsim.learning.models.base import ModelConfig, image_shape

if TYPE_CHECKING:
    from torch import nn

LARGE = 96
"""Images of this many pixels a side or more get the stem of ImageNet where `stem` is auto."""


class ResNet(ModelConfig):
    """Blocks stem, layer1.0 ... layer4.n (one residual block each) and head (mean over the image, linear).

    The stem of ImageNet is a 7x7 convolution by 2 and a 3x3 pooling by 2, that of CIFAR one 3x3
    convolution. A block halves the image where its stage begins, the first stage's excepted.
    """

    stem: Literal["auto", "cifar", "imagenet"] = Field(
        default="auto", description=f"auto: imagenet from {LARGE} pixels a side on, else cifar"
    )
    width: int = Field(default=64, ge=1, le=4096, description="channels of the first stage")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share dropped before the classifier")

    unnamed_blocks: ClassVar[tuple[str, ...]] = ("stem", "head")
    without_constants: ClassVar[bool] = True
    depths: ClassVar[tuple[int, ...]]

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        stages = enumerate(self.depths, start=1)
        return ["stem", *(f"layer{stage}.{i}" for stage, depth in stages for i in range(depth)), "head"]

    def build(self, sample_shape: tuple[int, ...], classes: int) -> list[tuple[str, nn.Module]]:
        """Return the named blocks, with fresh weights, for images of (channels, rows, columns).

        Raises:
            ScenarioError: the samples are no images.
        """
        from sflsim.learning.network.residual import Residual, classifier, stem

        channels, rows, columns = image_shape(sample_shape, str(getattr(self, "kind", "resnet")))
        large = self.stem == "imagenet" or (self.stem == "auto" and min(rows, columns) >= LARGE)
        blocks: list[nn.Module] = [stem(channels, self.width, large)]
        before = self.width
        for stage, depth in enumerate(self.depths):
            after = self.width * 2**stage
            for number in range(depth):
                blocks.append(Residual(before, after, 2 if stage and not number else 1))
                before = after
        blocks.append(classifier(before, classes, self.dropout))
        return list(zip(self.block_names, blocks, strict=True))


class ResNet18(ResNet):
    """ResNet-18: two residual blocks a stage; 11,689,512 parameters for ImageNet."""

    kind: Literal["resnet-18"] = "resnet-18"
    depths: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)


class ResNet34(ResNet):
    """ResNet-34: 3, 4, 6 and 3 residual blocks; 21,797,672 parameters for ImageNet."""

    kind: Literal["resnet-34"] = "resnet-34"
    depths: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
