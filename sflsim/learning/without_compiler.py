"""Keeps torch's compiler from being loaded where nothing is compiled.

Torch marks some functions as not to be compiled, among them Python kernels of the meta device and methods of
optimizers. It loads its compiler for the mark when one of them is first called: some seconds.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"


class StandIn(ModuleType):
    """Answers what eager code asks of the compiler; any other request loads the compiler."""

    def __init__(self) -> None:
        super().__init__(COMPILER)
        self.unmarked: list[Callable[..., Any]] = []

    def disable(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Callable[..., Any]:
        """Return `function` without a mark."""
        self.unmarked.append(function)
        return function

    def graph_break(self) -> None:
        """Do nothing: nothing is compiled."""

    def __getattr__(self, name: str) -> Any:
        self.make_room()
        return getattr(importlib.import_module(COMPILER), name)

    def make_room(self) -> None:
        """Let the next import load the compiler, and the next call of each kernel ask for its mark."""
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
        for function in self.unmarked:
            vars(function).pop("__dynamo_disable", None)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Load no compiler in the block, unless its code uses one; afterwards torch is as it was."""
    if COMPILER in sys.modules:
        yield
        return
    stand_in = StandIn()
    sys.modules[COMPILER] = stand_in
    try:
        yield
    finally:
        stand_in.make_room()
