"""The tables of a run: their columns, how they are made from what a simulation recorded, their files.

All are tidy: one row per span, evaluation, client or (variant, seed). Imports numpy, pandas, errors, readers.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sflsim.errors import RunError
from sflsim.readers.columnar import read_frame

SPANS = {
    "variant": "str",
    "seed": "int64",
    "actor": "str",
    "activity": "str",
    "start_s": "float64",
    "end_s": "float64",
    "round": "int64",
    "client": "str",
    "bytes": "float64",
    "flop": "float64",
    "energy_j": "float64",
    "outcome": "str",
}
EVALUATIONS = {
    "variant": "str",
    "seed": "int64",
    "time_s": "float64",
    "round": "int64",
    "step": "int64",
    "accuracy": "float64",
    "loss": "float64",
    "uplink_bytes": "float64",
    "downlink_bytes": "float64",
    "client_busy_s": "float64",
    "server_busy_s": "float64",
    "energy_j": "float64",
}
CLIENTS = {
    "variant": "str",
    "seed": "int64",
    "client": "str",
    "group": "str",
    "flop_per_s": "float64",
    "up_bytes_per_s": "float64",
    "down_bytes_per_s": "float64",
    "memory_bytes": "float64",
    "samples": "float64",
    "cut": "int64",
    "rounds": "int64",
    "dropped": "int64",
    "compute_s": "float64",
    "slowdown_s": "float64",
    "uplink_s": "float64",
    "downlink_s": "float64",
    "wait_s": "float64",
    "uplink_bytes": "float64",
    "downlink_bytes": "float64",
    "flop": "float64",
    "energy_j": "float64",
    "idle_j": "float64",
    "wasted_s": "float64",
    "wasted_bytes": "float64",
    "peak_memory_bytes": "float64",
}
RUNS = {
    "variant": "str",
    "seed": "int64",
    "algorithm": "str",
    "status": "str",
    "reason": "str",
    "rounds": "int64",
    "time_s": "float64",
    "server_busy_s": "float64",
    "client_memory_bytes": "float64",
    "server_memory_bytes": "float64",
    "dropped": "int64",
    "wasted_s": "float64",
    "wasted_bytes": "float64",
    "left_out": "str",
}
USE = {
    "variant": "str",
    "seed": "int64",
    "medium": "str",
    "time_s": "float64",
    "bytes_per_s": "float64",
}
COLUMNS: dict[str, Mapping[str, str]] = {
    "spans": SPANS,
    "use": USE,
    "evaluations": EVALUATIONS,
    "clients": CLIENTS,
    "runs": RUNS,
}
SAVED = (*COLUMNS, "sweep", "points", "sensitivity")
"""Tables that the folders of runs, sweeps and plans hold."""
MANIFESTS = ("run.json", "sweep.json", "plan.json")
"""Written last: a folder with one is whole."""
LATER = {
    "clients": ("up_bytes_per_s", "down_bytes_per_s", "idle_j"),
    "runs": ("server_memory_bytes", "left_out"),
}
"""Columns that run folders of version 0.1.0 may lack; they are read as NaN, or as no text."""
WORK = (
    "compute_s", "slowdown_s", "uplink_s", "downlink_s", "wait_s", "uplink_bytes", "downlink_bytes",
    "flop", "energy_j", "wasted_s", "wasted_bytes", "rounds", "dropped",
)  # fmt: skip
"""Columns of CLIENTS that are summed up from spans, in the order of `clock.tally`."""


def table(name: str, rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """Return the table called `name` with the given rows, typed."""
    rows = list(rows)
    return typed(name, {column: [row[place] for row in rows] for place, column in enumerate(COLUMNS[name])})


def typed(name: str, columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return the table called `name` of its columns; each is made in its own type at once, which is cheap."""
    made = {
        column: pd.array(columns[column], dtype="str") if kind == "str" else np.array(columns[column], kind)
        for column, kind in COLUMNS[name].items()
    }
    return pd.DataFrame(made, copy=False)


def joined(name: str, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one table of several, in order; empty with all columns where there are none."""
    return pd.concat(parts, ignore_index=True) if parts else table(name, [])


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table whole or not at all; equal tables give equal bytes."""
    write_whole(path, lambda part: frame.to_parquet(part, index=False, compression="zstd"))


def read_table(name: str, folder: Path) -> pd.DataFrame:
    """Return a table of a run folder.

    Raises:
        RunError: it is missing, damaged, or lacks a column.
    """
    path = folder / f"{name}.parquet"
    try:
        frame = read_frame(path)
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no {path.name}; is this the folder of a run?") from error
    except Exception as error:
        raise RunError(f"{path}: cannot be read as a table ({error})") from error
    unknown = [column for column in LATER.get(name, ()) if column not in frame]
    for column in unknown:
        frame[column] = "" if COLUMNS[name][column] == "str" else math.nan
    missing = [column for column in COLUMNS[name] if column not in frame]
    if missing:
        raise RunError(f"{path}: the columns {', '.join(missing)} are missing")
    return frame[list(COLUMNS[name])].astype(dict(COLUMNS[name]))


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file whole or not at all."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    write_whole(path, lambda part: Path(part).write_text(text + "\n", encoding="utf-8"))


def write_text(text: str, file: str | Path) -> Path:
    """Write a text file whole or not at all, its folder first where there is none; return its path."""
    path = Path(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be made ({error})") from error
    write_whole(path, lambda part: Path(part).write_text(text, encoding="utf-8", newline="\n"))
    return path


def write_whole(path: Path, write: Any) -> None:
    """Let `write` fill a file beside `path`, then put it in place of `path` in one step.

    Raises:
        RunError: the disk is full or cannot be written; what was at `path` is as it was.
    """
    part = ""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        write(part)
        with open(part, "rb") as written:  # on the disk before its name is: a power cut leaves no half
            os.fsync(written.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error})") from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)


def own_folder(folder: Path, name: str) -> Path:
    """Return a folder's own folder `name`; what is written there lands there, wherever the folder is from.

    Raises:
        RunError: it is a link, which may lead anywhere.
    """
    place = folder / name
    if place.is_symlink():
        raise RunError(f"{place}: is a link; nothing is written through it, remove it first")
    return place


def is_unfinished(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what a killed `save` has left: our files, and no manifest."""
    ours = {"scenario.yaml", "trace.json", "plots", "sweep.csv", *(f"{name}.parquet" for name in SAVED)}
    names = {path.name for path in folder.iterdir()}
    return all(name in ours or _part_of(name) is not None for name in names)


def begin_folder(folder: Path) -> None:
    """Make a folder, or take away its manifest, so that no mixture looks whole, and what a kill has left.

    Raises:
        RunError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for manifest in MANIFESTS:
            (folder / manifest).unlink(missing_ok=True)
        for path in folder.iterdir():
            if _part_of(path.name) is not None:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error})") from error


def _part_of(name: str) -> re.Match[str] | None:
    """Return a match for the name of a file that `write_whole` had not finished."""
    return re.fullmatch(r"\.(scenario\.yaml|[a-z]+\.json|sweep\.csv|[a-z]+\.parquet)\..+", name)
