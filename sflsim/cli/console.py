"""What all commands print to, and how sflsim's errors end them. Imports the errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console, ConsoleDimensions

from sflsim.errors import ScenarioError, SflsimError, tell_warnings_plainly

PIPED_WIDTH = 200
"""Characters of a line where nobody looks at a terminal; tables are as wide as what they hold."""


class _Output(Console):
    """Standard output; in a pipe without COLUMNS a table keeps its columns whole."""

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        """Return width and height in characters."""
        size = super().size
        told = self.is_terminal or "COLUMNS" in os.environ
        return size if told else size._replace(width=PIPED_WIDTH)


out = _Output(soft_wrap=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


@contextmanager
def errors() -> Iterator[None]:
    """Turn sflsim's errors into a message and an exit code."""
    tell_warnings_plainly()
    try:
        yield
    except ScenarioError as error:
        count = len(error.problems)
        err.print(str(error))
        err.print(f"{count} mistake{'s' if count > 1 else ''}; nothing was run.")
        raise typer.Exit(2) from None
    except SflsimError as error:
        err.print(f"error: {error}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        err.print("interrupted")
        raise typer.Exit(1) from None
