"""The scenarios that the package ships, by name (`papers/ho_sfl`): those of scenarios/ in the repository."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "scenarios"
"""In a clone a link to the scenarios of the repository; in an installed package a folder."""


def shipped() -> dict[str, Path]:
    """Return the files of the shipped scenarios by name, in alphabetical order."""
    return {
        path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.rglob("*.yaml"))
    }
