"""Tests keep to themselves: their store on disk is a folder of their own, not the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point the user's cache directory to a temporary folder, for subprocesses too."""
    folder, name = tmp_path_factory.mktemp("cache"), "XDG_CACHE_HOME"
    before = os.environ.get(name)
    os.environ[name] = str(folder)
    yield folder
    if before is None:
        del os.environ[name]
    else:
        os.environ[name] = before
