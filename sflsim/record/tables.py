"""The tables of a run: their columns, how they are made from recorded rows, and their files.

Each table has one row per span, evaluation, client or (variant, seed), as `sflsim.rows` defines them.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import pandas as pd

from sflsim.errors import RunError, RunFailed
from sflsim.record.checks import checked, read_unchecked
from sflsim.rows import LATENCY, ClientRow, Evaluation, LinkThroughput, RunRow, Span

KINDS = {str: "str", int: "int64", float: "float64"}


def columns_of(row: type[NamedTuple]) -> dict[str, str]:
    """Return the columns of a table of these rows, each with its type."""
    fields = {"variant": str, "seed": int, **get_type_hints(row)}
    return {name: KINDS[kind] for name, kind in fields.items()}


SPANS = columns_of(Span)
COLUMNS: dict[str, Mapping[str, str]] = {
    "spans": SPANS,
    "link_throughput": columns_of(LinkThroughput),
    "evaluations": columns_of(Evaluation),
    "clients": columns_of(ClientRow),
    "runs": columns_of(RunRow),
}
SAVED = (*COLUMNS, "sweep", "points", "sensitivity", "use")
"""Tables that the folders of runs, sweeps and plans hold; "use" in those of earlier versions."""
OF_THE_PATH = (
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.EEXIST,
    errno.ENOTEMPTY, errno.EACCES, errno.EPERM, errno.EROFS,
)  # fmt: skip
"""Another path can be written; anything else is trouble with the disk."""
MANIFESTS = ("run.json", "sweep.json", "plan.json")
"""Written last: a folder with a manifest is complete."""
LATER = {
    "clients": (
        "up_bytes_per_s",
        "down_bytes_per_s",
        "batch_size",
        "idle_j",
        "absence_s",
        "client_accuracy",
    ),
    "runs": ("server_memory_bytes", "left_out"),
}
"""Columns that run folders of version 0.1.0 may lack; they are read as NaN, or as no text."""
RENAMED_COLUMNS = {"spans": {"energy_j": "active_energy_j"}, "link_throughput": {"medium": "link"}}
"""Columns that earlier versions wrote under their old name; they are read under the new one."""
RENAMED_TABLES = {"link_throughput": "use"}
"""Tables that earlier versions wrote under their old name; the first versions did not write them."""


def table(name: str, rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """Return the table called `name` with the given rows, typed."""
    rows = list(rows)
    return typed(name, {column: [row[index] for row in rows] for index, column in enumerate(COLUMNS[name])})


def of_rows(
    name: str, variant: str, seed: int, rows: Sequence[tuple[Any, ...]], **instead: Any
) -> pd.DataFrame:
    """Return the table called `name` of one run's rows; `instead` has columns that replace theirs."""
    columns = {"variant": [variant] * len(rows), "seed": [seed] * len(rows), **instead}
    for column in COLUMNS[name]:
        if column not in columns:
            columns[column] = list(map(attrgetter(column), rows))
    return typed(name, columns)


def typed(name: str, columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return the table called `name` of its columns; each is made in its final type, which is fast."""
    made = {
        column: pd.array(columns[column], dtype="str") if kind == "str" else np.array(columns[column], kind)
        for column, kind in COLUMNS[name].items()
    }
    return pd.DataFrame(made, copy=False)


def arrivals(spans: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the end of each span in s; of a message, the end of its latency, which is the next row."""
    end_s = spans["end_s"].to_numpy(dtype=np.float64, copy=True)
    travels = np.flatnonzero(spans["activity"].to_numpy() == LATENCY)
    travels = travels[travels > 0]
    end_s[travels - 1] = end_s[travels]
    return end_s


def joined(name: str, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one table of several, in order; an empty one, with all columns, of none."""
    return pd.concat(parts, ignore_index=True) if parts else table(name, [])


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table atomically; equal tables give equal bytes."""
    write_atomically(path, lambda part: frame.to_parquet(part, index=False, compression="zstd"))


def read_table(name: str, folder: Path) -> pd.DataFrame:
    """Return a table of a run folder.

    Raises:
        RunError: it is missing, damaged, or lacks a column.
    """
    path = folder / f"{name}.parquet"
    if name in RENAMED_TABLES and not os.path.lexists(path):
        path = folder / f"{RENAMED_TABLES[name]}.parquet"
        if not os.path.lexists(path):
            return table(name, [])
    try:
        frame = read_unchecked(path)
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no {path.name}; is this the folder of a run?") from error
    return as_saved(name, frame, path)


def as_saved(name: str, frame: pd.DataFrame, place: object) -> pd.DataFrame:
    """Return the table called `name` that a file held in the form of this version or of an earlier one.

    Raises:
        RunError: it has not the columns of this table; `place` is where it was found.
    """
    for old, new in RENAMED_COLUMNS.get(name, {}).items():
        if new not in frame:
            frame = frame.rename(columns={old: new})
    frame = checked(frame, COLUMNS[name], place, may_lack=LATER.get(name, ()))
    for column in LATER.get(name, ()):
        if column not in frame:
            frame[column] = "" if COLUMNS[name][column] == "str" else math.nan
    return frame[list(COLUMNS[name])].astype(dict(COLUMNS[name]))


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    write_atomically(path, lambda part: Path(part).write_text(text + "\n", encoding="utf-8"))


def write_text(text: str, file: str | Path) -> Path:
    """Write a text file atomically, and make its folder if necessary; return its path."""
    path = Path(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise not_written(path.parent, error) from error
    write_atomically(path, lambda part: Path(part).write_text(text, encoding="utf-8", newline="\n"))
    return path


def write_atomically(path: Path, write: Any) -> None:
    """Write a file atomically: `write` fills a temporary file, which then replaces `path`.

    Raises:
        RunError: it cannot be written; `path` is unchanged.
    """
    part = ""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        write(part)
        with open(part, "rb") as written:  # before it is renamed, so a power cut leaves no incomplete file
            os.fsync(written.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except (OSError, ValueError) as error:
        raise not_written(path, error) from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)


def not_written(path: object, error: Exception) -> RunError:
    """Return the error of what cannot be written: a `RunFailed` where the disk is to blame."""
    code = error.errno if isinstance(error, OSError) else errno.EINVAL
    return (RunError if code in OF_THE_PATH else RunFailed)(f"{path}: cannot be written ({error})")


def subfolder_of(folder: Path, name: str) -> Path:
    """Return the subfolder `name`, which is no link.

    Raises:
        RunError: it is a link, which may lead anywhere.
    """
    subfolder = folder / name
    if subfolder.is_symlink():
        raise RunError(f"{subfolder}: is a link; nothing is written through it, remove it first")
    return subfolder


def is_unfinished(folder: Path) -> bool:
    """Tell whether a folder holds only leftovers of a killed `save`: files of ours without a manifest."""
    ours = {"scenario.yaml", "trace.json", "plots", "files", "sweep.csv"}
    ours |= {f"{name}.parquet" for name in SAVED}
    names = {path.name for path in folder.iterdir()}
    return all(name in ours or name == ".claim" or is_part(name) for name in names)


def is_part(name: str) -> bool:
    """Tell whether this is the name of an unfinished file or folder."""
    known = r"\.(?:(scenario\.yaml|[a-z]+\.json|sweep\.csv|[a-z_]+\.parquet)\..+|[0-9a-f]+\.part)"
    return re.fullmatch(known, name) is not None
