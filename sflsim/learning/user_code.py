"""A user's Python: which files a module rests on, a hash of them, and its import anew once they have changed.

A user's file is one that is neither sflsim's nor Python's own; files of installed packages count where the
module itself is one of them, else by their package's version. What runs in a process is what it
imported, so the hash of a file that changed after the process had started, and that this room has not
imported since, holds for this process alone.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import secrets
import sys
import sysconfig
import time
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from sflsim.learning.stamps import stamp_of

STARTED_NS = time.time_ns()
CLOCK_STEP_NS = 20_000_000
"""A file system may date a change so much too early."""
COVERED = ("sflsim", "torch", "pydantic")
"""Packages whose code is in every key already, or says nothing about a value."""
FILE_MODULE = "sflsim_scenario_"
Import = tuple[int, str, str]  # how many folders up (0: absolute), the module, a name in it

_imported_as: dict[str, str] = {}  # file -> hash of what `imported` read of it last
_versions: dict[str, bytes] = {}  # module -> version of what `imported` gave last


@cache
def version_of(module: str) -> bytes:
    """Return a hash of the Python files that a user's module rests on; empty where it has none.

    They are its package, or its folder, and what they import wherever it lies, also within functions.
    It is looked up once until `look_again` is called.
    """
    place = _place(module.partition(".")[0])
    return _version_once(module.partition(".")[0]) if place and _is_installed(place) else _version(module)


@cache
def _version_once(module: str) -> bytes:
    """Return the version of an installed package, whose many files are looked at once."""
    return _version(module)


def look_again() -> None:
    """Have `version_of` look at the files anew."""
    version_of.cache_clear()


@cache
def this_process() -> str:
    """Return a word that no other process has."""
    return secrets.token_hex(16)


def imported(place: str) -> ModuleType:
    """Import "file.py" or "package.module", anew where a file that it rests on has changed since."""
    name = FILE_MODULE + Path(place).stem if place.endswith(".py") else place
    known = sys.modules.get(name)
    if place.endswith(".py") and known is not None and known.__file__ != place:
        known = None
    if known is not None and name in _versions and _versions[name] == _version(name):
        return known
    if known is not None and name not in _versions and all(map(_as_imported, _files(name))):
        return known
    module = _imported_anew(name, place)
    for file in _files(name):
        _imported_as[file] = _content(file, stamp_of(file))
    _versions[name] = _version(name)
    look_again()
    return module


def _imported_anew(name: str, place: str) -> ModuleType:
    """Import a module, and with it all that it rests on if any of that is not what its file says."""
    start = place if place.endswith(".py") else None
    there = {dotted: file for file, dotted in _files(name, start).items() if dotted in sys.modules}
    if not all(
        getattr(sys.modules[dotted], "__file__", None) == file and _as_imported(file)
        for dotted, file in there.items()
    ):
        for dotted in there:
            del sys.modules[dotted]
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # its dates are in whole seconds
    try:
        if start is None:
            return importlib.import_module(name)
        spec = spec_from_file_location(name, start)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        sys.dont_write_bytecode = before


def _version(module: str) -> bytes:
    digest, files = hashlib.blake2b(digest_size=8), _files(module)
    if not files:
        return b""
    for file in sorted(files):
        stamp = stamp_of(file)
        digest.update(_content(file, stamp).encode())
        for top in sorted({word.partition(".")[0] for up, word, _ in _imports(file, stamp) if not up}):
            if not _rest_of(top, file):
                digest.update(f"{top} {_installed_version(top)}".encode())
        if not _as_imported(file):
            digest.update(this_process().encode())
    return digest.digest()


def changed_since_start(file: str | Path) -> bool:
    """Tell whether a file may have changed since this process began."""
    facts = Path(file).stat()
    return max(facts.st_mtime_ns, facts.st_ctime_ns) > STARTED_NS - CLOCK_STEP_NS


def _as_imported(file: str) -> bool:
    """Tell whether what a process imported of a file is what it says now."""
    try:
        if not changed_since_start(file):
            return True
    except OSError:
        return False
    return _imported_as.get(file) == _content(file, stamp_of(file))


def _files(module: str, start: str | None = None) -> dict[str, str]:
    """Return the files that a module rests on, with their modules; `start` is its file before its import."""
    found: dict[str, str] = {}
    left = list(_beside(module, start))
    while left:
        file, dotted = left.pop(0)
        if file in found:
            continue
        found[file] = dotted
        for up, word, name in _imports(file, stamp_of(file)):
            left += _relative(file, dotted, up, word, name) if up else _absolute(file, word, name)
    return found


def _beside(module: str, start: str | None) -> Iterator[tuple[str, str]]:
    """Return the files of a module's package, or of its folder, with their modules."""
    top = module.partition(".")[0]
    if top in COVERED:
        return
    own = start or _place(top) or _place(module)
    if own is None or not own.endswith(".py"):
        return
    folder, is_package = Path(own).parent, Path(own).name == "__init__.py"
    yield own, top
    for file in sorted(folder.rglob("*.py") if is_package else folder.glob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        yield str(file), ".".join([top, *parts] if is_package else parts)


def _place(module: str) -> str | None:
    """Return the file of a module, imported or not."""
    known = sys.modules.get(module)
    if known is not None:
        return getattr(known, "__file__", None)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None else None


@lru_cache(maxsize=1 << 16)
def _content(file: str, stamp: str) -> str:
    """Return a hash of a file."""
    try:
        return hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return stamp


@lru_cache(maxsize=1 << 12)
def _imports(file: str, stamp: str) -> tuple[Import, ...]:
    """Return what a user's file imports, anywhere in it; installed ones are known by their versions."""
    if _is_installed(file):
        return ()
    try:
        nodes = list(ast.walk(ast.parse(Path(file).read_bytes())))
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
    root = _rest_of(word, file)
    return _along(root, [], [part for part in (*word.split("."), name) if part]) if root else []


def _rest_of(word: str, file: str) -> Path | None:
    """Return the folder from which `word` is imported by `file`, if it is no installed module."""
    top = word.partition(".")[0]
    if not top or top in COVERED or top in sys.stdlib_module_names:
        return None
    folder = Path(file).parent
    if (folder / f"{top}.py").is_file() or (folder / top).is_dir():
        return folder
    place = _place(top)
    if place is None or not place.endswith(".py") or _is_installed(place):
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


def _is_installed(file: str) -> bool:
    path = Path(file)
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.is_relative_to(
        sysconfig.get_path("stdlib")
    )


@cache
def _installed_version(top: str) -> str:
    """Return the version of the installed package that a module comes from; "" for Python's own."""
    if top in sys.stdlib_module_names or top in COVERED:
        return ""
    try:
        return version(top)
    except (PackageNotFoundError, ValueError):
        names = packages_distributions().get(top, [])
    return " ".join(version(name) for name in names)
