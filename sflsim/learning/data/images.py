"""What image data sets have in common: bytes in memory, a copy under `path` or the hub's. Torch lazily."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sflsim.errors import refused
from sflsim.learning.data.base import Data
from sflsim.learning.data.hub import hub_tables
from sflsim.learning.data.image_folder import ImageFolder, Picture
from sflsim.learning.data.pixels import Augment, Pixels
from sflsim.learning.data.source import TEST, TRAIN, VALIDATION, Labels, Source, SplitData, unreadable
from sflsim.learning.data.table_files import local_tables
from sflsim.learning.data.tables import TableSource, column_names
from sflsim.learning.stamps import stamp_of

SPLITS = {TRAIN: "train", TEST: "test", VALIDATION: "validation"}


def image_data(
    arrays: Sequence[Any],
    shape: tuple[int, ...],
    classes: int,
    scaling: Pixels | None = None,
    augment: Augment | None = None,
) -> Data:
    """Return as tensors training and held-out images [N, rows, columns, channels], each with its labels [N].

    Without a `scaling` the training images' own is taken: mean 0 and deviation 1 in each channel.
    """
    import torch

    channels, rows, columns = shape
    for images in arrays[::2]:
        if images.shape[1:] != (rows, columns, channels):
            text = "images of {}x{} with {} channels"
            allowed = text.format(rows, columns, channels)
            raise refused("workload.dataset", text.format(*images.shape[1:]), allowed)
        if (images == images.flat[0]).all():
            found = f"{len(images)} images, each pixel of which is {images.flat[0]}"
            raise refused("workload.dataset", found, "images with something to see")
    pixels = standardised(arrays[0]) if scaling is None else scaling
    fingerprint = hashed(arrays, classes, pixels, augment)
    x, y, test_x, test_y = map(torch.from_numpy, arrays)
    return Data(x.movedim(-1, 1), y, test_x.movedim(-1, 1), test_y, classes, fingerprint, pixels, augment)


def standardised(images: npt.NDArray[np.uint8]) -> Pixels:
    """Return the scaling that gives images [N, rows, columns, channels] mean 0 and deviation 1.

    From counts of the 256 values, so that it is exact and takes no memory.
    """
    values = np.arange(256) / 255
    counts = [np.bincount(images[..., place].ravel(), minlength=256) for place in range(images.shape[-1])]
    shares = [one / one.sum() for one in counts]
    means = [float(share @ values) for share in shares]
    spreads = [float(share @ (values - mean) ** 2) ** 0.5 for share, mean in zip(shares, means, strict=True)]
    return Pixels(tuple(means), tuple(spread or 1.0 for spread in spreads))


def hashed(arrays: Sequence[Any], *facts: object) -> str:
    """Return a hash of arrays as they lie in memory, and of further facts."""
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class NamedImages(SplitData):
    """Base of the image data sets that everybody has the same of."""

    path: str | None = Field(
        default=None, description="a copy beside the scenario; else installed, else the hub"
    )
    augment: Augment | None = Field(
        default=None, description="random crop and flip in training, on the device"
    )

    shape: ClassVar[tuple[int, int, int]]
    label_count: ClassVar[int]
    hub_name: ClassVar[str]
    columns: ClassVar[tuple[str, str]]
    scaling: ClassVar[Pixels]
    download: ClassVar[str]
    package: ClassVar[str] = ""
    """Debian's and Ubuntu's package of the data set, which puts it into the folder `installed`."""
    installed: ClassVar[str] = ""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one input: channels, rows, columns."""
        return self.shape

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return self.label_count

    @property
    def remedy(self) -> str:
        """Return what to download, and where to put it."""
        where = "into a folder beside the scenario, and name it as workload.dataset.path"
        package = f"; or install the package {self.package} (Debian, Ubuntu) and give no path"
        return f"download {self.download} {where}{package if self.package else ''}"

    def prepared(self, parts: Sequence[tuple[Any, Labels]]) -> Data:
        """Return the images as bytes, channels last in memory, and what makes numbers of them."""
        arrays = [array for part in parts for array in part]
        return image_data(arrays, self.shape, self.classes, self.scaling, self.augment)

    def stamp(self) -> str:
        """Return a text that differs once a file of the copy has changed, the installed one included."""
        return stamp_of(self.path or self.installed)

    def label_column(self) -> str:
        """Return the column of the labels in tables."""
        return self.columns[1]

    def original(self, path: Path) -> Source | None:
        """Return the original files at `path`, or None where none is."""
        return None

    def load_source(self) -> Source:
        """Open the copy at `path`, else the one that is installed, else the hub's."""
        picture = Picture(self.shape[0])
        if self.path is None and not os.path.isdir(self.installed):
            return self._in_tables(hub_tables(self.hub_name, None, SPLITS, self.remedy), picture)
        path = Path(self.path or self.installed)
        if not os.path.exists(path):
            raise unreadable(path, "no such file or folder", f"a copy of {self.hub_name}", self.remedy)
        found = self.original(path) or ImageFolder.at(path, picture)
        if found is not None:
            return found
        files = local_tables(path)
        if not files:
            raise unreadable(path, "none of the files", f"a copy of {self.hub_name}", self.remedy)
        return self._in_tables(files, picture)

    def _in_tables(self, parts: Mapping[str, Sequence[Any]], picture: Picture) -> TableSource:
        """Return a source whose columns are called as on the hub, or image and label."""
        names = column_names(parts)
        image, label = self.columns[0], self.label_column()
        image = image if image in names or "image" not in names else "image"
        label = label if label in names or "label" not in names else "label"
        return TableSource(parts, (image,), label, picture)
