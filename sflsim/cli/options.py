"""Arguments and options that several commands have, and how they are read.

Imports errors; units, tables and the store where they are needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional, Protocol

import typer

from sflsim.errors import RunError, SflsimError

ScenarioFile = Annotated[Path, typer.Argument(help="a scenario in YAML", show_default=False)]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads this form)
    typer.Option("--set", metavar="PATH=VALUE", help="override a field, e.g. --set stop.rounds=50"),
]
Cache = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--cache", metavar="DIR", help="the store; in the user's cache directory by default"),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="run code that the scenario names: installed packages' components, torch-module",
    ),
]
Target = Annotated[Optional[str], typer.Option("--target", help="target accuracy, e.g. 90%")]  # noqa: UP045
RunFolder = Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)]
Variant = Annotated[Optional[str], typer.Option(help="one variant; all by default")]  # noqa: UP045
Device = Annotated[str, typer.Option(help="cpu or cuda")]
TimingOnly = Annotated[bool, typer.Option("--timing-only", help="the clock alone: nothing is learned")]


def read_share(target: str | None) -> float | None:
    """Return a target accuracy as a share of one."""
    from pydantic_core import PydanticCustomError

    from sflsim.units import Percent

    try:
        return None if target is None else Percent().read(target)
    except PydanticCustomError as error:
        raise SflsimError(
            f"--target: found {target!r}; allowed: {(error.context or {})['allowed']}"
        ) from None


def cache_folder(cache: Path | None, no_cache: bool) -> Path | None:
    """Return the folder of the store; None for none."""
    if no_cache and cache is not None:
        raise SflsimError("--cache and --no-cache: give one of them")
    if no_cache or cache is not None:
        return cache
    from sflsim.learning.disk_store import default_folder

    return default_folder()


def new_folder(folder: Path | None, name: str) -> Path:
    """Return a folder that does not exist yet; it is made when there is something to write."""
    if folder is not None:
        if folder.exists() and not _unfinished(folder):
            raise SflsimError(
                f"--out {folder}: exists already; name a new folder, so that no run is overwritten"
            )
        return folder
    tries = [Path("runs") / name, *(Path("runs") / f"{name}-{number}" for number in range(2, 10_000))]
    return next(place for place in tries if not place.exists() or _unfinished(place))


class Saving(Protocol):
    """A run, a sweep or a plan."""

    def save(self, folder: Path, /) -> Path:
        """Write its folder."""


def saved(result: Saving, folder: Path) -> None:
    """Write a folder; where that fails, say that the same command may go on in it.

    Raises:
        RunError: it cannot be written.
    """
    try:
        result.save(folder)
    except RunError as error:
        remedy = "once it can be written, use the same --out again; what is unfinished there is replaced"
        raise RunError(f"{error}\n{folder} is not whole: {remedy}") from error


def _unfinished(folder: Path) -> bool:
    """Tell whether a folder is empty, or what a run that was killed while it was written has left."""
    from sflsim.record.tables import is_unfinished

    return folder.is_dir() and is_unfinished(folder)
