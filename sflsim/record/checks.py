"""What the files of a result folder hold, held against what they must: tables, and manifests in JSON.

Whatever is wrong is one `RunError` that names the file and the column or key.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ValidationError

from sflsim.errors import RunError
from sflsim.formatting import shorten
from sflsim.readers.columnar import read_frame
from sflsim.readers.files import MANIFEST_BYTES, read_bytes, reason

NUMBERS = ("integer", "floating", "mixed-integer-float", "empty")
VALUES: dict[str, tuple[str, ...]] = {
    "str": ("string", "empty"),
    "bool": ("boolean", "empty"),
    "int64": ("integer", "empty"),
}
VALUES |= {"float64": NUMBERS, "any": (*NUMBERS, "string", "boolean")}
"""The kinds of values, as pandas calls them, that a column of each type may hold in a file."""
WORDS = {"str": "text", "bool": "true or false", "int64": "whole numbers", "float64": "numbers"}
SHOWN = 40


def read_manifest(file: Path, form: type[BaseModel]) -> dict[str, Any]:
    """Return the manifest in a file; `form` is a model of the keys that are used.

    Raises:
        FileNotFoundError: there is none.
        RunError: it is no such manifest.
    """
    try:
        manifest: dict[str, Any] = json.loads(read_bytes(file, MANIFEST_BYTES))
        form.model_validate(manifest, strict=True)
    except FileNotFoundError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        found = f"{key}: {first['msg']}" if key else first["msg"]
        raise RunError(
            f"{file}: the manifest cannot be read ({found}, found {shorten(repr(first['input']), SHOWN)})"
        ) from error
    except OSError as error:
        raise RunError(f"{file}: the manifest cannot be read ({reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file}: the manifest cannot be read ({error})") from error
    return manifest


def read_unchecked(file: Path) -> pd.DataFrame:
    """Return the table in a file, whatever its columns are.

    Raises:
        FileNotFoundError: there is none.
        RunError: it cannot be read, or has two columns of one name.
    """
    try:
        frame = read_frame(file)
    except FileNotFoundError:
        raise
    except Exception as error:  # each library has its own family of errors for a broken file
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise RunError(f"{file}: cannot be read as a table ({why})") from error
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise RunError(f"{file}: has two columns {twice[0]!r}")
    return frame


def checked(
    frame: pd.DataFrame, kinds: Mapping[str, str], place: object, may_lack: Collection[str] = ()
) -> pd.DataFrame:
    """Return a table with each of the columns `kinds` in its type: str, bool, int64, float64 or any.

    The other columns stay as they are. Missing values stand in columns of numbers alone.

    Raises:
        RunError: a column is missing, or holds something else; `place` is where the table was found.
    """
    missing = [name for name in kinds if name not in frame and name not in may_lack]
    if missing:
        raise RunError(f"{place}: the columns {', '.join(missing)} are missing")
    typed: dict[str, Any] = {
        name: _column(frame[name], kind, f"{place}: the column {name}")
        for name, kind in kinds.items()
        if name in frame
    }
    return frame.assign(**typed)


def _column(column: pd.Series[Any], kind: str, place: str) -> pd.Series[Any]:
    """Return a column in its type, if each value is of it."""
    may_miss = kind in ("float64", "any")
    held = pd.api.types.infer_dtype(column, skipna=may_miss)
    if held not in VALUES[kind] or (not may_miss and column.isna().any()):
        wrong = next((one for one in column if _held(one) not in VALUES[kind]), "several types of values")
        wanted = WORDS.get(kind, "plain values")
        raise RunError(f"{place} holds {shorten(repr(wrong), SHOWN)}; allowed: {wanted}")
    dtype: Any = kind
    try:
        return column if kind == "any" else column.astype(dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise RunError(f"{place} holds what is no {kind} ({error})") from error


def _held(value: object) -> str:
    return str(pd.api.types.infer_dtype([value], skipna=False))
