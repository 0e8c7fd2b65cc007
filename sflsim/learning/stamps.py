"""Whether files are as they were: what is kept in memory of a file is kept under its stamp."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from sflsim.readers.files import MOST_FOLDERS

UNSURE_NS = 3_000_000_000
"""A file that changed so short a time ago may change again without a change of its times: some file
systems keep them in steps of two seconds."""
MOST_BYTES = 2**30
"""A larger file that changed just now is taken for changed whenever it is looked at."""


def stamp_of(*paths: str | Path | None) -> str:
    """Return a text that differs once a file has changed, or any file in a folder; "" for what is not there.

    A file counts as unchanged while its size, its place on disk and the times of its last change are
    the same; the time of change of its entry cannot be set back. What changed just now is read in full.
    """
    digest, is_there = hashlib.blake2b(digest_size=16), False
    for path in paths:
        for file in _files(str(path)) if path else ():
            is_there = True
            digest.update(f"{file}\0{_state(file)}\0".encode(errors="surrogateescape"))
        digest.update(b"\1")
    return digest.hexdigest() if is_there else ""


def _files(path: str) -> Iterator[str]:
    """Return the file, or all files below a folder, in the order of their names."""
    if not os.path.isdir(path):
        yield from [path] if os.path.exists(path) else []
        return
    known: set[str] = set()
    for number, (folder, folders, names) in enumerate(os.walk(path, followlinks=True)):
        if number > MOST_FOLDERS:  # what reads the files refuses such a folder
            return
        folders[:] = [
            one for one in sorted(folders) if os.path.realpath(os.path.join(folder, one)) not in known
        ]
        known.update(os.path.realpath(os.path.join(folder, one)) for one in folders)
        yield from (os.path.join(folder, name) for name in sorted(names))


def _state(file: str) -> str:
    try:
        facts = os.stat(file)
        state = f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_dev} {facts.st_ino}"
        now_ns = time.time_ns()
        if now_ns - max(facts.st_mtime_ns, facts.st_ctime_ns) >= UNSURE_NS or not S_ISREG(facts.st_mode):
            return state
        if facts.st_size > MOST_BYTES:
            return f"{state} {now_ns}"
        with open(file, "rb") as content:
            state += hashlib.file_digest(content, "blake2b").hexdigest()
    except OSError as error:  # a link to nowhere, say
        return type(error).__name__
    return state
