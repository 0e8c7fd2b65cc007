"""Tests keep to themselves and repeat: a store on disk of their own, and the same examples every time.

A property test draws the same examples in every run (profile `fixed`). A free search is asked for by
`--hypothesis-profile=free --hypothesis-seed=N`; what it finds becomes an example of its test.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("free", database=None, deadline=None, print_blob=True)
settings.load_profile("fixed")

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it in its workers: output to a pipe has no width


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Begin every test with the same state of the generators that a process has."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point the user's cache directory to a temporary folder, for subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
