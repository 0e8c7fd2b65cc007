"""What a mapping hands on to somebody's function, typed by that function's signature.

YAML's `no` is text here as everywhere in a scenario, and text counts as true in Python: `nesterov: no` would
switch it on.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sflsim.errors import Problem, did_you_mean

WORDS = {"no": "false", "off": "false", "n": "false", "yes": "true", "on": "true", "y": "true"}
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def misfits(
    function: Callable[..., Any], given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> list[Problem]:
    """Return a problem for each argument that `function` takes otherwise, at the argument's name.

    Types are those of its annotations, else of its defaults (or of `defaults`); what has neither is as given.
    """
    parameters = inspect.signature(function).parameters
    known = defaults or {name: one.default for name, one in parameters.items()}
    hints = _hints(function)
    return list(_misfits(given, {name: hints.get(name, _hint_of(known.get(name))) for name in given}))


def unknown(function: Callable[..., Any], given: Mapping[str, Any]) -> list[Problem]:
    """Return a problem for each argument that `function` does not take, at the argument's name."""
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return []
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return [
        Problem(name, f"the unknown argument {name!r}", ", ".join(names) or "none", did_you_mean(name, names))
        for name in given
        if name not in names
    ]


def meant(value: Any) -> str:
    """Return what to write in place of a word that other readers of YAML take for a truth value."""
    word = WORDS.get(value.lower()) if isinstance(value, str) else None
    return f"{value!r} is text here, as in YAML 1.2; did you mean {word}?" if word else ""


def _misfits(given: Mapping[str, Any], hints: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in given.items():
        hint = hints[name]
        if hint is Any:
            continue
        try:
            adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        except Exception:  # noqa: S112 (an annotation that says nothing to pydantic says nothing here)
            continue
        try:
            adapter.validate_json(json.dumps(value), strict=True)  # as JSON, so that a list may be a tuple
        except ValidationError:
            found = str(value).lower() if isinstance(value, bool) else repr(value)
            yield Problem(name, found, NAMES.get(hint, str(hint).replace("typing.", "")), meant(value))


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function, or of a class's constructor; those that can be resolved."""
    called = function.__init__ if inspect.isclass(function) else function
    names = getattr(sys.modules.get(function.__module__), "__dict__", {})
    hints: dict[str, Any] = {}
    for name, one in inspect.signature(function).parameters.items():
        if one.annotation is not one.empty:
            holder = type("Holder", (), {"__annotations__": {name: one.annotation}})
            with suppress(Exception):
                hints |= get_type_hints(holder, {**names, **getattr(called, "__globals__", {})})
    return hints


def _hint_of(default: Any) -> Any:
    """Return the type that a default value stands for; of a whole number, any number."""
    if isinstance(default, (bool, str)):
        return type(default)
    return float if isinstance(default, (int, float)) else Any
