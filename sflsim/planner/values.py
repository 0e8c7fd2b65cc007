"""The values of a decision: the order of amounts, and the few words that tell one value from the others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sflsim.formatting import shorten
from sflsim.scenario.plan_values import number_of
from sflsim.units import BASE_UNITS, NoQuantity, measure


class LabelledValue(dict[str, Any]):
    """A mapping among others that can be chosen; `text` tells it from them in few words."""

    text = ""


def size_of(value: Any) -> float | None:
    """Return a number by which to order 3, 0.5 or "10 Mbit/s" with others of its unit; None if it is none."""
    quantity = number_of(value)
    if quantity is None:
        return None
    try:
        return measure(value, BASE_UNITS)[0] if quantity[1] else quantity[0]
    except NoQuantity:  # "10 rounds", "70%"
        return quantity[0]


def text_of(value: Any) -> str:
    """Return a value as one would write it in YAML, in one short line."""
    if value is None:
        return "-"
    if isinstance(value, LabelledValue):
        return value.text
    if isinstance(value, (dict, list)):
        return shorten(json.dumps(value).replace('"', ""))
    return str(value).lower() if isinstance(value, bool) else str(value)


def labelled(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values of a decision; mappings with the first fields that tell each from the others."""
    if not all(isinstance(value, dict) for value in values):
        return tuple(values)
    flat = [dict(leaves(value)) for value in values]
    paths = list(dict.fromkeys(path for leaves in flat for path in leaves))
    telling = [path for path in paths if len({str(leaves.get(path)) for leaves in flat}) > 1] or paths[:2]
    for count in range(min(2, len(telling)), len(telling) + 1):
        texts = [
            ", ".join(f"{path[-1]} {text_of(leaves.get(path))}" for path in telling[:count])
            for leaves in flat
        ]
        if len(set(texts)) == len(texts):
            break
    else:
        return tuple(values)
    mappings = tuple(LabelledValue(value) for value in values)
    for mapping, text in zip(mappings, texts, strict=True):
        mapping.text = text
    return mappings


def leaves(value: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of everything in a mapping that is none itself, the shallow first."""
    inner = [(key, below) for key, below in value.items() if isinstance(below, dict)]
    yield from (((*above, key), leaf) for key, leaf in value.items() if not isinstance(leaf, dict))
    for key, below in inner:
        yield from leaves(below, (*above, key))
