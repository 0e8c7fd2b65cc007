"""From stored bytes to a network's inputs: random crop and flip in training, then scale and shift.

Images are kept as bytes, a quarter of float32, and turned into numbers batch by batch where they lie.
Torch lazily. Shapes: N samples, C channels, R rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from sflsim.streams import Key, generator

if TYPE_CHECKING:
    from torch import Tensor

Draws = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Pixels:
    """How a byte becomes an input, channel by channel: (byte / 255 - mean) / deviation."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def inputs(self, x_NCRW: Tensor) -> Tensor:
        """Return bytes [N, C, R, W] as float32, channels last in memory.

        A row of pixels is scaled at once: four times as fast on a CPU as pixel by pixel.
        """
        import torch

        x_NRWC = x_NCRW.movedim(1, -1)
        *_, columns, channels = x_NRWC.shape
        mean = torch.tensor(self.mean, device=x_NCRW.device).repeat(columns)
        deviation = torch.tensor(self.deviation, device=x_NCRW.device).repeat(columns)
        rows = x_NRWC.reshape(-1, columns * channels).to(torch.float32)
        return rows.mul_(1 / (255 * deviation)).sub_(mean / deviation).view(x_NRWC.shape).movedim(-1, 1)


class Augment(BaseModel):
    """Random changes to training images, new in each batch: shifted by up to `crop` pixels, mirrored.

    A crop is one of the original size out of the image within a black rim, as is usual for CIFAR
    (He et al., arXiv 1512.03385, section 4.2).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop: int = Field(default=0, ge=0, le=64, description="width of the black rim, in pixels")
    flip: bool = Field(default=False, description="mirror each image left to right with probability 1/2")

    def apply(self, x_NCRW: Tensor, keys: Sequence[Key]) -> Tensor:
        """Return changed images; `keys` names the batches that they are, of N / len(keys) each.

        Drawn on the CPU under the batch's key alone, so that neither order nor company matter.
        """
        import torch
        from torch.nn import functional as F

        x_NRWC = x_NCRW.movedim(1, -1)
        count, rows, columns, channels = x_NRWC.shape
        draws = [self._draws(key, count // len(keys)) for key in keys]
        top, left, mirrored = (
            torch.from_numpy(np.concatenate(part)).to(x_NCRW.device) for part in zip(*draws, strict=True)
        )
        across = torch.arange(columns, device=x_NCRW.device)
        across = torch.where(mirrored[:, None], across.flip(0), across) + left[:, None]
        down = torch.arange(rows, device=x_NCRW.device) + top[:, None]
        padded = F.pad(x_NRWC, (0, 0, *(self.crop,) * 4))
        image = torch.arange(count, device=x_NCRW.device)[:, None, None] * padded.shape[1]
        places = (image + down[:, :, None]) * padded.shape[2] + across[:, None, :]
        pixels = padded.reshape(-1, channels).index_select(0, places.flatten())
        return pixels.view(x_NRWC.shape).movedim(-1, 1)

    def _draws(self, key: Key, count: int) -> tuple[Draws, Draws, Draws]:
        """Return row and column of the crop's corner, and whether it is mirrored, for each image."""
        rng = generator(*key)
        top, left = rng.integers(0, 2 * self.crop + 1, size=(2, count))
        return top, left, rng.random(count) < (0.5 if self.flip else 0.0)
