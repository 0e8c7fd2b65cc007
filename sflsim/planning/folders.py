"""The folder of a plan or a sweep: its scenario, its tables and, written last, its manifest.

A folder with a manifest is whole, and what is damaged is named. Imports record and scenario.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sflsim.errors import RunError
from sflsim.readers.columnar import read_frame
from sflsim.record import tables
from sflsim.scenario.loading import parse_saved
from sflsim.scenario.schema import Scenario


@dataclass(frozen=True)
class Contents:
    """What a folder holds."""

    scenario: Scenario
    manifest: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def write(
    folder: str | Path,
    kind: str,
    *,
    scenario: str,
    frames: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write scenario.yaml, `texts` by file name, a Parquet file for each table, and last `kind`.json.

    Raises:
        RunError: the folder cannot be written.
    """
    folder = Path(folder)
    tables.begin_folder(folder)
    for name, text in {"scenario.yaml": scenario, **(texts or {})}.items():
        tables.write_text(text, folder / name)
    for name, frame in frames.items():
        tables.write_table(frame, folder / f"{name}.parquet")
    tables.write_json(dict(manifest), folder / f"{kind}.json")
    return folder


def read(
    folder: str | Path, kind: str, frames: Collection[str], parts: Mapping[str, type], *, trust: bool = False
) -> Contents:
    """Return what `write` wrote to a folder: its tables called `frames`, a manifest that has `parts`.

    Raises:
        RunError: it is no folder of this kind, or a file in it is missing or damaged.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
        lacking = [name for name, form in parts.items() if not isinstance(manifest[name], form)]
        text = (folder / "scenario.yaml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _missing(folder, Path(error.filename), kind) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder}: its manifest cannot be read ({error})") from error
    if lacking:
        raise RunError(f"{folder}: its manifest cannot be read (another {', '.join(lacking)} than expected)")
    found = {name: _table(folder / f"{name}.parquet", kind) for name in frames}
    scenario = parse_saved(text, str(folder / "scenario.yaml"), trust=trust)
    return Contents(scenario, manifest, found)


def need(folder: str | Path, contents: Contents, columns: Mapping[str, Collection[str]]) -> None:
    """Refuse tables that lack some of their columns (raises RunError)."""
    for table, names in columns.items():
        missing = [name for name in names if name not in contents.tables[table]]
        if missing:
            path = Path(folder) / f"{table}.parquet"
            raise RunError(f"{path}: the columns {', '.join(missing)} are missing")


def _table(path: Path, kind: str) -> pd.DataFrame:
    try:
        return read_frame(path)
    except FileNotFoundError as error:
        raise _missing(path.parent, path, kind) from error
    except Exception as error:
        raise RunError(f"{path}: cannot be read as a table ({error})") from error


def _missing(folder: Path, file: Path, kind: str) -> RunError:
    return RunError(f"{folder}: no {file.name}; is this the folder of a {kind}?")
