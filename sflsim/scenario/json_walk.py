"""What a JSON Schema says of a place in a scenario: its keys, its values.

Where a union has several choices, those count that agree with the tag ("kind") that the user gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

TAGS = ("algorithm", "kind")
DEEPEST = 8
"""Steps from the root to any key of a scenario, at most."""
UNIONS = ("anyOf", "oneOf", "allOf")
WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def keys_at(root: Schema, steps: Sequence[str | int], data: Any) -> list[str]:
    """Return the keys that the mapping at `steps` of `data` may have."""
    schemas, mapping = _at(root, steps, data)
    choices = (choice for schema in schemas for choice in _choices(root, schema, mapping))
    return list(dict.fromkeys(key for choice in choices for key in choice.get("properties", {})))


def homes(
    root: Schema, key: str, steps: Sequence[str | int] = (), data: Any = None
) -> dict[tuple[str, ...], list[str]]:
    """Return where a key may stand: the steps of the mapping ("[]": an entry of a list) and its tags.

    Choices count that agree with `data`, of which the list entries on the way of `steps` are looked at.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    left: list[tuple[Schema, tuple[str, ...], Any]] = [(root, (), data)]
    while left:
        schema, path, here = left.pop(0)
        for choice in _choices(root, schema, here) if len(path) < DEEPEST else ():
            properties = choice.get("properties", {})
            if key in properties:
                tags = (properties[tag]["const"] for tag in TAGS if "const" in properties.get(tag, {}))
                found.setdefault(path, []).extend(tags)
            known = here if isinstance(here, Mapping) else {}
            left += [(below, (*path, name), known.get(name)) for name, below in properties.items()]
            if isinstance(choice.get("items"), Mapping):
                place = steps[len(path)] if len(steps) > len(path) else None
                at_hand = isinstance(here, list) and isinstance(place, int) and place < len(here)
                left.append((choice["items"], (*path, "[]"), here[place] if at_hand else None))
    return found


def describe(root: Schema, steps: Sequence[str | int], data: Any) -> str:
    """Return in words which values may stand at `steps`; empty where the schema does not say."""
    schemas, value = _at(root, steps, data)
    words = (word for schema in schemas for word in _words(root, schema, value))
    return " or ".join(dict.fromkeys(words))


def note(root: Schema, steps: Sequence[str | int], data: Any) -> str:
    """Return the description of the field at `steps`; empty where it has none."""
    schemas, _ = _at(root, steps, data)
    return next((str(schema["description"]) for schema in schemas if "description" in schema), "")


def _words(root: Schema, schema: Schema, data: Any) -> Iterator[str]:
    if "examples" in schema:
        yield " or ".join(f"'{example}'" for example in schema["examples"][:2])
        return
    choices = list(_choices(root, schema, data))
    kinds = [str(_constants(choice)["kind"]) for choice in choices if "kind" in _constants(choice)]
    for choice in choices:
        if len(kinds) > 1 and "kind" in _constants(choice):
            yield f"a mapping with a kind: {', '.join(dict.fromkeys(kinds))}"
            continue
        keys = ", ".join(choice.get("properties", ()))
        if "enum" in choice or "const" in choice:
            yield ", ".join(map(str, choice.get("enum", [choice.get("const")])))
        elif "examples" in choice:
            yield f"e.g. '{choice['examples'][0]}'"
        elif choice.get("type") in WORDS:
            yield WORDS[choice["type"]] + (f" with the keys {keys}" if keys else "")


def _at(root: Schema, steps: Sequence[str | int], data: Any) -> tuple[list[Schema], Any]:
    """Return every schema that may hold at `steps`, and what stands there."""
    here: list[Schema] = [root]
    for step in steps:
        here = [
            below
            for schema in here
            for choice in _choices(root, schema, data)
            for below in _below(choice, step)
        ]
        held = isinstance(data, dict) or (
            isinstance(data, list) and isinstance(step, int) and step < len(data)
        )
        data = (data.get(step) if isinstance(data, dict) else data[step]) if held else None
    return here, data


def _choices(root: Schema, schema: Schema, data: Any) -> Iterator[Schema]:
    """Yield the schemas that `schema` stands for: references followed, unions taken apart."""
    if "$ref" in schema:
        target: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name.replace("~1", "/").replace("~0", "~")]
        yield from _choices(root, target, data)
    elif any(union in schema for union in UNIONS):
        choices = [choice for union in UNIONS for choice in schema.get(union, ())]
        found = [below for choice in choices for below in _choices(root, choice, data)]
        plain = [one for one in found if one.get("properties") and not _constants(one)]
        if plain and isinstance(data, Mapping):  # it needs no tag, and what it gave fits no choice with one
            found = [one for one in found if not _constants(one) or _constants(one).keys() & data.keys()]
        yield from found
    elif not _contradicts(schema, data):
        yield schema


def _contradicts(schema: Schema, data: Any) -> bool:
    """Return whether `data` has another word where the schema has a constant, or a tag that it lacks."""
    if not isinstance(data, Mapping):
        return False
    untagged = "kind" in data and bool(schema.get("properties")) and "kind" not in schema["properties"]
    return untagged or any(data.get(key, word) != word for key, word in _constants(schema).items())


def _constants(schema: Schema) -> dict[str, Any]:
    return {key: field["const"] for key, field in schema.get("properties", {}).items() if "const" in field}


def _below(schema: Schema, step: str | int) -> Iterator[Schema]:
    if isinstance(step, int):
        if isinstance(schema.get("items"), Mapping):
            yield schema["items"]
    elif step in schema.get("properties", {}):
        yield schema["properties"][step]
    elif isinstance(schema.get("additionalProperties"), Mapping):
        yield schema["additionalProperties"]
