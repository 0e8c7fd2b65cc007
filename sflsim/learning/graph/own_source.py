"""Which statements of the package a value rests on, and a hash of them without comments and docstrings.

The search starts at the function that makes the value, and at what all values rest on: the task and the
executor. A file of `learning`, or `streams.py`, counts whole, with all that it imports: an object of it
may come by any way. Of any other file, where protocol and math stand together, only those statements
count whose names are used by what counts already, and those that bind no name. So the clock and an
algorithm's protocol are left out unless the math names them. Code of a third party may use anything:
for it, all of the learning plane and the algorithms count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sflsim.learning.user_code import changed_since_start, this_process

ROOT = Path(__file__).parents[3]
Name = tuple[str, str]  # a module and a name in it; "" for all of it
WHOLE = ("sflsim.learning", "sflsim.streams")
"""Packages and modules of which a file counts whole."""
EVERY_VALUE: tuple[Name, ...] = (("sflsim.learning.task", ""), ("sflsim.learning.graph.executor", ""))
"""What holds data, network and draws, and what hands the math its arguments."""


@dataclass(frozen=True)
class Statement:
    """A statement of a module, what it binds and what it uses."""

    text: str
    binds: frozenset[str]
    names: frozenset[str]
    imports: tuple[Name, ...]


@dataclass(frozen=True)
class Module:
    """A file of the package; `imported` says where the names come from that it imports at the top."""

    file: Path
    statements: tuple[Statement, ...]
    imported: dict[str, Name]

    def binds(self, name: str) -> bool:
        """Tell whether a statement or an import at the top gives `name` a meaning."""
        return name in self.imported or any(name in statement.binds for statement in self.statements)


@cache
def version_of_own(module: str, name: str = "") -> bytes:
    """Return a hash of what `name` in a module of the package rests on (the whole module without a name)."""
    return _digest_of(statements([(module, name)]))


@cache
def version_of_every_value() -> bytes:
    """Return a hash of what every value rests on."""
    return _digest_of(statements(EVERY_VALUE))


@cache
def version_of_all() -> bytes:
    """Return a hash of all that a third party's math may use."""
    folders = [ROOT / "sflsim" / room for room in ("learning", "algorithms")]
    names = ["sflsim.streams", *(_dotted(file) for folder in folders for file in folder.rglob("*.py"))]
    return _digest_of({name: [part.text for part in _module(name).statements] for name in names})


def _digest_of(parts: dict[str, list[str]]) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(parts):
        digest.update("\0".join([name, *parts[name]]).encode())
        if changed_since_start(_module(name).file):  # what runs is what was imported before
            digest.update(this_process().encode())
    return digest.digest()


def statements(start: Iterable[Name]) -> dict[str, list[str]]:
    """Return by module the statements that count, in their order in the file."""
    reached: dict[str, dict[int, str]] = {}
    left, seen = list(start), set[Name]()
    while left:
        place = left.pop()
        if place in seen:
            continue
        seen.add(place)
        name, module = place[0], _module(place[0])
        wanted = place[1] if module.binds(place[1]) else ""
        texts = reached.setdefault(name, {})
        left += [module.imported[wanted]] if wanted in module.imported else []
        left += module.imported.values() if not wanted else []
        for number, statement in enumerate(module.statements):
            if not wanted or not statement.binds or wanted in statement.binds:
                texts[number] = statement.text
                left += statement.imports
                left += [(name, used) for used in statement.names if module.binds(used)]
    return {name: [texts[number] for number in sorted(texts)] for name, texts in reached.items()}


@cache
def _module(name: str) -> Module:
    file = _file(name)
    assert file is not None
    tree = ast.parse(file.read_bytes())
    tree.body = [node for node in tree.body if not _is_for_types(node)]
    inside = _stripped(tree)
    if any(name == whole or name.startswith(f"{whole}.") for whole in WHOLE):
        imports = tuple(place for node in inside for _, place in _imports(node))
        return Module(file, (Statement(ast.dump(tree), frozenset(), frozenset(), imports),), {})
    at_top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return Module(
        file,
        tuple(_statement(node) for node in tree.body if node not in at_top),
        {name: place for node in at_top for name, place in _imports(node)},
    )


def _statement(node: ast.stmt) -> Statement:
    inside = list(ast.walk(node))
    imports = [each for part in inside for each in _imports(part)]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        binds = {node.name}
    else:
        binds = {part.id for part in inside if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        binds |= {part.name for part in inside if isinstance(part, (ast.FunctionDef, ast.ClassDef))}
        binds |= {name for name, _ in imports}
    names = frozenset(part.id for part in inside if isinstance(part, ast.Name))
    return Statement(ast.dump(node), frozenset(binds), names, tuple(place for _, place in imports))


def _stripped(tree: ast.Module) -> list[ast.AST]:
    """Drop every text that stands as a statement of its own; return all nodes."""
    nodes = list(ast.walk(tree))
    for node in nodes:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [part for part in body if not _is_text(part)]
    return nodes


def _imports(node: ast.AST) -> Iterator[tuple[str, Name]]:
    """Return the names that an import binds, with what they stand for, if that is the package's."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.startswith("sflsim."):
                yield alias.asname or "sflsim", (alias.name, "")
    elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sflsim":
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            place = (inner, "") if _file(inner) else (str(node.module), alias.name)
            yield alias.asname or alias.name, place


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and type(node.value.value) is str
    )


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def _file(module: str) -> Path | None:
    """Return the file of a module or package of ours."""
    place = ROOT.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
