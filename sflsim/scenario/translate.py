"""Pydantic's errors as Problems in the user's own terms: path, found, allowed, remedy.

A path names what stands in the YAML file; the tags that pydantic adds for the choices of a union
are taken out, and the complaints of all choices about one value become one Problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import takewhile
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sflsim.errors import Problem, did_you_mean
from sflsim.formatting import shorten
from sflsim.scenario.json_walk import describe, homes, keys_at, note
from sflsim.scenario.yaml_lines import join

Steps = tuple[str | int, ...]

RENAMED = {"straggler": {"spells": "bursts"}, "availability": {"path": "file"}}
"""By the key that they are under, keys of earlier versions with what they are called now."""
SURELY = 0.8
"""Likeness of two words from which on the one is a misspelling of the other, wherever else it is a key."""
ALLOWED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "mapping": "a mapping (key: value)",
    "none": "nothing",
}
LIMITS = {
    "greater_than_equal": "a number from {ge} up",
    "greater_than": "a number above {gt}",
    "less_than_equal": "a number up to {le}",
    "less_than": "a number below {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "a list with at least {min_length} of them",
    "too_long": "a list with at most {max_length} of them",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}


def problems_of(error: ValidationError, data: Any, schema: Callable[[], Mapping[str, Any]]) -> list[Problem]:
    """Return what pydantic found wrong with `data`, each place once.

    `schema` gives the JSON Schema of what was to be read; it is asked for the keys that a
    mapping takes.
    """
    schema = cache(schema)
    found: dict[Steps, list[Problem]] = {}
    choices: set[Steps] = set()  # places about which the choices of a union complained
    for details in error.errors(include_url=False):
        if details["type"] == "default_factory_not_called":  # what the default follows is wrong itself
            continue
        steps, tagged = written_steps(details, data, schema)
        if tagged:
            choices.add(steps)
        found.setdefault(steps, []).append(_problem(details, steps, data, schema))
    deeper = {steps[:depth] for steps in found for depth in range(len(steps))}
    kept = {steps: problems for steps, problems in found.items() if steps not in choices & deeper}
    return [one for steps, problems in kept.items() for one in _merged(problems, steps in choices)]


def written_steps(
    details: ErrorDetails, data: Any, schema: Callable[[], Mapping[str, Any]]
) -> tuple[Steps, bool]:
    """Return the steps of an error's place that the user wrote, and whether its last was a union's tag."""
    steps: list[str | int] = []
    here = data
    for step in details["loc"]:
        entry = isinstance(here, list) and isinstance(step, int) and step < len(here)
        if entry or (isinstance(here, dict) and step in here):
            steps.append(step)
            here = here[step]
    *_, last = ("", *details["loc"])
    if len(steps) == len(details["loc"]) or (steps and steps[-1] == last):
        return tuple(steps), False
    if details["type"] == "missing" or last in keys_at(schema(), steps, data):  # a key that is absent
        return (*steps, last), False
    return tuple(steps), True


def path_of(steps: Sequence[str | int]) -> str:
    """Return ("fleet", "groups", 1, "link") as "fleet.groups[1].link"."""
    path = ""
    for step in steps:
        path = join(path, step)
    return path


def _problem(
    details: ErrorDetails, steps: Steps, data: Any, schema: Callable[[], Mapping[str, Any]]
) -> Problem:
    kind, context, path = details["type"], details.get("ctx", {}), path_of(steps)
    if kind == "extra_forbidden":
        keys = keys_at(schema(), steps[:-1], data)
        key = str(steps[-1]) if steps else ""
        new = RENAMED.get(str(steps[-2]) if len(steps) > 1 else "", {}).get(key)
        remedy = f"'{key}' is now '{new}'" if new in keys else _home(key, keys, steps[:-1], data, schema())
        remedy = remedy or did_you_mean(key, keys)
        return Problem(path, f"the unknown key '{key}'", ", ".join(keys) or "no such key", remedy)
    if kind == "missing":
        remedy = f"add '{steps[-1] if steps else ''}:'"
        return Problem(
            path, "nothing", describe(schema(), steps, data) or "a value (it has no default)", remedy
        )
    if "allowed" in context:
        return Problem(path, _reasoned(context), str(context["allowed"]), _remedy(context))
    value, allowed = details["input"], _allowed(kind, context, details["msg"])
    if kind == "string_pattern_mismatch":
        allowed = note(schema(), steps, data) or allowed
    words = re.findall(r"'([^']*)'", allowed) if kind in ("literal_error", "enum") else []
    return Problem(path, shown(value), allowed, did_you_mean(value, words) if isinstance(value, str) else "")


def _home(key: str, keys: Sequence[str], steps: Steps, data: Any, schema: Mapping[str, Any]) -> str:
    """Return where a key belongs that stands at a wrong place; the nearest place, if there are several."""
    if get_close_matches(key, keys, n=1, cutoff=SURELY):
        return ""
    places = homes(schema, key, steps, data) or homes(schema, key)
    if not places:
        return ""
    here = ["[]" if isinstance(step, int) else step for step in steps]

    def distance(place: tuple[str, ...]) -> tuple[int, int]:
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(place, here, strict=False)))
        return len(here) - common, len(place) - common

    near = min(places, key=distance)
    if list(near) == here:
        return f"'{key}' is a key of {', '.join(dict.fromkeys(places[near]))}"
    return f"'{key}' belongs to {'.'.join(near).replace('.[]', '[]') or 'the top level'}"


def _reasoned(context: Mapping[str, Any]) -> str:
    found = "nothing" if context.get("found") in (None, "None") else shorten(str(context["found"]), 120)
    return f"{found}, which {context['reason']}" if context.get("reason") else found


def _remedy(context: Mapping[str, Any]) -> str:
    if context.get("reason") in ("is a bare number", "has no unit"):
        return "write the unit behind the number"
    return str(context.get("remedy", ""))


def _allowed(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind in LIMITS:
        return LIMITS[kind].format_map(context)
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", message))
    return ALLOWED.get(kind.split("_")[0], message)


def shown(value: Any) -> str:
    """Return a value as the user may have written it, in one short line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    word = "a mapping " if isinstance(value, dict) else "a list " if isinstance(value, list) else ""
    return word + shorten(repr(value))


def _merged(problems: list[Problem], by_choice: bool) -> list[Problem]:
    """Return one Problem for what all choices of a union say of one value, or all of them."""
    if not by_choice:
        return problems
    allowed = " or ".join(dict.fromkeys(problem.allowed for problem in problems))
    remedy = next((problem.remedy for problem in problems if problem.remedy), "")
    return [Problem(problems[0].path, problems[0].found, allowed, remedy)]
