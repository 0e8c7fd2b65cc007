"""Where samples come from: a source of splits, and what is chosen of them for training and evaluation.

A source reads one copy of a data set and knows nothing of clients or models. Numpy and pydantic only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from sflsim.errors import ScenarioError, SflsimError, refused
from sflsim.fields import Fraction
from sflsim.learning.data.base import Data
from sflsim.learning.stamps import stamp_of
from sflsim.mistakes import wrong_value
from sflsim.readers.files import absolute
from sflsim.streams import generator

Labels = npt.NDArray[np.int64]
TRAIN, TEST, VALIDATION = "train", "test", "validation"


class Source(Protocol):
    """One copy of a data set, split by split; labels can be had without the samples."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Return which of train, test and validation there are."""

    def labels(self, split: str) -> Labels:
        """Return the labels [N] of a split."""

    def inputs(self, split: str, which: Labels) -> Any:
        """Return some samples of a split: bytes [N, rows, columns, channels], or a list of texts."""

    def column(self, split: str, name: str) -> npt.NDArray[Any]:
        """Return the values [N] of another column, such as the writer of each sample."""


class NoColumns:
    """What sources have in common whose samples carry nothing but a label."""

    def column(self, split: str, name: str) -> npt.NDArray[Any]:
        """Refuse: there is no other column."""
        raise refused(
            "workload.partition.by", repr(name), "a data set with such a column", "kind huggingface"
        )


class SplitData(BaseModel):
    """Base of the data sets that come in splits: how much of them is used, and for what.

    `load_source` opens the copy, `prepared` makes tensors of it. Every choice is made under a fixed
    key, so that it is the same for all seeds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    limit: int | None = Field(default=None, ge=1, description="the most training samples, drawn at random")
    held_out_limit: int | None = Field(
        default=None, ge=1, description="the most samples to evaluate on, drawn at random"
    )
    validation: Fraction | None = Field(
        default=None, description="share of the training samples, of each class, kept to choose settings on"
    )
    evaluate_on: Literal["test", "validation"] = Field(
        default="test", description="'validation' while settings are chosen, so that the test set is not"
    )

    @field_validator("path", "tokenizer", mode="after", check_fields=False)
    @classmethod
    def _beside_the_scenario(cls, path: str | None, info: ValidationInfo) -> str | None:
        """Return the absolute path of what lies beside the scenario; a name of the hub as it is."""
        if path is None:
            return None
        place = Path((info.context or {}).get("base_dir") or ".") / os.path.expanduser(path)
        return str(absolute(place)) if os.path.exists(place) else path

    @field_validator("validation")
    @classmethod
    def _leaves_some(cls, share: float | None) -> float | None:
        """Refuse a share that leaves next to nothing to train on."""
        if share is not None and share > 0.9:
            raise wrong_value(f"{share:.0%}", "at most 90%")
        return share

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        raise NotImplementedError

    def load_source(self) -> Source:
        """Open the copy of the data that the settings name."""
        raise NotImplementedError

    def prepared(self, parts: Sequence[tuple[Any, Labels]]) -> Data:
        """Return as tensors what is trained and what is evaluated on: samples and labels of each."""
        raise NotImplementedError

    def training_labels(self) -> Labels:
        """Return the labels [N] of the training samples; needs no torch."""
        return _training_labels(self, self.stamp())

    def training_column(self, name: str) -> npt.NDArray[Any]:
        """Return another column's values [N] of the training samples."""
        source = self.load_source()
        return source.column(TRAIN, name)[self._training(self._labels(source, TRAIN))]

    def load(self) -> Data:
        """Return the data as tensors; the same ones if this process loaded them last."""
        return _loaded(self, self.stamp())

    def read(self) -> Data:
        """Return the data as tensors, read anew."""
        source = self.load_source()
        labels = self._labels(source, TRAIN)
        chosen = ((TRAIN, self._training(labels)), self._held_out(source, labels))
        parts = [(source.inputs(split, which), self._labels(source, split)[which]) for split, which in chosen]
        if chosen[1][0] != TRAIN and _are_copies(*parts):
            found = f"the same samples in train and in {chosen[1][0]}"
            raise refused("workload.dataset", found, "other samples to evaluate on than to train on")
        return self.prepared(parts)

    def stamp(self) -> str:
        """Return a text that differs once a file of the copy or of its tokenizer has changed, or ""."""
        return stamp_of(getattr(self, "path", None), getattr(self, "tokenizer", None))

    def _labels(self, source: Source, split: str) -> Labels:
        if split not in source.splits:
            found, remedy = "no such split", "complete the copy, or name another split"
            raise refused(
                "workload.dataset", f"{found}: {split}", ", ".join(source.splits) or "train", remedy
            )
        labels = source.labels(split)
        if not len(labels):
            raise refused("workload.dataset", f"no sample in {split}", "one or more")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.classes:
            found = f"the label {low if low < 0 else high} in {split}"
            remedy = "labels below 0 mark a split whose labels are secret" if low < 0 else ""
            raise refused("workload.dataset", found, f"0 to {self.classes - 1}", remedy)
        return labels

    def _kept_back(self, labels: Labels) -> Labels:
        """Return the training samples kept to choose settings: the same share of every class."""
        rng = generator("data", "validation")
        chosen = [np.empty(0, np.int64)]
        if self.validation is not None:
            for label in np.unique(labels):
                members = rng.permutation(np.flatnonzero(labels == label))
                chosen.append(members[: round(self.validation * len(members))])
        return np.sort(np.concatenate(chosen))

    def _training(self, labels: Labels) -> Labels:
        left = np.setdiff1d(np.arange(len(labels)), self._kept_back(labels))
        return _some(left, self.limit, "training")

    def _held_out(self, source: Source, labels: Labels) -> tuple[str, Labels]:
        """Return what is evaluated on: a split, and which of its samples."""
        if self.evaluate_on == "test" or (self.validation is None and VALIDATION in source.splits):
            split = TEST if self.evaluate_on == "test" else VALIDATION
            return split, _some(np.arange(len(self._labels(source, split))), self.held_out_limit, "held-out")
        kept = self._kept_back(labels)
        if not len(kept):
            remedy = "add e.g. 'validation: 10%'"
            raise refused("workload.dataset.evaluate_on", "no validation samples", "some of them", remedy)
        return TRAIN, _some(kept, self.held_out_limit, "held-out")


