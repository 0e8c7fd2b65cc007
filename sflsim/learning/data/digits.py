"""scikit-learn's handwritten digits: real data that is installed with sflsim. Torch lazily."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sflsim.learning.data.base import Data
from sflsim.streams import generator


class Digits(BaseModel):
    """1,797 handwritten digits of 8x8 pixels, 10 classes (UCI optical recognition test set).

    Pixels are scaled to [0, 1] and standardised with the training part's mean and deviation. The
    held-out part is drawn per class under a fixed key, the same for every scenario seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["digits"] = "digits"
    held_out: float = Field(default=0.2, ge=0.01, le=0.9, description="share of the samples kept for evaluation")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one input: channels, rows, columns."""
        return (1, 8, 8)

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return 10

    def load(self) -> Data:
        """Return the data as tensors [N, 1, 8, 8]."""
        import numpy as np
        import torch
        from sklearn.datasets import load_digits

        bunch = load_digits()
        labels = bunch.target.astype(np.int64)
        test = self._held_out(labels)
        train = np.setdiff1d(np.arange(len(labels)), test)
        x = bunch.images.reshape(-1, 1, 8, 8).astype(np.float32) / np.float32(16)
        x = (x - x[train].mean()) / x[train].std()
        parts = (x[train], labels[train], x[test], labels[test])
        return Data(*(torch.from_numpy(part) for part in parts), self.classes)

    def _held_out(self, labels: Any) -> Any:
        """Return the indices of the held-out samples: the same share of every class."""
        import numpy as np

        rng = generator("digits", "held-out")
        chosen = []
        for label in range(self.classes):
            members = rng.permutation(np.flatnonzero(labels == label))
            chosen.append(members[: round(self.held_out * len(members))])
        return np.sort(np.concatenate(chosen))
