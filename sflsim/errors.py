"""The small family of errors that a user of sflsim can meet.

A user's mistake is always a `ScenarioError`: it says where, what was found, what is allowed and what to
do, for every mistake in the file at once. Anything else that escapes is a bug of ours. What costs time
and no result is a `SflsimWarning`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TextIO

from sflsim.formatting import printable


class SflsimError(Exception):
    """Base of all errors that sflsim raises on purpose."""


class SflsimWarning(UserWarning):
    """Base of all warnings that sflsim gives."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands, what was found there, what is allowed, and a remedy."""

    path: str
    found: str
    allowed: str
    remedy: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        text = f"{place}  {self.path}".strip() or "scenario"
        text += f"\n  found {self.found}; allowed: {self.allowed}"
        return text + (f"\n  {self.remedy}" if self.remedy else "")


class ScenarioError(SflsimError):
    """A scenario, an override or a data file cannot be used; carries every `Problem` found."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(self.problems)  # simpy and pickle make an exception anew from its arguments

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def refused(
    path: str, found: object, allowed: str, remedy: str = "", file: str = "", line: int | None = None
) -> ScenarioError:
    """Return the error of one `Problem`."""
    return ScenarioError(Problem(path, str(found), allowed, remedy, file, line))


class RunError(SflsimError):
    """A run folder cannot be read or written."""


class RunFailed(RunError):
    """A run failed, and the input is not to blame: the disk is full, a worker has died."""


class NotLearned(SflsimError):
    """A result of learning is in no store, where none is to be computed; `key` names it."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(key)


class Diverged(SflsimError):
    """Training produced a value that is not finite, or a loss without bound, first in round `round`."""

    def __init__(self, round: int) -> None:
        self.round = round
        super().__init__(round)

    def __str__(self) -> str:
        return f"training diverged in round {self.round}"


_python_shows = warnings.showwarning


def tell_warnings_plainly() -> None:
    """Let this process show sflsim's warnings in one line each, without the place in the source."""
    warnings.showwarning = _show


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, SflsimWarning):
        with suppress(OSError):  # a warning that cannot be told ends nothing
            print(f"warning: {printable(str(message))}", file=file or sys.stderr)
    else:
        _python_shows(message, category, filename, lineno, file, line)


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the closest allowed word, or an empty string."""
    close = get_close_matches(str(found), list(allowed), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else ""
