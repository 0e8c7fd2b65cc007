"""Files that a user names: which kind each is, told before it is opened, and how much of it is read.

A FIFO or a device is never opened: it may keep its reader waiting for ever, and need not end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
TABLE_BYTES = 2**30
"""What a table of texts may have; Parquet holds larger ones."""
MANIFEST_BYTES = 2**26
IMAGE_BYTES = 2**28
SETTINGS_BYTES = 2**28
"""What a JSON file beside the weights of a model may have, such as its tokenizer."""
MOST_FOLDERS = 10_000
"""Below one that a user names: a folder for each class and split, not the root of a file system."""


class NotAFile(OSError):
    """What a path names is no regular file, or too large a one; its text says what it is."""


def reason(error: OSError) -> str:
    """Return why a file cannot be read, without the path that the user has typed."""
    return error.strerror or str(error)


def check_file(path: str | Path, most_bytes: int | None = None) -> int:
    """Return the size in bytes of a regular file, or of one that a link leads to; it is not opened.

    Raises:
        OSError: there is none, it is of another kind, or it has more than `most_bytes`.
    """
    try:
        facts = os.stat(path)
    except ValueError as error:
        raise NotAFile("a path that no file can have") from error
    if kind := KINDS.get(stat.S_IFMT(facts.st_mode)):
        raise NotAFile(f"{kind}, not a file")
    if most_bytes is not None and facts.st_size > most_bytes:
        raise NotAFile(f"a file of more than {most_bytes // 2**20} MiB")
    return facts.st_size


def read_bytes(path: str | Path, most_bytes: int) -> bytes:
    """Return what a regular file holds, all of it.

    Raises:
        OSError: as of `check_file`; or it has become longer since.
    """
    size = check_file(path, most_bytes)
    with open(path, "rb") as file:
        content = file.read(size + 1)
    if len(content) > size:
        raise NotAFile("a file that has no fixed size")
    return content


def absolute(path: str | Path) -> Path:
    """Return the absolute path, links followed where they lead somewhere."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        return Path(path)


def files_below(folder: str | Path) -> Iterator[Path]:
    """Yield the regular files below a folder in the order of their paths; links to folders are not followed.

    Raises:
        OSError: there are more than MOST_FOLDERS.
    """
    found: list[Path] = []
    for number, (place, _, names) in enumerate(os.walk(folder)):
        if number > MOST_FOLDERS:
            raise NotAFile(f"a folder with more than {MOST_FOLDERS} folders below it")
        found += (Path(place, name) for name in names)
    yield from (file for file in sorted(found) if os.path.isfile(file))


def check_all(folder: str | Path, suffix: str, most_bytes: int) -> None:
    """Refuse a folder of which an entry is neither a regular file nor a folder, or too large for its suffix.

    Raises:
        OSError: its text names the entry.
    """
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        with suppress(IsADirectoryError, FileNotFoundError):  # a link that leads nowhere is not there
            if not entry.is_dir():
                try:
                    check_file(entry.path, most_bytes if entry.name.endswith(suffix) else None)
                except NotAFile as error:
                    raise NotAFile(f"{entry.name} in it is {error}") from error
