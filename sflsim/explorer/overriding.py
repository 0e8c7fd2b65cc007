"""Values of settings as overrides, and as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sflsim.formatting import shorten
from sflsim.scenario.overrides import Override, read_path
from sflsim.units import NoQuantity, split


def override(path: str, value: Any) -> Override:
    """Return the override that sets a path to a value."""
    return Override(f"--set {path}={shorten(inline(value))}", read_path(path)[0], value)


def inline(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {inline(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def as_options(overrides: Sequence[Override]) -> list[str]:
    """Return the overrides as arguments of a command line: PATH=VALUE."""
    return [
        "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in override.steps).removeprefix(".")
        + f"={inline(override.value)}"
        for override in overrides
    ]


def is_amount(value: Any) -> bool:
    """Tell whether a value is a number with a unit, above zero or zero."""
    try:
        return isinstance(value, str) and bool(re.match(r"[0-9.]", value)) and bool(split(value)[1])
    except NoQuantity:
        return False
