"""Code that is not sflsim's, a library's or a user's: what it raises becomes a mistake of the scenario.

The message has the error's own words and, where the code is a user's, the place in the user's file.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

from sflsim.errors import ScenarioError, SflsimError, refused
from sflsim.formatting import shorten

PACKAGE = Path(__file__).parent
WORDS = 300
"""Characters of a foreign error's own words that are shown."""


@contextmanager
def foreign(path: str, what: str, allowed: str, remedy: str = "", own: object = None) -> Iterator[None]:
    """Turn whatever the block raises into a mistake at `path`; errors of sflsim's stay as they are.

    `own` is the component whose code is called: its package counts as the user's, installed or not.

    Raises:
        ScenarioError: the block failed.
    """
    try:
        yield
    except (SflsimError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a library in Rust panics with no Exception; a user's file may exit
        raise failed(path, what, error, allowed, remedy, own) from error


def failed(
    path: str, what: str, error: BaseException, allowed: str, remedy: str = "", own: object = None
) -> ScenarioError:
    """Return the mistake at `path` that foreign code failed with an error."""
    return refused(path, f"{what}, which fails: {words(error, own)}", allowed, remedy)


def words(error: BaseException, own: object = None) -> str:
    """Return an error's kind, its words in one line, and where in a user's file it was raised."""
    text = shorten(" ".join(str(error).split()), WORDS)
    place = next((f"{Path(code.co_filename).name}:{line}" for code, line in users_code(error, own)), "")
    kind = type(error).__name__
    return (f"{kind}: {text}" if text else kind) + (f" ({place})" if place else "")


def users_code(error: BaseException, own: object = None) -> Iterator[tuple[CodeType, int]]:
    """Yield the user's code that an error passed through, with lines, the innermost first."""
    chain: list[BaseException] = []
    after: BaseException | None = error
    while after is not None and after not in chain:
        chain.append(after)
        after = after.__cause__ or after.__context__
    top = (own if isinstance(own, type) else type(own)).__module__.partition(".")[0]
    for one in reversed(chain):
        for frame, line in reversed(list(traceback.walk_tb(one.__traceback__))):
            is_own = top not in ("builtins", "sflsim") and module_of(frame.f_globals) == top
            if is_own or is_users_file(frame.f_code.co_filename):
                yield frame.f_code, line


def module_of(names: dict[str, object]) -> str:
    """Return the first word of the module whose global names these are."""
    return str(names.get("__name__", "")).partition(".")[0]


def is_users_file(file: str) -> bool:
    """Tell whether a file is a user's: neither sflsim's, nor Python's own, nor of an installed package."""
    return not (file.startswith("<") or Path(file).is_relative_to(PACKAGE) or is_installed(file))


def is_installed(file: str) -> bool:
    """Tell whether a file is of an installed package or of Python itself."""
    path = Path(file)
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.is_relative_to(
        sysconfig.get_path("stdlib")
    )
