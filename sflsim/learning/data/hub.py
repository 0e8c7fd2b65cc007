"""Hugging Face's hub: reached where there is a network, its cache where there is none (extra `data`).

Without a network the library would try again for half a minute; one short connection tells. Code
that a data set brings along is never run. `datasets` lazily.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sflsim.errors import refused
from sflsim.learning.data.source import missing_extra
from sflsim.readers.columnar import validated

if TYPE_CHECKING:
    import pyarrow as pa

PATIENCE_S = 5.0


def hub_tables(
    name: str, subset: str | None, splits: dict[str, str], remedy: str
) -> dict[str, list[pa.Table]]:
    """Return the tables of a data set on the hub or in its cache, by what we call its splits.

    Raises:
        ScenarioError: it is neither there nor here; `remedy` says what to do instead.
        SflsimError: the library is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing_extra("the library datasets, which fetches data from the hub,", "data") from error
    is_online = reachable()
    with _offline_unless(is_online), _quiet(datasets):
        try:
            loaded = datasets.load_dataset(name, subset)
        except Exception as error:  # of the network, the hub or the library: to the user all the same
            found = f"{name!r}, which neither the hub nor the cache has to offer ({_line(error)})"
            if not is_online:
                found = f"{name!r}, which is not in the cache, and the hub cannot be reached"
            raise refused(
                "workload.dataset", found, "a local copy, or a data set of the hub", remedy
            ) from error
    return {split: [_table(loaded[there])] for split, there in splits.items() if there in loaded}


def _table(loaded: Any) -> pa.Table:
    return validated(loaded.with_format(None).flatten_indices().data.table)


def reachable() -> bool:
    """Tell whether the hub answers, directly or through a proxy, and may be asked at all."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    proxies = (os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    place = urlsplit(next(filter(None, proxies), constants.ENDPOINT))
    try:
        socket.create_connection((place.hostname or "", place.port or 443), timeout=PATIENCE_S).close()
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _offline_unless(is_online: bool) -> Iterator[None]:
    """Have the libraries look into their caches alone, for the time being."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not is_online:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Show no progress bars of the library: the command line has its own."""
    were_shown = datasets.are_progress_bars_disabled() is False
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if were_shown:
            datasets.enable_progress_bars()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
