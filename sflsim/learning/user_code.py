"""A user's Python: a hash of the files that a module rests on, and its import anew once they have changed.

A user's file is one that is neither sflsim's nor Python's own; files of installed packages count where the
module itself is one of them, else by their package's version. What runs in a process is what it
imported, so the hash of a file that changed after the process had started, and that this room has not
imported since, holds for this process alone.
"""

from __future__ import annotations

import hashlib
import importlib
import secrets
import sys
import time
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from sflsim.foreign import is_installed
from sflsim.learning.stamps import stamp_of
from sflsim.learning.user_imports import COVERED, SOURCE_BYTES, file_of, files_of, folder_of, imports_in
from sflsim.readers.files import read_bytes

STARTED_NS = time.time_ns()
CLOCK_STEP_NS = 20_000_000
"""A file system may date a change so much too early."""
FILE_MODULE = "sflsim_scenario_"

_imported_as: dict[str, str] = {}  # file -> hash of what `imported` read of it last
_versions: dict[str, bytes] = {}  # module -> version of what `imported` gave last


@cache
def version_of(module: str) -> bytes:
    """Return a hash of the Python files that a user's module rests on; empty where it has none.

    They are its package, or its folder, and what they import wherever it lies, also within functions.
    It is looked up once until `look_again` is called.
    """
    place = file_of(module.partition(".")[0])
    return _version_once(module.partition(".")[0]) if place and is_installed(place) else _version(module)


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
    if known is not None and name not in _versions and all(map(_as_imported, files_of(name))):
        return known
    module = _imported_anew(name, place)
    for file in files_of(name):
        _imported_as[file] = _content(file, stamp_of(file))
    _versions[name] = _version(name)
    look_again()
    return module


def _imported_anew(name: str, place: str) -> ModuleType:
    """Import a module, and with it all that it rests on if any of that is not what its file says."""
    start = place if place.endswith(".py") else None
    there = {dotted: file for file, dotted in files_of(name, start).items() if dotted in sys.modules}
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
    digest, files = hashlib.blake2b(digest_size=8), files_of(module)
    if not files:
        return b""
    for file in sorted(files):
        stamp = stamp_of(file)
        digest.update(_content(file, stamp).encode())
        for top in sorted({word.partition(".")[0] for up, word, _ in imports_in(file, stamp) if not up}):
            if not folder_of(top, file):
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


@lru_cache(maxsize=1 << 16)
def _content(file: str, stamp: str) -> str:
    """Return a hash of a file."""
    try:
        return hashlib.blake2b(read_bytes(file, SOURCE_BYTES), digest_size=16).hexdigest()
    except OSError:
        return stamp


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
