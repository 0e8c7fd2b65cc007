"""What a live page shows, part by part; every page asks for what is new since it last asked."""

from __future__ import annotations

import threading
from typing import Any


class Board:
    """The parts of a page by name (plain data for JSON); each change has a number. Safe between threads."""

    def __init__(self, **parts: Any) -> None:
        self._changed = threading.Condition()
        self._number = 1
        self._parts = {name: (1, part) for name, part in parts.items()}
        self._ended = False

    def put(self, **parts: Any) -> None:
        """Replace parts; one that is as it was is no change."""
        with self._changed:
            new = {name: part for name, part in parts.items() if self._parts.get(name, (0, None))[1] != part}
            if new:
                self._number += 1
                self._parts |= {name: (self._number, part) for name, part in new.items()}
                self._changed.notify_all()

    def since(self, number: int, patience_s: float = 0.0) -> dict[str, Any]:
        """Return the parts that changed after change `number`, as soon as there are any, or none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._number > number, patience_s)
            return {
                "number": self._number,
                "parts": {name: part for name, (at, part) in self._parts.items() if at > number},
                "ended": self._ended,
            }

    def end(self) -> None:
        """Tell all pages that nothing more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
