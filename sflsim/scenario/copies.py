"""Copies of the tables that a scenario names, in the folder of its results: it runs again without them.

`files/<number>/<name>` for the path of that number in the order of all; a trace draws by its file's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sflsim.scenario.yaml_lines import read_yaml

FOLDER = "files"
PARTS = ("catalog", "fleet", "server")
"""What may name tables of delays, rates and availability; data sets, models and code are not copied."""


def copies_of(scenario: str) -> dict[str, Path]:
    """Return of each table that a resolved scenario (in YAML) names where its copy belongs, and its path."""
    if "file:" not in scenario:
        return {}
    data = read_yaml(scenario, "scenario.yaml").data
    return {copy: Path(path) for path, copy in _places(data).items()}


def use_copies(data: dict[str, Any], folder: Path) -> None:
    """Let a resolved scenario name the copies in a folder of results, as far as they are there."""
    places = _places(data)
    for holder in list(_holders(data)):
        copy = folder / places[holder["file"]]
        if os.path.isfile(copy):
            holder["file"] = str(copy.resolve())


def _places(data: dict[str, Any]) -> dict[str, str]:
    paths = sorted({holder["file"] for holder in _holders(data)})
    return {path: f"{FOLDER}/{number}/{Path(path).name}" for number, path in enumerate(paths)}


def _holders(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every mapping that names a file by its absolute path."""
    waiting: list[Any] = [data.get(part) for part in PARTS]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("file"), str) and Path(part["file"]).is_absolute():
                yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
