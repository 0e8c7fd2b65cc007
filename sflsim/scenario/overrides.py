"""`--set path=value`: changes to a scenario's data before it is checked.

An entry of a list is named by its index, or by a word: a variant's name or algorithm, a group's name or
device, or what only one of these words begins with ("variants[mu].tau").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sflsim.errors import Problem, ScenarioError, did_you_mean, refused
from sflsim.formatting import shorten
from sflsim.scenario.yaml_lines import Document, join, read_yaml

STEP = re.compile(r"\.?([^.\[\]=]+)|\[([^\[\]]+)\]")
FORM = "path=value, e.g. 'stop.rounds=50', 'fleet.groups[0].link=wifi' or 'variants[mu-splitfed].tau=4'"


@dataclass(frozen=True)
class Override:
    """One `--set`: the steps of its path, and the value as YAML reads it."""

    file: str  # what an error names in place of a file: "--set path=value"
    steps: tuple[str, ...]
    value: Any

    def refuse(self, path: str, found: str, allowed: str, remedy: str = "") -> ScenarioError:
        """Return the error that this override cannot be followed beyond `path`."""
        return refused(path, found, allowed, remedy, self.file)


def parse_override(text: str) -> Override:
    """Read "fleet.groups[0].link=wifi".

    Raises:
        ScenarioError: no path, no "=", or a value that is no YAML.
    """
    steps, rest = read_path(text)
    if not steps or not rest.startswith("="):
        raise refused("", repr(shorten(text)), FORM, "", "--set")
    file = f"--set {shorten(text)}"
    try:
        return Override(file, steps, read_yaml(rest[1:], file).data)
    except ScenarioError as error:
        raise ScenarioError([replace(problem, path="", line=None) for problem in error.problems]) from error


def read_path(text: str) -> tuple[tuple[str, ...], str]:
    """Return the steps of the path that `text` begins with, and what follows it."""
    position, steps = 0, []
    while match := STEP.match(text, position):
        if position == 0 and match.group(0).startswith("."):
            break
        steps.append((match.group(1) or match.group(2)).strip())
        position = match.end()
    return tuple(steps), text[position:]


def apply(overrides: Sequence[str | Override], document: Document) -> dict[str, str]:
    """Change `document` as the overrides say, in order; return who set which path.

    A key that is absent is made (the schema refuses it later if it knows no such key); an entry
    of a list must be there.

    Raises:
        ScenarioError: every override that has no place in the document.
    """
    problems: list[Problem] = []
    overridden: dict[str, str] = {}
    for one in overrides:
        try:
            override = parse_override(one) if isinstance(one, str) else one
            for path in list(_set(document.data, "", override, override.steps)):
                _forget(document.lines, path)
                _forget(overridden, path)
                overridden[path] = override.file
        except ScenarioError as error:
            problems.extend(error.problems)
    if problems:
        raise ScenarioError(problems)
    return overridden


def _forget(places: dict[str, Any], path: str) -> None:
    """Drop `path` and what stands below it: its old value is gone."""
    for known in [known for known in places if known == path or known.startswith((f"{path}.", f"{path}["))]:
        del places[known]


def _set(data: Any, path: str, override: Override, steps: Sequence[str]) -> Iterator[str]:
    """Set the value at the end of `steps` in `data` and yield the path of each place."""
    step, rest = steps[0], steps[1:]
    for key in _keys(data, path, override, step):
        below = join(path, key)
        if not rest:
            data[key] = override.value
            yield below
            continue
        if isinstance(data, dict) and data.get(key) is None:
            data[key] = {}
            yield below
        yield from _set(data[key], below, override, rest)


def _keys(data: Any, path: str, override: Override, step: str) -> list[Any]:
    """Return the keys or indices of `data` that a step names."""
    if isinstance(data, dict):
        return [step]
    if not isinstance(data, list):
        remedy = f"set '{path}' as a whole, e.g. --set '{path}={{...}}'"
        raise override.refuse(
            path, shorten(repr(data)), f"a mapping or a list, for '{step}' to be in it", remedy
        )
    if re.fullmatch(r"[0-9]{1,9}", step):
        if int(step) < len(data):
            return [int(step)]
        raise override.refuse(
            path, f"[{step}]", f"[0] to [{len(data) - 1}]" if data else "no entry: the list is empty"
        )
    names = [_names(entry) for entry in data]
    words = list(dict.fromkeys(name for entry in names for name in entry))
    meant = _meant(step, words)
    if len(meant) != 1:
        allowed = ", ".join([*words, f"[0] to [{len(data) - 1}]"]) if data else "no entry: the list is empty"
        remedy = f"it may mean {' or '.join(meant)}" if meant else did_you_mean(step, words)
        raise override.refuse(path, f"[{step}]", allowed, remedy)
    return [index for index, known in enumerate(names) if meant[0] in known]


def _meant(step: str, words: Sequence[str]) -> list[str]:
    """Return the word that is `step`, or those that begin with it.

    A name made of another word, "mu-splitfed tau=4", goes with that word.
    """
    if step in words:
        return [step]
    begun = [word for word in words if word.startswith(step)]
    return [word for word in begun if not word.startswith(tuple(f"{other} " for other in begun))]


def _names(entry: Any) -> list[str]:
    """Return the words by which an entry of a list (a variant, a group) can be named."""
    if isinstance(entry, str):
        return [entry]
    fields = [entry.get(key) for key in ("name", "algorithm", "device")] if isinstance(entry, dict) else []
    return [field for field in fields if isinstance(field, str)]
