"""The text of a YAML file that a user names: at most so much of it, in UTF-8."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sflsim.errors import did_you_mean, refused
from sflsim.readers.files import NotAFile, read_bytes, reason

MAX_BYTES = 2**20
MAX_RESOLVED_BYTES = 2**24
"""Of the scenario of a folder of results: longer, with every default and every variant written out."""


def read_text(path: Path, most_bytes: int = MAX_BYTES, names: Collection[str] = ()) -> str:
    """Return the text of a regular file, which has at most so many bytes, as UTF-8.

    `names` are of scenarios that could have been named in place of a file.

    Raises:
        ScenarioError: there is none, or it is too large or no text.
    """
    try:
        data = read_bytes(path, most_bytes)
    except FileNotFoundError as error:
        raise refused("", "no such file", _allowed(names), _near(path, names), str(path)) from error
    except NotAFile as error:
        if names and path.is_dir():
            found = "a folder without scenario.yaml"
            raise refused("", found, _allowed(names), "check the path", str(path)) from error
        allowed = f"a YAML file of at most {most_bytes // 2**20} MiB"
        raise refused("", error, allowed, "put long lists into a CSV file", str(path)) from error
    except OSError as error:
        found = f"a file that cannot be read ({reason(error)})"
        raise refused("", found, "a YAML file", "check the path", str(path)) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"bytes that are no text in UTF-8 (byte {error.start})"
        raise refused("", found, "a YAML file in UTF-8", "save it as UTF-8", str(path), line) from error


def _allowed(names: Collection[str]) -> str:
    return f"a YAML file, the folder of a run, or one of {', '.join(names)}" if names else "a YAML file"


def _near(path: Path, names: Collection[str]) -> str:
    """Return which file beside a missing one, or which of the names, is nearly called the same."""
    try:
        files = [one.name for one in path.parent.iterdir() if one.suffix in (".yaml", ".yml")]
    except (OSError, ValueError):
        files = []
    return did_you_mean(path.name, files) or did_you_mean(path.as_posix(), names) or "check the path"
