"""The folder of a run, a sweep or a plan while it is made: nobody else's, and whole or not there.

Who makes it claims it; what is written stands beside it, in a folder with a hidden name, and is put in
place when it is whole.
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
from sflsim.record.tables import MANIFESTS, is_part, is_unfinished


class Claimed(RunError):
    """A folder that another process is about to write."""


@dataclass(frozen=True)
class Claim:
    """A folder that nobody else writes for now: as its user calls it, and where links lead."""

    folder: Path
    place: Path


@contextmanager
def claimed(folder: str | Path | Claim) -> Iterator[Claim]:
    """Claim a folder, which need not be there, until the block ends; one that is a claim already is kept.

    Raises:
        Claimed: another process has claimed it.
        RunError: it cannot be written.
    """
    if isinstance(folder, Claim):
        yield folder
        return
    place = Path(os.path.realpath(folder))
    made = [parent for parent in place.parents if not parent.exists()]
    try:
        lock, handle = _taken(place)
        try:
            _clear(place)
        except OSError:
            let_go(lock, handle)
            raise
    except BlockingIOError as error:
        remedy = "name another folder, or wait until it has ended"
        raise Claimed(f"{folder}: another process is making it at this moment; {remedy}") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: cannot be written ({error})") from error
    try:
        yield Claim(Path(folder), place)
    finally:
        let_go(lock, handle)
        for parent in made:  # those that are empty: the folder has not come to be
            with suppress(OSError):
                parent.rmdir()


@contextmanager
def written(claim: Claim) -> Iterator[Path]:
    """Yield an empty folder; what the block writes there is put in place as a whole when it ends well.

    In a folder that is there already, which may be a mount or somebody's working directory, files are
    replaced one by one; it has no manifest meanwhile, and what else is in it stays.

    Raises:
        RunError: it cannot be written.
    """
    place, token = claim.place, secrets.token_hex(4)
    there = place.exists()
    part = place / f".{token}.part" if there else place.parent / f".{place.name}.{token}.part"
    try:
        part.mkdir()
        yield part
        if there:
            _replace(part, place)
        else:
            os.rename(part, place)
    except OSError as error:
        raise RunError(f"{claim.folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_taken(folder: Path) -> bool:
    """Tell whether a folder is there with more in it than what a kill has left."""
    return folder.exists() and not (folder.is_dir() and is_unfinished(folder))


def _taken(place: Path) -> tuple[Path, int]:
    """Return the lock of a folder: a file beside it, or in it where nothing can be written beside it."""
    beside = place.parent / f".{place.name}.claim"
    for _ in range(100):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            return beside, take(beside, wait=False)
        except FileNotFoundError:  # another has just removed the empty parent
            continue
        except BlockingIOError:
            raise
        except OSError:
            if not place.is_dir():
                raise
            inside = place / ".claim"
            return inside, take(inside, wait=False)
    raise FileNotFoundError(beside)


def _clear(place: Path) -> None:
    """Remove what killed processes have left; who holds the claim is the only one alive."""
    own = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]+\.part")
    beside = [path for path in place.parent.iterdir() if own.fullmatch(path.name)]
    inside = [path for path in place.iterdir() if is_part(path.name)] if place.is_dir() else []
    for path in [*beside, *inside]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _replace(part: Path, place: Path) -> None:
    """Move all files, the manifest last."""
    for manifest in MANIFESTS:
        (place / manifest).unlink(missing_ok=True)
    for path in sorted(part.iterdir(), key=lambda path: path.name in MANIFESTS):
        os.replace(path, place / path.name)
