"""Whether code that a scenario names may run: given by the call that reads it, carried by the scenario.

Without trust neither the components of installed packages nor a scenario's own Python are imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

UNTRUSTED = (
    "its code is run only with --trust (in Python: load_scenario(..., trust=True), or scenario.with_trust())"
)

_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@dataclass(frozen=True)
class Trust:
    """Whether what holds this may run code that it names; `module` is the code, where it is one alone.

    It goes along with copies, and stays behind where its holder is pickled. All are equal: it is no part of
    what a scenario says.
    """

    given: bool = field(default=False, compare=False)
    module: str = field(default="", compare=False)

    def __reduce__(self) -> tuple[type[Trust], tuple[()]]:
        return Trust, ()

    def __copy__(self) -> Trust:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Trust:
        return self


@contextmanager
def trusting(given: bool = True) -> Iterator[None]:
    """Let the scenario that is read meanwhile name code of installed packages, and of its own; or not."""
    before = _trusted.set(given)
    try:
        yield
    finally:
        _trusted.reset(before)


def trusted() -> bool:
    """Tell whether the scenario that is being read may name code that is run."""
    return _trusted.get()
