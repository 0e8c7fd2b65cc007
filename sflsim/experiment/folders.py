"""The folder of a plan or a sweep: its scenario, its tables and, written last, its manifest.

A folder with a manifest is complete; errors name a damaged file.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sflsim.errors import RunError
from sflsim.readers.columnar import read_frame
from sflsim.record import tables
from sflsim.record.folders import Claim, claimed, written
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
) -> Path:
    """Write scenario.yaml, `texts` by file name, a Parquet file for each table, and last `kind`.json.

    Raises:
        RunError: the folder cannot be written.
    """
    with claimed(folder) as claim:
        with written(claim) as part:
            for name, text in {"scenario.yaml": scenario, **(texts or {})}.items():
                tables.write_text(text, part / name)
            for name, frame in frames.items():
                tables.write_table(frame, part / f"{name}.parquet")
            tables.write_json(dict(manifest), part / f"{kind}.json")
        return claim.folder


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
        scenario = read_saved(folder, trust=trust)
    except FileNotFoundError as error:
        raise _missing(folder, Path(error.filename), kind) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder}: its manifest cannot be read ({error})") from error
    if lacking:
        raise RunError(f"{folder}: its manifest cannot be read (another {', '.join(lacking)} than expected)")
    return Contents(scenario, manifest, {name: _table(folder / f"{name}.parquet", kind) for name in frames})


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


@contextmanager
def learned(cache: str | Path | None, needed: bool) -> Iterator[Path | None]:
    """Yield the folder in which workers share what they learn: the user's, or a temporary one."""
    if cache is not None or not needed:
        yield None if cache is None else Path(cache).absolute()
        return
    with tempfile.TemporaryDirectory(prefix="sflsim-learned-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
