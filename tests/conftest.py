"""Tests keep to themselves and repeat: a store on disk of their own, and the same examples every time.

A property test draws the same examples in every run (profile `fixed`). A free search is asked for by
`--hypothesis-profile=free --hypothesis-seed=N`; what it finds becomes an example of its test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, database=None)
settings.register_profile("free", database=None, print_blob=True)
settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give tests, and what they start, a cache directory and a terminal's width of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "100")
        yield
