"""Arguments and options that several commands have, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sflsim.errors import RunError, RunFailed, SflsimError

if TYPE_CHECKING:
    from sflsim.record.folders import Claim

ScenarioFile = Annotated[
    Path,
    typer.Argument(
        help="a YAML file, the folder of a run, or the name of a shipped scenario", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="override a field, e.g. --set stop.rounds=50"),
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="the store; in the user's cache directory by default"),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="run code that the scenario names: installed packages' components, torch-module",
    ),
]
Target = Annotated[str | None, typer.Option("--target", help="target accuracy, e.g. 90%")]
RunFolder = Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)]
Variant = Annotated[str | None, typer.Option(help="one variant; all by default")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 and so on, mps, or auto: a GPU if there is one")]
Workers = Annotated[int, typer.Option(min=1, help="processes that compute side by side")]
CPUS = os.cpu_count() or 1
TimingOnly = Annotated[bool, typer.Option("--timing-only", help="the clock alone: nothing is learned")]


def read_share(target: str | None) -> float | None:
    """Return a target accuracy as a share of one."""
    from sflsim.fields import Percent, read_argument

    share: float | None = read_argument("--target", target, Percent())
    return share


def cache_folder(cache: Path | None, no_cache: bool) -> Path | None:
    """Return the folder of the store; None for none."""
    if no_cache and cache is not None:
        raise SflsimError("--cache and --no-cache: give one of them")
    if no_cache or cache is not None:
        return cache
    from sflsim.learning.graph.disk_store import default_folder

    return default_folder()


@contextmanager
def new_folder(folder: Path | None, name: str) -> Iterator[Claim]:
    """Claim a folder that does not exist yet, until the block ends.

    Raises:
        RunError: the folder that is wanted exists, another process is making it, or it cannot be written.
    """
    from sflsim.record.folders import Claimed, claimed, is_taken

    numbered = (Path("runs") / f"{name}-{number}" for number in range(2, 10_000))
    for place in [folder] if folder is not None else [Path("runs") / name, *numbered]:
        with ExitStack() as stack:
            try:
                claim = stack.enter_context(claimed(place))
            except Claimed as error:
                if folder is not None:
                    raise RunError(f"--out {error}") from error
                continue
            if not is_taken(place):
                yield claim
                return
            if folder is not None:
                raise RunError(
                    f"--out {folder}: exists already; name a new folder, so that no run is overwritten"
                )
    raise RunError(f"runs/{name}: 10,000 of them exist already; name a folder with --out")


def saved(save: Callable[[], Path], claim: Claim) -> Path:
    """Write a folder and return it; where that fails, say that the same command may go on in it.

    Raises:
        RunError: it cannot be written.
    """
    try:
        return save()
    except RunError as error:
        remedy = "once it can be written, use the same --out again; what is unfinished there is replaced"
        raise RunFailed(f"{error}\n{claim.folder} is not whole: {remedy}") from error
