"""Rows as objects of JSON: one in each line, or a list of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sflsim.readers.table import Row, TableMistake, TextTable, check_names, shown


def read_json(text: str, file: str) -> TextTable:
    """Return the objects of JSON lines, or of one list of objects; a key that is missing is None."""
    numbered = list(_objects(text, file))
    if not numbered:
        raise TableMistake("is empty", f"nothing in {file}", "a table with at least one row")
    names = list(dict.fromkeys(name for _, one in numbered for name in one))
    check_names([name.strip() for name in names], numbered[0][0], file, "")
    rows = [Row(line, [one.get(name) for name in names]) for line, one in numbered]
    return TextTable(file, names, rows)


def read_object(text: str, file: str) -> dict[str, Any]:
    """Return the one object that a text of JSON is."""
    if not text.strip():
        raise TableMistake("is empty", f"nothing in {file}", "one object, {...}")
    value = _loaded(text, 1, file, "one object, {...}")
    if isinstance(value, dict):
        return value
    raise TableMistake("is no object", f"{shown(text.lstrip())} in {file}", "one object, {...}")


def _objects(text: str, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object with its line; in a list, with its number."""
    if text.lstrip().startswith("["):
        listed = _loaded(text, 1, file)
        yield from ((number, _object(one, number, file)) for number, one in enumerate(listed, start=1))
        return
    lines = text.rstrip().split("\n")  # not splitlines: a text may hold U+2028
    for line, one in enumerate(lines if text.strip() else [], start=1):
        yield line, _object(_loaded(one, line, file), line, file)


def _loaded(
    text: str, line: int, file: str, allowed: str = "an object in each line, or one list of objects"
) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"the key {twice[0]!r} twice")
        return dict(pairs)

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        at = line + getattr(error, "lineno", 1) - 1
        found = f"{shown(text)} in line {at} of {file} ({error})"
        raise TableMistake("cannot be read", found, allowed) from error


def _object(value: Any, line: int, file: str) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return value
    found = f"{shown(json.dumps(value))} in line {line} of {file}"
    raise TableMistake("has a row that is no object", found, 'rows such as {"text": "good", "label": 1}')
