"""Claims on work between processes: who holds one computes, the others wait for the result.

A claim is the lock of a file, which the operating system takes back when its process ends in
whatever way. Where files cannot be locked (no such system, a read-only folder) nobody waits: work may
then be done twice, with the same result. Imports nothing of the package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the claim that the file at `path` stands for, when its holder has let it go."""
    handle = _locked(path)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _locked(path: Path) -> int | None:
    """Return the open, locked file at `path`; None where there can be none."""
    if sys.platform == "win32":
        return None
    import fcntl

    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _same(handle, path):
                return handle
        except OSError:
            os.close(handle)
            return None
        except BaseException:  # an interrupt while waiting
            os.close(handle)
            raise
        os.close(handle)


def _same(handle: int, path: Path) -> bool:
    """Tell whether the locked file still is the one at `path`: its last holder has removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
