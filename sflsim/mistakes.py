"""How a validator of a Config reports a user's mistake: what was found, what is allowed, and a remedy.

A mistake is a pydantic error whose context holds these facts; the scenario's reader makes a `Problem` of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from sflsim.errors import Problem

Place = tuple[str | int, ...]


def mistake(reason: str, found: Any, allowed: str, remedy: str = "") -> PydanticCustomError:
    """Return the error to raise in a validator of the very field that is wrong.

    `reason` says what is wrong with what was found ("is no number"); it may be empty.
    """
    shown = found if isinstance(found, str) else repr(found)
    context = {"reason": reason, "allowed": allowed, "found": shown, "remedy": remedy}
    return PydanticCustomError(
        "mistake", "{reason}" if reason else "found {found}; allowed: {allowed}", context
    )


def wrong_value(found: str, allowed: str, remedy: str = "") -> PydanticCustomError:
    """Return a mistake that what was found says by itself."""
    return mistake("", found, allowed, remedy)


def mistake_at(key: str, reason: str, found: Any, allowed: str, remedy: str = "") -> ValidationError:
    """Return the error that reports one mistake at a key of the model being validated."""
    return mistakes([((key,), mistake(reason, found, allowed, remedy))])


def mistakes(found: Iterable[tuple[Place, PydanticCustomError]]) -> ValidationError:
    """Return one error that reports each mistake at its place below the model being validated."""
    details = [InitErrorDetails(type=error, loc=place, input=None) for place, error in found]
    return ValidationError.from_exception_data("mistakes", details)


def raise_problems(found: Iterable[tuple[Place, Problem]]) -> None:
    """Raise one error that reports each problem at its place, if there is any."""
    if errors := [(place, wrong_value(one.found, one.allowed, one.remedy)) for place, one in found]:
        raise mistakes(errors)
