"""Tests keep to themselves and repeat: a store on disk of their own, and the same examples every time.

A property test draws the same examples in every run (profile `fixed`). A free search is asked for by
`--hypothesis-profile=free --hypothesis-seed=N`; what it finds becomes an example of its test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, database=None)
settings.register_profile("free", database=None, print_blob=True)
settings.load_profile("fixed")


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
