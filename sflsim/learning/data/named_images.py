"""Image data sets by name: MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and CINIC-10.

Mean and deviation are those of the training pixels, divided by 255, channel by channel; CINIC-10's as
its authors give them (github.com/BayesWatch/cinic-10).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from sflsim.learning.data.images import NamedImages
from sflsim.learning.data.originals import CifarFiles, IdxFiles, located
from sflsim.learning.data.pixels import Pixels
from sflsim.learning.data.source import TEST, TRAIN, Source, unreadable

IDX_FILES = (
    "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
    "t10k-labels-idx1-ubyte.gz"
)


class IdxImages(NamedImages):
    """Base of MNIST and what was made to take its place."""

    shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    label_count: ClassVar[int] = 10
    columns: ClassVar[tuple[str, str]] = ("image", "label")

    def original(self, path: Path) -> Source | None:
        """Return the IDX files."""
        return IdxFiles.at(path)


class Mnist(IdxImages):
    """MNIST: 70,000 handwritten digits of 28x28 pixels, 10 classes (LeCun et al., 1998)."""

    kind: Literal["mnist"] = "mnist"

    hub_name: ClassVar[str] = "ylecun/mnist"
    scaling: ClassVar[Pixels] = Pixels((0.1307,), (0.3081,))
    download: ClassVar[str] = (
        f"{IDX_FILES} from http://yann.lecun.com/exdb/mnist/ (or the parquet files from "
        "https://huggingface.co/datasets/ylecun/mnist)"
    )


class FashionMnist(IdxImages):
    """Fashion-MNIST: 70,000 articles of clothing of 28x28 pixels, 10 classes (arXiv 1708.07747)."""

    kind: Literal["fashion-mnist"] = "fashion-mnist"

    hub_name: ClassVar[str] = "zalando-datasets/fashion_mnist"
    scaling: ClassVar[Pixels] = Pixels((0.2860,), (0.3530,))
    download: ClassVar[str] = f"{IDX_FILES} from https://github.com/zalandoresearch/fashion-mnist"
    package: ClassVar[str] = "dataset-fashion-mnist"
    installed: ClassVar[str] = "/usr/share/datasets/fashion-mnist"


class CifarImages(NamedImages):
    """Base of the two CIFAR data sets."""

    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    archive: ClassVar[str]
    pickled: ClassVar[tuple[str, ...]]
    files: ClassVar[dict[str, tuple[str, ...]]]

    def original(self, path: Path) -> Source | None:
        """Return the files of the binary version; those for Python are pickles, which are never read."""
        binary = [name for names in self.files.values() for name in names]
        packed = path if os.path.isfile(path) else located(path, [self.archive])
        if located(path, binary):
            return self._records(path)
        if packed and packed.name.endswith((".tar.gz", ".tgz", ".tar")) and "python" not in packed.name:
            return self._records(packed)
        if path.name in self.pickled or located(path, self.pickled):
            found = "the Python version: pickles, which can run code when they are read"
            raise unreadable(path, found, "the binary version", self.remedy)
        return None

    def _records(self, path: Path) -> Source:
        """Return the records of the binary version."""
        raise NotImplementedError


class Cifar10(CifarImages):
    """CIFAR-10: 60,000 colour images of 32x32 pixels, 10 classes (Krizhevsky, 2009)."""

    kind: Literal["cifar-10"] = "cifar-10"

    label_count: ClassVar[int] = 10
    hub_name: ClassVar[str] = "uoft-cs/cifar10"
    columns: ClassVar[tuple[str, str]] = ("img", "label")
    scaling: ClassVar[Pixels] = Pixels((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    download: ClassVar[str] = "cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"
    archive: ClassVar[str] = "cifar-10-binary.tar.gz"
    pickled: ClassVar[tuple[str, ...]] = ("data_batch_1", "batches.meta", "cifar-10-python.tar.gz")
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        TRAIN: tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        TEST: ("test_batch.bin",),
    }

    def _records(self, path: Path) -> Source:
        return CifarFiles(path, self.files, 1, 0)


class Cifar100(CifarImages):
    """CIFAR-100: 60,000 colour images of 32x32 pixels, 100 classes in 20 groups (Krizhevsky, 2009)."""

    kind: Literal["cifar-100"] = "cifar-100"
    labels: Literal["fine", "coarse"] = Field(default="fine", description="100 classes, or their 20 groups")

    hub_name: ClassVar[str] = "uoft-cs/cifar100"
    columns: ClassVar[tuple[str, str]] = ("img", "fine_label")
    scaling: ClassVar[Pixels] = Pixels((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    download: ClassVar[str] = "cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"
    archive: ClassVar[str] = "cifar-100-binary.tar.gz"
    pickled: ClassVar[tuple[str, ...]] = ("train", "meta", "cifar-100-python.tar.gz")
    files: ClassVar[dict[str, tuple[str, ...]]] = {TRAIN: ("train.bin",), TEST: ("test.bin",)}

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return 100 if self.labels == "fine" else 20

    def label_column(self) -> str:
        """Return the column of the labels in tables."""
        return f"{self.labels}_label"

    def _records(self, path: Path) -> Source:
        return CifarFiles(path, self.files, 2, 1 if self.labels == "fine" else 0)


class Cinic10(NamedImages):
    """CINIC-10: 90,000 colour images of 32x32 pixels each to train, validate and test (arXiv 1810.03505).

    Its own validation split serves `evaluate_on: validation` where no share of the training is given.
    """

    kind: Literal["cinic-10"] = "cinic-10"

    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    label_count: ClassVar[int] = 10
    hub_name: ClassVar[str] = "flwrlabs/cinic10"
    columns: ClassVar[tuple[str, str]] = ("image", "label")
    scaling: ClassVar[Pixels] = Pixels(
        (0.47889522, 0.47227842, 0.43047404), (0.24205776, 0.23828046, 0.25874835)
    )
    download: ClassVar[str] = (
        "CINIC-10.tar.gz from https://datashare.ed.ac.uk/handle/10283/3192, and unpack it,"
    )
