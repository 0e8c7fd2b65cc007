"""Result folders: claimed by one process while they are written, and complete or absent.

Files are written to a hidden folder next to the result folder, which is moved into place when it is
complete.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sflsim.claims import let_go, take
from sflsim.errors import RunError
from sflsim.record.tables import MANIFESTS, is_part, is_unfinished, not_written


class Claimed(RunError):
    """Another process is writing this folder."""


@dataclass(frozen=True)
class Claim:
    """A folder claimed by this process: as its user wrote it, and with links resolved."""

    folder: Path
    resolved: Path


@contextmanager
def claimed(folder: str | Path | Claim) -> Iterator[Claim]:
    """Claim a folder, which may not exist yet, until the block ends; a `Claim` is passed through.

    Raises:
        Claimed: another process has claimed it.
        RunError: it cannot be written.
    """
    if isinstance(folder, Claim):
        yield folder
        return
    try:
        resolved = Path(os.path.realpath(folder))
        new_parents = [parent for parent in resolved.parents if not os.path.exists(parent)]
        lock, handle = _locked(resolved)
        try:
            _remove_leftovers(resolved)
        except OSError:
            let_go(lock, handle)
            raise
    except BlockingIOError as error:
        remedy = "name another folder, or wait until it has ended"
        raise Claimed(f"{folder}: another process is making it at this moment; {remedy}") from error
    except (OSError, ValueError) as error:
        raise not_written(folder, error) from error
    try:
        yield Claim(Path(folder), resolved)
    finally:
        let_go(lock, handle)
        for parent in new_parents:  # those still empty: the folder was not made
            with suppress(OSError):
                parent.rmdir()


@contextmanager
def written(claim: Claim) -> Iterator[Path]:
    """Yield an empty folder, which becomes the claimed folder when the block ends without an error.

    In an existing folder (it may be a mount or a working directory), files are replaced one by one: it has
    no manifest meanwhile, and its other files stay.

    Raises:
        RunError: it cannot be written.
    """
    folder, token = claim.resolved, secrets.token_hex(4)
    exists = folder.exists()
    part = folder / f".{token}.part" if exists else folder.parent / f".{folder.name}.{token}.part"
    try:
        part.mkdir()
        yield part
        if exists:
            _move_files(part, folder)
        else:
            os.rename(part, folder)
    except OSError as error:
        raise not_written(claim.folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_taken(folder: Path) -> bool:
    """Tell whether a folder exists and holds more than the leftovers of a killed process."""
    return os.path.exists(folder) and not (os.path.isdir(folder) and is_unfinished(folder))


def _locked(folder: Path) -> tuple[Path, int]:
    """Return the lock file of a folder: next to it, or inside if its parent cannot be written."""
    sibling = folder.parent / f".{folder.name}.claim"
    for _ in range(100):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            return sibling, take(sibling, wait=False)
        except FileNotFoundError:  # another process has just removed the empty parent
            continue
        except BlockingIOError:
            raise
        except OSError:
            if not folder.is_dir():
                raise
            inside = folder / ".claim"
            return inside, take(inside, wait=False)
    raise FileNotFoundError(sibling)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left; no other process holds the claim."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]+\.part")
    siblings = [path for path in folder.parent.iterdir() if pattern.fullmatch(path.name)]
    inside = [path for path in folder.iterdir() if is_part(path.name)] if folder.is_dir() else []
    for path in [*siblings, *inside]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _move_files(part: Path, folder: Path) -> None:
    """Move all files into a folder, and subfolders in the place of those there; the manifest last."""
    for manifest in MANIFESTS:
        (folder / manifest).unlink(missing_ok=True)
    for path in sorted(part.iterdir(), key=lambda path: path.name in MANIFESTS):
        if path.is_dir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
        os.replace(path, folder / path.name)
