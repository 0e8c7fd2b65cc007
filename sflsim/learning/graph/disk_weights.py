"""The files of weights of a store on disk: one for each key, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

STRAY_S = 3600.0  # age after which a file of which the table knows nothing is nobody's


def file_name(key: str) -> str:
    """Return a name for a file of `key`, which is hashed: it may hold any character."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


class WeightFiles:
    """Safetensors files below a folder. Every method but `path` may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the place of the weights under `key`."""
        name = file_name(key)
        return self.folder / name[:2] / f"{name}.safetensors"

    def write(self, key: str, content: bytes, durable: bool) -> None:
        """Write a file; `durable` waits until it is safe from a power cut."""
        place = self.path(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=place.parent, prefix=".part.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(part, place)
        finally:
            Path(part).unlink(missing_ok=True)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files, where they are there."""
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def remove_strays(self, known: Iterable[str]) -> None:
        """Remove files that a killed process has left: written, and never entered under a known key."""
        long_ago, entered = time.time() - STRAY_S, {self.path(key) for key in known}
        for path in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < long_ago and path not in entered:
                    path.unlink()
