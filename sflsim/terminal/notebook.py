"""Bars in a notebook: one output, which each step replaces; it needs IPython alone, and no widgets."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from typing import Any

EVERY_S = 0.1
"""Steps that come sooner after the last one are shown with the next."""


@dataclass
class Task:
    """One bar: how much of it is done, of one, and what stands beside it."""

    description: str
    facts: str
    completed: float = 0.0
    visible: bool = True


class NotebookBars:
    """Bars as those of `rich.progress`, as far as they are used here."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html: Any = HTML
        self._tasks: list[Task] = []
        self._output: Any = display(HTML(""), display_id=True)
        self._next_s = 0.0

    def add_task(self, description: str, *, total: float = 1.0, facts: str = "") -> int:
        """Add a bar of `total` 1 and return its number."""
        assert total == 1.0
        self._tasks.append(Task(description, facts))
        return len(self._tasks) - 1

    def update(self, task: int, *, completed: float, facts: str, visible: bool = True) -> None:
        """Move a bar, and change what stands beside it."""
        one = self._tasks[task]
        one.completed, one.facts, one.visible = completed, facts, visible
        if time.monotonic() >= self._next_s:
            self.draw()

    def draw(self) -> None:
        """Show all bars as they are now."""
        self._next_s = time.monotonic() + EVERY_S
        rows = "".join(_row(task) for task in self._tasks if task.visible)
        self._output.update(self._html(f"<table>{rows}</table>"))


def _row(task: Task) -> str:
    left, right = (
        f'<td style="text-align:left">{html.escape(text)}</td>' for text in (task.description, task.facts)
    )
    bar = f'<progress max="1" value="{task.completed:.4f}"></progress>'
    return f"<tr>{left}<td>{bar}</td>{right}</tr>"
