"""Claims between processes: who holds one works, the others wait or are refused.

A claim is the lock of a file, which the operating system takes back when its process ends in whatever
way: what a killed process held is free at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def take(path: Path, *, wait: bool) -> int:
    """Return the open, locked file at `path`, to be given to `let_go`.

    Where there are no locks (Windows, some network file systems) everybody gets one.

    Raises:
        BlockingIOError: another has it, and this one does not `wait`.
        OSError: the file cannot be made.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _locked(handle, wait) is False or _same(handle, path):
                return handle
        except BaseException:  # taken by another, or an interrupt while waiting
            os.close(handle)
            raise
        os.close(handle)


def let_go(path: Path, handle: int) -> None:
    """End a claim, and remove its file."""
    with suppress(OSError):
        path.unlink()
    os.close(handle)


def _locked(handle: int, wait: bool) -> bool:
    """Lock an open file; tell whether there are locks here."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _same(handle: int, path: Path) -> bool:
    """Tell whether the locked file still is the one at `path`: its last holder has removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
