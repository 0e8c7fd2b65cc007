"""Any data set of images or texts with labels: on Hugging Face's hub, or a folder. Torch lazily."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim.learning.data.base import Data
from sflsim.learning.data.hub import hub_tables
from sflsim.learning.data.image_folder import ImageFolder, Picture
from sflsim.learning.data.images import image_data
from sflsim.learning.data.pixels import Augment
from sflsim.learning.data.source import TEST, TRAIN, VALIDATION, Labels, Source, SplitData, unreadable
from sflsim.learning.data.table_files import local_tables
from sflsim.learning.data.tables import TableSource, column_names
from sflsim.learning.data.text import TOKENIZER, text_data, vocabulary_of
from sflsim.mistakes import wrong_value

USUAL = {"image": ("image", "img"), "text": ("text", "sentence"), "label": ("label", "labels", "fine_label")}


class Columns(BaseModel):
    """What the columns are called; usual names are found without it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str | None = None
    text: str | tuple[str, str] | None = Field(
        default=None, description="a column, or two for pairs of texts"
    )
    label: str | None = Field(default=None, description="numbers from 0, or words")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.image is not None and self.text is not None:
            raise wrong_value("both image and text", "one of them")
        return self


class HuggingFace(SplitData):
    """A data set by name (`path` and `name`, as for `datasets.load_dataset`) or by folder.

    A folder holds tables (parquet, Arrow as of `save_to_disk`, CSV, TSV, JSON) whose names or folders
    say the split, or images in a folder for each class: train/cat/1.png. With a `tokenizer` or a
    column of text the samples are texts, else images, scaled to mean 0 and deviation 1 by channel.
    """

    kind: Literal["huggingface"] = "huggingface"
    path: str = Field(description="folder or file beside the scenario, or a name on the hub")
    name: str | None = Field(default=None, description="subset, where the hub's data set has several")
    columns: Columns = Field(default_factory=Columns)
    train: str = Field(default="train", description="name of the training split")
    test: str = Field(default="test", description="name of the split to evaluate on")
    validation_split: str = Field(default="validation", description="name of the split to choose settings on")
    channels: Literal[1, 3] = Field(default=3, description="of images: grey, or red, green, blue")
    size: tuple[int, int] | None = Field(default=None, description="rows and columns to resize images to")
    augment: Augment | None = Field(
        default=None, description="random crop and flip in training, on the device"
    )
    tokenizer: str | None = Field(default=None, description=f"for text: {TOKENIZER}")
    max_length: int = Field(
        default=128, ge=1, le=1 << 20, description="tokens; longer texts are cut, others padded"
    )

    remedy: ClassVar[str] = (
        "download the parquet files from the data set's page on https://huggingface.co/datasets into a "
        "folder beside the scenario, and name that folder as workload.dataset.path"
    )

    @property
    def is_text(self) -> bool:
        """Tell whether the samples are texts."""
        return self.columns.text is not None or self.tokenizer is not None

    @property
    def sample_dtype(self) -> str:
        """Return the type of the samples' numbers."""
        return "int64" if self.is_text else "float32"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one input; without `size`, that of the first image."""
        if self.is_text:
            return (2, self.max_length)
        rows, columns = self.size or _first_size(self, self.stamp())
        return (self.channels, rows, columns)

    @property
    def vocabulary(self) -> int | None:
        """Return how many tokens the tokenizer tells apart; None for images."""
        return vocabulary_of(self.tokenizer) if self.is_text else None

    @property
    def classes(self) -> int:
        """Return the number of classes: as named in the data, else one more than the largest label."""
        return _classes(self, self.stamp())

    def load_source(self) -> Source:
        """Open the folder, the file, or the hub's data set."""
        splits = {TRAIN: self.train, TEST: self.test, VALIDATION: self.validation_split}
        path = Path(self.path)
        picture = None if self.is_text else Picture(self.channels, self.size)
        if not os.path.exists(path):
            if self.path.startswith((".", "/", "~")) or self.path.count("/") > 1 or path.suffix:
                raise unreadable(path, "no such file or folder", "a data set", self.remedy)
            return self._in_tables(hub_tables(self.path, self.name, splits, self.remedy), picture)
        folder = ImageFolder.at(path, picture) if picture is not None else None
        if folder is not None:
            return folder
        changed = {split: word for split, word in splits.items() if word != split}
        files = local_tables(path, changed)
        if not files:
            allowed = "tables (parquet, arrow, csv, tsv, json) or images in train/<class>/"
            raise unreadable(path, "no data", allowed)
        return self._in_tables(files, picture)

    def prepared(self, parts: Sequence[tuple[Any, Labels]]) -> Data:
        """Return the images as bytes, or the texts as token ids and masks."""
        if self.is_text:
            return text_data(parts, self.classes, self.tokenizer, self.max_length)
        arrays = [array for part in parts for array in part]
        return image_data(arrays, self.sample_shape, self.classes, augment=self.augment)

    def _in_tables(self, parts: Mapping[str, Sequence[Any]], picture: Picture | None) -> TableSource:
        names = column_names(parts)
        inputs = self.columns.text if self.is_text else self.columns.image
        inputs = inputs or _usual("text" if self.is_text else "image", names)
        columns = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        return TableSource(parts, columns, self.columns.label or _usual("label", names), picture)


def _usual(role: str, names: Sequence[str]) -> str:
    """Return the first usual name among the columns."""
    return next((name for name in USUAL[role] if name in names), USUAL[role][0])


@lru_cache(maxsize=16)
def _first_size(dataset: HuggingFace, changed: str) -> tuple[int, int]:
    """Return rows and columns of the first training image."""
    rows, columns, _ = dataset.load_source().inputs(TRAIN, np.zeros(1, np.int64))[0].shape
    return rows, columns


@lru_cache(maxsize=16)
def _classes(dataset: HuggingFace, changed: str) -> int:
    source = dataset.load_source()
    if isinstance(source, ImageFolder):
        return len(source.classes)
    assert isinstance(source, TableSource)
    return source.classes
