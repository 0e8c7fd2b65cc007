"""Texts as numbers: token ids and a mask, of one length. Torch and transformers (extra `llm`) lazily."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sflsim.errors import refused
from sflsim.foreign import foreign, words
from sflsim.learning.data.base import Data
from sflsim.learning.data.hub import hub_tables, reachable
from sflsim.learning.data.images import hashed
from sflsim.learning.data.originals import GlueTables
from sflsim.learning.data.source import Labels, Source, SplitData, missing_extra, unreadable
from sflsim.learning.data.table_files import local_tables
from sflsim.learning.data.tables import TableSource
from sflsim.learning.stamps import stamp_of
from sflsim.readers.files import SETTINGS_BYTES, check_all, check_file

Texts = Sequence[str] | Sequence[tuple[str, str]]
TOKENIZER = "folder with tokenizer.json, that file, or a model of the hub: the model's own"


class TextData(SplitData):
    """Base of the data sets of text: samples [2, length] are token ids and their mask, 0 where padded."""

    tokenizer: str | None = Field(default=None, description=TOKENIZER)
    max_length: int = Field(
        default=128, ge=1, le=1 << 20, description="tokens; longer texts are cut, others padded"
    )

    sample_dtype: ClassVar[str] = "int64"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one input: ids and mask, tokens."""
        return (2, self.max_length)

    @property
    def vocabulary(self) -> int:
        """Return how many tokens the tokenizer tells apart; a model must know as many."""
        return vocabulary_of(self.tokenizer)

    def prepared(self, parts: Sequence[tuple[Any, Labels]]) -> Data:
        """Return the texts as token ids and masks."""
        return text_data(parts, self.classes, self.tokenizer, self.max_length)


def text_data(parts: Sequence[tuple[Any, Labels]], classes: int, tokenizer: str | None, length: int) -> Data:
    """Return as tensors training and held-out texts, each with its labels [N]."""
    import torch

    arrays: list[Any] = []
    for texts, labels in parts:
        arrays += [tokens(texts, load_tokenizer(tokenizer), length), labels]
    x, y, test_x, test_y = map(torch.from_numpy, arrays)
    return Data(x, y, test_x, test_y, classes, hashed(arrays, classes))


def tokens(texts: Texts, tokenizer: Any, length: int) -> npt.NDArray[np.int64]:
    """Return token ids and mask [N, 2, length] of texts or pairs of texts.

    Padding stands on the right, whatever the model; a text without a token counts as one of padding.
    """
    columns = (
        [list(texts)] if isinstance(texts[0], str) else [list(column) for column in zip(*texts, strict=True)]
    )
    with foreign("workload.dataset.tokenizer", "it", f"a {TOKENIZER}"):
        found = tokenizer(*columns, truncation=True, max_length=length, padding=False)["input_ids"]
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    padding = next(number for number in candidates if number is not None)
    packed = np.zeros((len(found), 2, length), np.int64)
    packed[:, 0] = padding
    for place, ids in enumerate(found):
        packed[place, 0, : len(ids)] = ids
        packed[place, 1, : max(1, len(ids))] = 1
    return packed


def vocabulary_of(name: str | None) -> int:
    """Return how many tokens a tokenizer tells apart."""
    tokenizer = load_tokenizer(name)
    with foreign("workload.dataset.tokenizer", repr(name), f"a {TOKENIZER}"):
        return 1 + int(max(tokenizer.get_vocab().values()))


def load_tokenizer(name: str | None) -> Any:
    """Return a tokenizer by its folder, its file or its name on the hub.

    Raises:
        ScenarioError: there is none.
        SflsimError: transformers is not installed.
    """
    if name is None:
        raise refused("workload.dataset.tokenizer", "nothing", f"a {TOKENIZER}")
    return _tokenizer(name, stamp_of(name))


@lru_cache(maxsize=16)
def _tokenizer(name: str, changed: str) -> Any:
    """Return a tokenizer; code that it brings along is not run."""
    try:
        import transformers
    except ImportError as error:
        raise missing_extra("the library transformers, which reads tokenizers,", "llm") from error
    library: Any = transformers  # typed in part
    path = Path(name)
    is_folder, is_there = os.path.isdir(path), os.path.exists(path)
    file = path / "tokenizer.json" if is_folder else path
    is_bare = not is_folder or not os.path.exists(path / "tokenizer_config.json")
    try:
        if is_folder:
            check_all(path, ".json", SETTINGS_BYTES)
        elif is_there:
            check_file(path, SETTINGS_BYTES)
        if is_bare and os.path.isfile(file):
            return library.PreTrainedTokenizerFast(tokenizer_file=str(file))
        is_local = is_there or not reachable()
        return library.AutoTokenizer.from_pretrained(name, trust_remote_code=False, local_files_only=is_local)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # each kind of file, the hub and the network have their own, Rust panics
        found = f"{name!r}, from which none can be read ({words(error)})"
        page = name if "/" in name else "... (the model's page)"
        remedy = (
            f"download tokenizer.json and tokenizer_config.json from https://huggingface.co/{page} into a "
            "folder beside the scenario, and name that folder"
        )
        raise refused(
            "workload.dataset.tokenizer", found, f"a {TOKENIZER}", "" if is_there else remedy
        ) from error


class Sst2(TextData):
    """SST-2: 67,349 phrases and 872 sentences of film reviews, bad or good (Socher et al., 2013; GLUE).

    GLUE keeps its test labels secret, so its dev set is the test set here.
    """

    kind: Literal["sst-2"] = "sst-2"
    path: str | None = Field(default=None, description="a local copy, beside the scenario; else the hub")

    hub_name: ClassVar[str] = "stanfordnlp/sst2"
    remedy: ClassVar[str] = (
        "download SST-2.zip from https://gluebenchmark.com/tasks, unpack it beside the scenario, and name "
        "the folder with train.tsv and dev.tsv as workload.dataset.path"
    )

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return 2

    def load_source(self) -> Source:
        """Open the copy at `path`, or the hub's; "validation" there is GLUE's dev set."""
        splits = {"train": "train", "test": "validation"}
        if self.path is None:
            return TableSource(hub_tables(self.hub_name, None, splits, self.remedy), ("sentence",), "label")
        path = Path(self.path)
        if not os.path.exists(path):
            raise unreadable(path, "no such file or folder", "a copy of SST-2", self.remedy)
        found = GlueTables.at(path)
        if found is not None:
            return found
        files = local_tables(path)
        known = {split: files[there] for split, there in splits.items() if there in files}
        if set(known) != set(splits):
            raise unreadable(path, "no training or no validation split", "a copy of SST-2", self.remedy)
        return TableSource(known, ("sentence",), "label")
