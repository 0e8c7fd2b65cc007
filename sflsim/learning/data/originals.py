"""The files as their authors publish them: IDX (MNIST), CIFAR's binary version, GLUE's tables.

Nothing is unpickled and no archive is unpacked: named members are read out of it. Numpy only.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sflsim.learning.data.source import TEST, TRAIN, Labels, NoColumns, unreadable
from sflsim.readers.files import NotAFile, check_file, read_bytes, reason
from sflsim.readers.table import TableMistake
from sflsim.readers.text import parse_table

Bytes = npt.NDArray[np.uint8]
UNSIGNED_BYTES = 8  # IDX's code for the type of the numbers
UNPACKED_BYTES = 2**28
"""Of one file, and of all before it in an archive: all of CIFAR-100 has 185 MB."""


def located(path: Path, names: Sequence[str]) -> Path | None:
    """Return the first of the files `names` in a folder or one folder below it; None for none."""
    if not os.path.isdir(path):
        return None
    places = [path, *sorted(place for place in path.iterdir() if os.path.isdir(place))]
    return next((file for place in places for name in names if os.path.isfile(file := place / name)), None)


@dataclass(frozen=True)
class IdxFiles(NoColumns):
    """The four files of MNIST and Fashion-MNIST, packed by gzip or not."""

    images: dict[str, Path]
    digits: dict[str, Path]

    @classmethod
    def at(cls, path: Path) -> IdxFiles | None:
        """Return what lies in a folder, or None where no such file does."""
        found = {
            (part, split): located(path, _idx_names(prefix, part, rank))
            for split, prefix in ((TRAIN, "train"), (TEST, "t10k"))
            for part, rank in (("images", 3), ("labels", 1))
        }
        if not any(found.values()):
            return None
        for (part, split), file in found.items():
            if file is None:
                allowed = (
                    f"{_idx_names('train' if split == TRAIN else 't10k', part, 3 - 2 * (part[0] == 'l'))[0]}"
                )
                raise unreadable(path, f"no {part} of the {split} split", allowed, "download all four files")
        known = {key: file for key, file in found.items() if file is not None}
        return cls(*({split: known[part, split] for split in (TRAIN, TEST)} for part in ("images", "labels")))

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the two splits."""
        return (TRAIN, TEST)

    def labels(self, split: str) -> Labels:
        """Return the labels [N]."""
        return read_idx(self.digits[split], 1).astype(np.int64)

    def inputs(self, split: str, which: Labels) -> Bytes:
        """Return some images [N, rows, columns, 1]."""
        images, count = read_idx(self.images[split], 3), len(read_idx(self.digits[split], 1))
        if len(images) != count:
            raise unreadable(self.images[split], f"{len(images)} images", f"{count}, one for each label")
        return images[which][..., None]


def _idx_names(prefix: str, part: str, rank: int) -> tuple[str, ...]:
    names = (f"{prefix}-{part}-idx{rank}-ubyte", f"{prefix}-{part}.idx{rank}-ubyte")
    return (f"{names[0]}.gz", names[0], f"{names[1]}.gz", names[1])


