"""What all commands print to, and how sflsim's errors end them."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import typer
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment

from sflsim.errors import RunFailed, ScenarioError, SflsimError, tell_warnings_plainly
from sflsim.formatting import counted, printable

PIPED_WIDTH = 200
"""Characters of a line where nobody looks at a terminal; tables are as wide as what they hold."""
NOT_SHOWN = 3
"""Exit code where all is done and saved, but not all could be printed or drawn."""

PLAINLY = "sflsim-plainly"
WRITTEN = {"±": "+-", "✗": "x", "…": "..."}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(
        WRITTEN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in lacking
    ), error.end


codecs.register_error(PLAINLY, _plainly)


class _Plain(Console):
    """A console that prints all text as it is: no markup, no codes of emoji, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the parts of what is printed; control characters are those of rich alone."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(printable(part.text), part.style)


class _Output(_Plain):
    """Standard output; in a pipe without COLUMNS a table keeps its columns whole."""

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        """Return width and height in characters."""
        size = super().size
        told = self.is_terminal or "COLUMNS" in os.environ
        return size if told else size._replace(width=PIPED_WIDTH)


out = _Output(soft_wrap=False)
err = _Plain(stderr=True, soft_wrap=True)


class Tolerant:
    """A stream of text that ends no command: what it cannot write is dropped, and `failure` says why.

    A reader that closes its end (`| head`) is no failure. A character that the encoding lacks is written in
    others, or as an escape.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure = "it is closed" if stream is None else ""
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors=PLAINLY)  # type: ignore[union-attr]  # it may have no such

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            if self._stream is not None and not self.failure:
                self._stream.write(text)
        except (OSError, ValueError) as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        """Write what is still held back."""
        try:
            if self._stream is not None and not self.failure:
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    def isatty(self) -> bool:
        """Tell whether somebody looks at it."""
        return self._stream is not None and not self.failure and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _failed(self, error: Exception) -> None:
        """Keep the first failure; what the stream still holds goes nowhere when Python ends."""
        if not isinstance(error, BrokenPipeError):
            self.failure = getattr(error, "strerror", None) or str(error)
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # type: ignore[union-attr]  # None has not failed now
            os.close(nowhere)


def run_tolerantly(command: Any) -> int:
    """Call a command line, its streams tolerant, and return the exit code."""
    _open_closed()
    printed, told = Tolerant(sys.stdout), Tolerant(sys.stderr)
    sys.stdout, sys.stderr = printed, told
    code: Any = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
    printed.flush()
    if printed.failure:
        err.print(f"error: standard output cannot be written ({printed.failure})")
        code = code or NOT_SHOWN
    told.flush()
    return code if isinstance(code, int) else int(code is not None)


def _open_closed() -> None:
    """Let standard streams that are closed lead nowhere: a file that is opened would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


@contextmanager
def errors() -> Iterator[None]:
    """Turn sflsim's errors into a message and an exit code."""
    tell_warnings_plainly()
    try:
        yield
    except ScenarioError as error:
        err.print(str(error))
        err.print(f"{counted(len(error.problems), 'mistake')}; nothing was run.")
        raise typer.Exit(2) from None
    except SflsimError as error:
        err.print(f"error: {error}")
        raise typer.Exit(1 if isinstance(error, RunFailed) else 2) from None
    except KeyboardInterrupt:
        err.print("interrupted")
        raise typer.Exit(1) from None
