"""The folder of a plan or a sweep: its scenario, its tables and, written last, its manifest.

A folder with a manifest is complete; errors name a damaged file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from sflsim.errors import RunError
from sflsim.learning.graph.disk_store import folder_of
from sflsim.record import tables
from sflsim.record.checks import checked, read_manifest, read_unchecked
from sflsim.record.folders import Claim, claimed, written
from sflsim.scenario.copies import copies_of
from sflsim.scenario.saved import Saved, read_saved


@dataclass(frozen=True)
class Contents:
    """What a folder holds."""

    scenario: Saved
    manifest: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def write(
    folder: str | Path | Claim,
    kind: str,
    *,
    scenario: str,
    frames: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
    copied: Path | None = None,
) -> Path:
    """Write scenario.yaml, `texts` by file name, a Parquet file for each table, and last `kind`.json.

    With them come copies of the tables that the scenario names, as far as they are there: those of `copied`,
    the folder that these results were read from, before the tables themselves.

    Raises:
        RunError: the folder cannot be written.
    """
    with claimed(folder) as claim:
        with written(claim) as part:
            for name, text in {"scenario.yaml": scenario, **(texts or {})}.items():
                tables.write_text(text, part / name)
            for name, source in copies_of(scenario).items():
                kept = source if copied is None else copied / name
                if found := next(filter(os.path.isfile, (kept, source)), None):
                    (part / name).parent.mkdir(parents=True)
                    shutil.copyfile(found, part / name)
            for name, frame in frames.items():
                tables.write_table(frame, part / f"{name}.parquet")
            tables.write_json(dict(manifest), part / f"{kind}.json")
        return claim.folder


def read(
    folder: str | Path, kind: str, tables: Collection[str], form: type[BaseModel], *, trust: bool = False
) -> Contents:
    """Return what `write` wrote to a folder: its `tables` as they are, its manifest of the form of a model.

    Raises:
        RunError: it is no folder of this kind, or a file in it is missing or damaged.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder / f"{kind}.json", form)
        scenario = read_saved(folder, trust=trust)
        frames = {name: read_unchecked(folder / f"{name}.parquet") for name in tables}
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise RunError(f"{folder}: no {name}; is this the folder of a {kind}?") from error
    return Contents(scenario, manifest, frames)


def check(folder: str | Path, contents: Contents, columns: Mapping[str, Mapping[str, str]]) -> None:
    """Give the columns of tables their types (raises RunError where one is missing or of another type)."""
    for name, kinds in columns.items():
        place = Path(folder) / f"{name}.parquet"
        contents.tables[name] = checked(contents.tables[name], kinds, place)


@contextmanager
def learned(cache: str | Path | bool | None, needed: bool) -> Iterator[Path | None]:
    """Yield the folder in which workers share what they learn: the user's, or a temporary one."""
    place = folder_of(cache)
    if place is not None or not needed:
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="sflsim-learned-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
