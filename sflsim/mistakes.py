"""How the fleet's Configs report a user's mistake: at the precise field, in the units' convention.

A mistake is a pydantic error of type "quantity" whose context holds reason, allowed, found and
remedy; the scenario's reader turns it into a `Problem`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]


def mistake(reason: str, found: Any, allowed: str, remedy: str = "") -> PydanticCustomError:
    """Return the error to raise in a validator of the very field that is wrong."""
    shown = found if isinstance(found, str) else repr(found)
    context = {"reason": reason, "found": shown, "allowed": allowed, "remedy": remedy}
    return PydanticCustomError("quantity", "{reason}", context)


def mistakes(found: Iterable[tuple[Place, PydanticCustomError]]) -> ValidationError:
    """Return one error that reports each mistake at its place below the model being validated."""
    details = [InitErrorDetails(type=error, loc=place, input=None) for place, error in found]
    return ValidationError.from_exception_data("fleet", details)
