"""The port of the data sets: what a data set's Config loads. Torch lazily."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sflsim.learning.data.pixels import Augment, Pixels
from sflsim.streams import Key

if TYPE_CHECKING:
    from torch import Tensor, device


@dataclass(frozen=True)
class Data:
    """Training and held-out samples: inputs [N, ...], labels [N] as int64.

    Inputs are floats, bytes with the `pixels` that make floats of them, or token ids and mask
    [N, 2, length] as int64. A data set that gives no `fingerprint` has all its numbers hashed.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    fingerprint: str = field(default="")
    pixels: Pixels | None = None
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if not self.fingerprint:
            digest = hashlib.blake2b(digest_size=16)
            for tensor in (self.train_x, self.train_y, self.test_x, self.test_y):
                digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().cpu().numpy().data)
            if self.pixels is not None or self.augment is not None:
                digest.update(repr((self.pixels, self.augment)).encode())
            object.__setattr__(self, "fingerprint", digest.hexdigest())

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one input."""
        return tuple(self.train_x.shape[1:])

    def to(self, device: device) -> Data:
        """Return the data on `device`, images laid out with their channels last: convolutions run faster."""
        return replace(
            self,
            train_x=_channels_last(self.train_x.to(device)),
            train_y=self.train_y.to(device),
            test_x=_channels_last(self.test_x.to(device)),
            test_y=self.test_y.to(device),
        )

    def inputs(self, x: Tensor) -> Tensor:
        """Return samples as a network takes them."""
        return x if self.pixels is None else self.pixels.inputs(x)

    def training_inputs(self, indices: Tensor, keys: Sequence[Key]) -> Tensor:
        """Return training samples as a network takes them, augmented under the keys of their batches."""
        x = self.train_x[indices]
        return self.inputs(x if self.augment is None else self.augment.apply(x, keys))


def _channels_last(x: Tensor) -> Tensor:
    """Return images [N, channels, rows, columns] with channels last in memory, anything else as it is."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if x.dim() == 4 else x
