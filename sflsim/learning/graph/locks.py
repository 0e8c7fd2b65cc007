"""Locks of work between processes: who holds one computes, the others wait for the result.

Where files cannot be locked (no such system, a read-only folder) nobody waits: work may then be done
twice, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sflsim.claims import let_go, take


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that the file at `path` stands for, once its holder has released it."""
    try:
        handle = take(path, wait=True)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        let_go(path, handle)
