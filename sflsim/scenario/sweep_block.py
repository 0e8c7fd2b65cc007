"""What a sweep varies: paths of a scenario and the values that each takes; read and checked as written.

`sweep: {fleet.straggler.mean: [1 s, 2 s], "variants[mu].tau": [1, 4]}` in a scenario, or the same as
`--over fleet.straggler.mean='1 s,2 s'`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from sflsim.errors import Problem, ScenarioError
from sflsim.formatting import shorten
from sflsim.mistakes import Place
from sflsim.scenario.overrides import read_path
from sflsim.scenario.yaml_lines import read_yaml

MAX_POINTS = 10_000
FORM = "path=value,value,..., e.g. fleet.straggler.mean='1 s,2 s' or 'variants[mu].tau=1,2,4'"
PATHS = "the path of a field, as after --set, e.g. fleet.straggler.mean or variants[mu].tau"
UNSWEPT = ("sweep", "plan", "name", "description")

Over = Mapping[str, Sequence[Any]]


def read_over(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read "fleet.straggler.mean=1 s,2 s": values as in a YAML list, with or without its brackets.

    Raises:
        ScenarioError: every text that is no path with values, and paths given twice.
    """
    over: dict[str, list[Any]] = {}
    problems: list[Problem] = []
    for text in texts:
        label = f"--over {shorten(text)}"
        steps, rest = read_path(text)
        path = text[: len(text) - len(rest)]
        if not steps or not rest.startswith("="):
            problems.append(Problem("", repr(shorten(text)), FORM, "", "--over"))
        elif path in over:
            problems.append(Problem(path, "the path twice", "each path once", "put all values in one", label))
        else:
            try:
                over[path] = _values(rest[1:], label)
            except ScenarioError as error:
                problems += [replace(problem, path=path, line=None) for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return over


def _values(text: str, label: str) -> list[Any]:
    """Return the values of "1, 2", "[1, 2]" or "[64], [64, 64]"."""
    if not text.strip():
        return []
    try:
        data = read_yaml(text, label).data
    except ScenarioError:
        data = None
    if isinstance(data, list):
        return data
    wrapped: list[Any] = read_yaml(f"[{text}]", label).data
    return wrapped


def sweep_problems(over: Over) -> Iterator[tuple[Place, Problem]]:
    """Yield what is wrong with a sweep as it is written, and where (path, index); values are not tried."""
    if not over:
        yield (), Problem("", "no path", PATHS, "leave 'sweep' out, or add a path and its values")
    for path, values in over.items():
        steps, rest = read_path(path)
        if not steps or rest:
            yield (path,), Problem("", f"the path {shorten(path)!r}", PATHS)
        elif steps[0] in UNSWEPT:
            yield (path,), Problem("", f"'{steps[0]}', which changes no simulation", PATHS)
        elif tuple(steps) == ("seeds",):
            remedy = "list all seeds in seeds: each point is simulated under each of them"
            yield (path,), Problem("", "'seeds', over which a sweep takes means", PATHS, remedy)
        if not values:
            yield (path,), Problem("", "an empty list", "a list with at least one value")
        known: set[str] = set()
        for index, value in enumerate(values):
            if (text := json.dumps(value, sort_keys=True, default=repr)) in known:
                yield (path, index), Problem("", f"{shorten(repr(value))} twice", "each value once")
            known.add(text)
    if (count := prod(len(values) for values in over.values())) > MAX_POINTS:
        remedy = "shorten the lists, or sweep in parts"
        yield (), Problem("", f"{count} points", f"at most {MAX_POINTS}", remedy)