def read_idx(file: Path, rank: int) -> Bytes:
    """Return the array that an IDX file of unsigned bytes holds."""
    content = unpacked(file)
    header = 4 + 4 * rank
    if len(content) < header or content[:4] != bytes([0, 0, UNSIGNED_BYTES, rank]):
        raise unreadable(file, "another kind of file", f"an IDX file of bytes in {rank} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, 4))
    if len(content) != header + math.prod(shape):
        found = f"{len(content)} bytes"
        raise unreadable(file, found, f"{header + math.prod(shape)}, by its header", "download it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def unpacked(file: Path) -> bytes:
    """Return what a file holds, packed by gzip or not."""
    try:
        content = read_bytes(file, UNPACKED_BYTES)
        if content[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(content)) as packed:
                content = packed.read(UNPACKED_BYTES + 1)
        if len(content) > UNPACKED_BYTES:
            raise NotAFile(f"a file that unpacks to more than {UNPACKED_BYTES // 2**20} MiB")
    except (OSError, EOFError, zlib.error) as error:
        why, remedy = reason(error) if isinstance(error, OSError) else error, "download it again"
        raise unreadable(file, f"cannot be read ({why})", "a whole file", remedy) from error
    return content


@dataclass(frozen=True)
class CifarFiles(NoColumns):
    """CIFAR's binary version, a folder or the archive: each record some labels, then 3x32x32 bytes."""

    path: Path
    files: dict[str, tuple[str, ...]]
    label_bytes: int
    label_place: int

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the two splits."""
        return (TRAIN, TEST)

    def labels(self, split: str) -> Labels:
        """Return the labels [N]."""
        return self._records(split)[:, self.label_place].astype(np.int64)

    def inputs(self, split: str, which: Labels) -> Bytes:
        """Return some images [N, 32, 32, 3]."""
        images = self._records(split)[which, self.label_bytes :].reshape(-1, 3, 32, 32)
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1))

    def _records(self, split: str) -> Bytes:
        names, size = self.files[split], self.label_bytes + 3 * 32 * 32
        contents = _members(self.path, names) if os.path.isfile(self.path) else _found(self.path, names)
        for name, content in contents.items():
            if not content or len(content) % size:
                allowed = f"whole records of {size} bytes"
                found = f"{name} of {len(content)} bytes"
                raise unreadable(self.path, found, allowed, "download the binary version again")
        return np.concatenate([np.frombuffer(contents[name], np.uint8) for name in names]).reshape(-1, size)


def _found(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the contents of files in a folder or one below it."""
    places = {name: located(path, [name]) for name in names}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise unreadable(
            path, f"no {', '.join(missing)}", "the files of the binary version", "download it again"
        )
    return {name: unpacked(place) for name, place in places.items() if place is not None}


def _members(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the contents of files in an archive, wherever in it they lie."""
    contents: dict[str, bytes] = {}
    try:
        check_file(archive, UNPACKED_BYTES)
        with tarfile.open(archive, "r:*") as members:
            for member in members:
                if member.offset_data + member.size > UNPACKED_BYTES:
                    raise NotAFile(f"an archive that unpacks to more than {UNPACKED_BYTES // 2**20} MiB")
                name = member.name.rpartition("/")[2]
                if name in names and member.isfile() and (file := members.extractfile(member)):
                    contents[name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        found = f"cannot be read ({error})"
        raise unreadable(archive, found, "a whole archive", "download it again") from error
    missing = [name for name in names if name not in contents]
    if missing:
        raise unreadable(archive, f"no {', '.join(missing)} in it", "the archive of the binary version")
    return contents


@dataclass(frozen=True)
class GlueTables(NoColumns):
    """GLUE's SST-2: train.tsv and dev.tsv; the labels of its test.tsv are secret."""

    files: dict[str, Path]

    @classmethod
    def at(cls, path: Path) -> GlueTables | None:
        """Return what lies in a folder, or None where no such file does."""
        files = {split: located(path, [name]) for split, name in ((TRAIN, "train.tsv"), (TEST, "dev.tsv"))}
        known = {split: file for split, file in files.items() if file is not None}
        if known and len(known) < len(files):
            raise unreadable(path, "one of two files", "train.tsv and dev.tsv", "download SST-2.zip again")
        return cls(known) if known else None

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the two splits: GLUE's dev set serves as the test set."""
        return (TRAIN, TEST)

    def labels(self, split: str) -> Labels:
        """Return the labels [N]."""
        return np.array([label for _, label in self._rows(split)], np.int64)

    def inputs(self, split: str, which: Labels) -> list[str]:
        """Return some sentences."""
        rows = self._rows(split)
        return [rows[place][0] for place in which]

    def _rows(self, split: str) -> list[tuple[str, int]]:
        file = self.files[split]
        allowed = "a table of GLUE's SST-2: a sentence, a tab, and 0 or 1"
        try:
            table = parse_table(unpacked(file), file.name, quoted=False)
        except TableMistake as error:
            raise unreadable(file, f"{error.found}, which {error.reason}", allowed) from error
        if table.names != ["sentence", "label"]:
            raise unreadable(file, "its first line is not 'sentence', a tab, 'label'", allowed)
        for row in table.rows:
            if row.cells[1] not in ("0", "1"):
                raise unreadable(file, f"the label {row.cells[1]!r} {table.at(row.line)}", allowed)
        return [(sentence, int(label)) for sentence, label in (row.cells for row in table.rows)]
