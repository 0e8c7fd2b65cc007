"""The scenario of a folder of results: text and plain data, checked only where it is to be simulated again.

Tables and pictures need neither the algorithms and models that it names nor the files.
"""

from __future__ import annotations

import os
from errno import ENOENT
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from sflsim.errors import ScenarioError, refused
from sflsim.fields import Percent, allowed_by
from sflsim.scenario.loading import parse_saved
from sflsim.scenario.schema import Scenario
from sflsim.scenario.text_files import MAX_RESOLVED_BYTES, read_text
from sflsim.scenario.translate import shown
from sflsim.scenario.yaml_lines import read_yaml


class Saved:
    """What a scenario.yaml says, for those who look at its results; with `trust` its code may run.

    Raises:
        ScenarioError: it is no YAML, or has none of the parts that results are shown with.
    """

    def __init__(self, text: str, file: str, *, trust: bool = False) -> None:
        self.text, self.file, self.trust = text, file, trust
        document = read_yaml(text, file)
        if not isinstance(document.data, dict):
            raise self._wrong("", document.data, "a mapping: name, workload, fleet, ...", 1)
        self.data: dict[str, Any] = document.data
        for key in ("name", "description"):
            if not isinstance(self.data.get(key, ""), str):
                raise self._wrong(key, self.data[key], "text", document.lines.get(key))
        self.name: str = self.data.get("name", "")
        self.description: str = self.data.get("description", "")
        target = self.data.get("target_accuracy")
        try:
            self.target_accuracy = None if target is None else Percent().read(target)
        except PydanticCustomError as error:
            line = document.lines["target_accuracy"]
            raise self._wrong("target_accuracy", target, allowed_by(error), line) from error

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario.

        Raises:
            ScenarioError: what it names is not here (an algorithm of a plug-in, a file), or not trusted.
        """
        return parse_saved(self.text, self.file, trust=self.trust)

    @property
    def slots(self) -> int:
        """The server's slots; one where the file does not say."""
        server = self.data.get("server")
        slots = server.get("slots") if isinstance(server, dict) else None
        return slots if isinstance(slots, int) else 1

    def to_yaml(self) -> str:
        """Return the text as it was saved."""
        return self.text

    def _wrong(self, path: str, found: Any, allowed: str, line: int | None) -> ScenarioError:
        return refused(path, shown(found), allowed, "", self.file, line)


def read_saved(folder: Path, *, trust: bool = False) -> Saved:
    """Return the scenario of a folder of results.

    Raises:
        FileNotFoundError: there is none.
        ScenarioError: it is no text, or as of `Saved`.
    """
    file = folder / "scenario.yaml"
    if not os.path.lexists(file):
        raise FileNotFoundError(ENOENT, "no such file", str(file))
    return Saved(read_text(file, MAX_RESOLVED_BYTES), str(file), trust=trust)


def checked(scenario: Scenario | Saved) -> Scenario:
    """Return the scenario itself, to be simulated (raises ScenarioError as `Saved.scenario`)."""
    return scenario.scenario if isinstance(scenario, Saved) else scenario
