"""Which files a user's module rests on: its package, or its folder, and what they import wherever it lies.

A user's file is one that is neither sflsim's nor Python's own, nor of an installed package.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from sflsim.foreign import is_installed
from sflsim.learning.stamps import stamp_of
from sflsim.readers.files import read_bytes

SOURCE_BYTES = 2**24
COVERED = ("sflsim", "torch", "pydantic")
"""Packages whose code is in every key already, or says nothing about a value."""
Import = tuple[int, str, str]  # how many folders up (0: absolute), the module, a name in it


def files_of(module: str, start: str | None = None) -> dict[str, str]:
    """Return the files that a module rests on, with their modules; `start` is its file before its import."""
    found: dict[str, str] = {}
    left = list(_beside(module, start))
    while left:
        file, dotted = left.pop(0)
        if file in found:
            continue
        found[file] = dotted
        for up, word, name in imports_in(file, stamp_of(file)):
            left += _relative(file, dotted, up, word, name) if up else _absolute(file, word, name)
    return found


def _beside(module: str, start: str | None) -> Iterator[tuple[str, str]]:
    """Return the files of a module's package, or of its folder, with their modules."""
    top = module.partition(".")[0]
    if top in COVERED:
        return
    own = start or file_of(top) or file_of(module)
    if own is None or not own.endswith(".py"):
        return
    folder, is_package = Path(own).parent, Path(own).name == "__init__.py"
    yield own, top
    for file in sorted(folder.rglob("*.py") if is_package else folder.glob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        yield str(file), ".".join([top, *parts] if is_package else parts)


def file_of(module: str) -> str | None:
    """Return the file of a module, imported or not."""
    known = sys.modules.get(module)
    if known is not None:
        return getattr(known, "__file__", None)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None else None


@lru_cache(maxsize=1 << 12)
def imports_in(file: str, stamp: str) -> tuple[Import, ...]:
    """Return what a user's file imports, anywhere in it; installed ones are known by their versions."""
    if is_installed(file):
        return ()
    try:
        nodes = list(ast.walk(ast.parse(read_bytes(file, SOURCE_BYTES))))
    except (OSError, SyntaxError, ValueError):
        return ()
    found: dict[Import, None] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {(0, alias.name, ""): None for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.level, node.module or "", alias.name): None for alias in node.names}
    return tuple(found)


def _relative(file: str, dotted: str, up: int, word: str, name: str) -> list[tuple[str, str]]:
    """Return the files of a relative import."""
    package = dotted.split(".") if Path(file).name == "__init__.py" else dotted.split(".")[:-1]
    folder = Path(file).parents[up - 1]
    return _along(
        folder, package[: len(package) - up + 1], [part for part in (*word.split("."), name) if part]
    )


def _absolute(file: str, word: str, name: str) -> list[tuple[str, str]]:
    """Return the files of an absolute import, if they are a user's."""
    root = folder_of(word, file)
    return _along(root, [], [part for part in (*word.split("."), name) if part]) if root else []


def folder_of(word: str, file: str) -> Path | None:
    """Return the folder from which `word` is imported by `file`, if it is no installed module."""
    top = word.partition(".")[0]
    if not top or top in COVERED or top in sys.stdlib_module_names:
        return None
    folder = Path(file).parent
    if (folder / f"{top}.py").is_file() or (folder / top).is_dir():
        return folder
    place = file_of(top)
    if place is None or not place.endswith(".py") or is_installed(place):
        return None
    return Path(place).parents[1] if Path(place).name == "__init__.py" else Path(place).parent


def _along(root: Path, package: list[str], parts: list[str]) -> list[tuple[str, str]]:
    """Return the files that importing `parts` below a folder runs."""
    found = []
    for count in range(1, len(parts) + 1):
        path, dotted = root.joinpath(*parts[:count]), ".".join([*package, *parts[:count]])
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                found.append((str(file), dotted))
    return found
