"""Where each part of a scenario was written, so that an error can point there.

A resolved scenario has more variants than its file: `origins` leads from "variants[4].tau" to the
"variants[1].tau[2]" that the user wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sflsim.errors import Problem, ScenarioError
from sflsim.scenario.yaml_lines import parent


@dataclass(frozen=True)
class Source:
    """File and lines of a scenario. All are equal: where a scenario stands is no part of what it says."""

    file: str = field(default="", compare=False)
    lines: dict[str, int] = field(default_factory=dict, compare=False)
    overridden: dict[str, str] = field(default_factory=dict, compare=False)  # path -> "--set path=value"
    origins: dict[str, str] = field(default_factory=dict, compare=False)  # resolved path -> written path
    data: dict[str, Any] | None = field(default=None, compare=False)  # as written, overrides followed
    folder: Path = field(default=Path(), compare=False)  # where files that it names are looked for

    def written(self, path: str) -> str:
        """Return the path that the user wrote for a path of the resolved scenario."""
        head = path
        while head and head not in self.origins:
            head = parent(head)
        return self.origins[head] + path[len(head) :] if head else path

    def place(self, path: str) -> tuple[str, int | None]:
        """Return file and line of a written path, or of what it stands in; an override has no line."""
        while True:
            if path in self.overridden:
                return self.overridden[path], None
            if path in self.lines or not path:
                return self.file, self.lines.get(path)
            path = parent(path)

    def located(self, error: ScenarioError) -> ScenarioError:
        """Return the error with written paths, files and lines, each problem once, in the file's order."""
        problems: dict[Problem, None] = {}
        for problem in error.problems:
            path = self.written(problem.path)
            file, line = self.place(path)
            if problem.file:
                file, line = problem.file, problem.line
            problems[replace(problem, path=path, file=file, line=line)] = None
        return ScenarioError(sorted(problems, key=lambda problem: problem.line or 0))
