"""Truth values that were read as numbers, and text or numbers that were read as truth values.

pydantic takes `true` for 1 and the text 'no' for false; a scenario means one thing by each of them, in every
field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from sflsim.errors import Problem
from sflsim.formatting import shorten
from sflsim.learning.signatures import meant

Steps = tuple[str | int, ...]


def coercions(data: Any, read: Any, steps: Steps = ()) -> Iterator[tuple[Steps, Problem]]:
    """Yield where `data` says a truth value and `read`, which was made of it, a number, or the reverse."""
    if isinstance(data, Mapping) and isinstance(read, BaseModel):
        for name, field in type(read).model_fields.items():
            key = field.alias if field.alias is not None and field.alias in data else name
            if key in data:
                yield from coercions(data[key], getattr(read, name), (*steps, key))
    elif isinstance(data, Mapping) and isinstance(read, Mapping):
        for key in data.keys() & read.keys():
            yield from coercions(data[key], read[key], (*steps, key))
    elif isinstance(data, list) and isinstance(read, (list, tuple)) and len(data) == len(read):
        for number, (one, other) in enumerate(zip(data, read, strict=True)):
            yield from coercions(one, other, (*steps, number))
    elif isinstance(data, bool) and isinstance(read, (int, float)) and not isinstance(read, bool):
        yield steps, Problem("", str(data).lower(), "a number")
    elif isinstance(read, bool) and isinstance(data, (int, float, str)) and not isinstance(data, bool):
        yield steps, Problem("", shorten(repr(data)), "true or false", meant(data))