@lru_cache(maxsize=1)  # one data set fills a memory; the points of a sweep follow each other
def _loaded(dataset: SplitData, stamp: str) -> Data:
    return dataset.read()


@lru_cache(maxsize=4)
def _training_labels(dataset: SplitData, stamp: str) -> Labels:
    labels = dataset._labels(dataset.load_source(), TRAIN)
    chosen = labels[dataset._training(labels)]
    chosen.setflags(write=False)
    return chosen


def _are_copies(one: tuple[Any, Labels], other: tuple[Any, Labels]) -> bool:
    """Tell whether two parts hold the same samples with the same labels, in whatever order."""
    if len(one[1]) != len(other[1]):
        return False
    rows = [
        sorted(
            hash((sample.tobytes() if isinstance(sample, np.ndarray) else sample, int(label)))
            for sample, label in zip(*part, strict=True)
        )
        for part in (one, other)
    ]
    return rows[0] == rows[1]


def _some(indices: Labels, limit: int | None, purpose: str) -> Labels:
    """Return at most `limit` of the indices, in order."""
    if limit is None or limit >= len(indices):
        return indices
    return np.sort(generator("data", "limit", purpose).permutation(indices)[:limit])


def unreadable(file: Path, found: str, allowed: str, remedy: str = "") -> ScenarioError:
    """Return the error of a file that is not what its name promises."""
    return refused("workload.dataset.path", f"{file}: {found}", allowed, remedy)


def missing_extra(what: str, extra: str) -> SflsimError:
    """Return the error of a library that is not installed."""
    return SflsimError(f"{what} is not installed: pip install 'sflsim[{extra}]'")
