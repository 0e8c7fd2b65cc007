"""Where a result comes from: version, commit, date, machine, command."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__version__ = "0.1.0"
PACKAGES = ("torch", "numpy", "simpy", "pandas")
GIT_TIMEOUT_S = 10.0


def provenance() -> dict[str, str]:
    """Return what is to be known of a result that this process has just made; no key has an empty value.

    `commit` is there where sflsim runs from a checkout of its repository; it ends in "-dirty" where files
    that git knows have been changed since.
    """
    found = {
        "version": __version__,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "command": shlex.join(map(_printable, sys.argv)),
    }
    return {name: value for name, value in found.items() if value}


def fingerprint(scenario: str, files: Mapping[str, str] | None = None) -> str:
    """Return the hash by which a resolved scenario, in YAML, and the `files` that it read are known again.

    `files` holds the hash of each file's content by its path.
    """
    known = scenario + "".join(f"{path} {content}\n" for path, content in sorted((files or {}).items()))
    return hashlib.blake2b(known.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of all that may change a result."""
    return dict(_versions())


def described(manifest: Mapping[str, Any]) -> list[str]:
    """Return lines for people about where a result comes from, as far as its manifest says so."""
    made, packages = _mapping(manifest, "provenance"), _mapping(manifest, "versions")
    known = {"sflsim": made.get("version", packages.get("sflsim")), "commit": made.get("commit")}
    known |= {"Python": packages.get("python"), "torch": packages.get("torch")}
    by = ", ".join(f"{name} {value}" for name, value in known.items() if value)
    real_s = manifest.get("real_s")
    took = f"{real_s:.3g} s" if isinstance(real_s, (int, float)) else ""
    rows = {
        "made by": f"{by} on {made['platform']}" if by and "platform" in made else by,
        "date": f"{made.get('date', '')}{f', took {took}' if took else ''}".removeprefix(", "),
        "scenario": str(manifest.get("scenario", "")),
        "command": str(made.get("command", "")),
    }
    return [f"{name}: {value}" for name, value in rows.items() if value]


@cache
def commit() -> str:
    """Return the commit of the checkout that this package stands in; empty where it does not."""
    if not _git("ls-files", "--error-unmatch", "__init__.py"):  # an installed copy, in another's repository
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments; a shell is not involved)
            ["git", "--no-optional-locks", *arguments],  # noqa: S607 (git is wherever the user has it)
            cwd=Path(__file__).parent, env=outside, capture_output=True, text=True, check=True,
            timeout=GIT_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Return what `versions` does: looked up once, without importing any, as they stay the same."""
    found = {"python": platform.python_version(), "sflsim": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return tuple(found.items())


def _mapping(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, Mapping) else {}


def _printable(text: str) -> str:
    """Return a text without what is no character: an argument may hold any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()
