"""scikit-learn's handwritten digits: real data that is installed with sflsim. Torch lazily."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from sflsim.learning.data.base import Data
from sflsim.streams import generator

Labels = npt.NDArray[np.int64]


@cache
def _read() -> tuple[npt.NDArray[np.float64], Labels]:
    """Return the images [N, 1, 8, 8], pixels 0 to 16, and the labels [N]; not to be changed."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"
    if file.exists():  # to import scikit-learn takes longer than a short run
        table = np.loadtxt(file, delimiter=",")
        pixels, labels = table[:, :-1], table[:, -1]
    else:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    return pixels.reshape(-1, 1, 8, 8), labels.astype(np.int64)


class Digits(BaseModel):
    """1,797 handwritten digits of 8x8 pixels, 10 classes (UCI optical recognition test set).

    Pixels are scaled to [0, 1] and standardised with the training part's mean and deviation. The
    held-out part is drawn per class under a fixed key, the same for every scenario seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["digits"] = "digits"
    held_out: float = Field(
        default=0.2, ge=0.01, le=0.9, description="share of the samples kept for evaluation"
    )

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one input: channels, rows, columns."""
        return (1, 8, 8)

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return 10

    def training_labels(self) -> Labels:
        """Return the labels [N] of the training samples; needs no torch."""
        _, labels = _read()
        return labels[self._training(labels)]

    def stamp(self) -> str:
        """Return a text that differs where the samples do: they come with scikit-learn."""
        return version("scikit-learn")

    def load(self) -> Data:
        """Return the data as tensors [N, 1, 8, 8]."""
        import torch

        images, labels = _read()
        test = self._held_out(labels)
        train = self._training(labels)
        x = images.astype(np.float32) / np.float32(16)
        x = (x - x[train].mean()) / x[train].std()
        return Data(
            torch.from_numpy(x[train]),
            torch.from_numpy(labels[train]),
            torch.from_numpy(x[test]),
            torch.from_numpy(labels[test]),
            self.classes,
        )

    def _training(self, labels: Labels) -> Labels:
        return np.setdiff1d(np.arange(len(labels)), self._held_out(labels))

    def _held_out(self, labels: Labels) -> Labels:
        """Return the indices of the held-out samples: the same share of every class."""
        rng = generator("digits", "held-out")
        chosen = []
        for label in range(self.classes):
            members = rng.permutation(np.flatnonzero(labels == label))
            chosen.append(members[: round(self.held_out * len(members))])
        return np.sort(np.concatenate(chosen))
