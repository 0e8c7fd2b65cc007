"""The text of a YAML file that a user names: at most so much of it, in UTF-8."""

from __future__ import annotations

from pathlib import Path

from sflsim.errors import did_you_mean, refused

MAX_BYTES = 2**20


def read_text(path: Path) -> str:
    """Return the text of a file, at most MAX_BYTES of it, as UTF-8.

    Raises:
        ScenarioError: there is none, or it is too large or no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        found = (
            "no such file"
            if isinstance(error, FileNotFoundError)
            else f"a file that cannot be read ({reason})"
        )
        raise refused("", found, "a YAML file", _near(path), str(path)) from error
    if len(data) > MAX_BYTES:
        found = f"a file of more than {MAX_BYTES // 2**20} MiB"
        raise refused("", found, "a smaller file", "put long lists into a CSV file", str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"bytes that are no text in UTF-8 (byte {error.start})"
        raise refused("", found, "a YAML file in UTF-8", "save it as UTF-8", str(path), line) from error


def _near(path: Path) -> str:
    """Return the name of a file beside a missing one that is nearly called the same."""
    try:
        names = [one.name for one in path.parent.iterdir() if one.suffix in (".yaml", ".yml")]
    except (OSError, ValueError):
        return "check the path"
    return did_you_mean(path.name, names) or "check the path"
