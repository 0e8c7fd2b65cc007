"""How a scenario is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sflsim.learning.graph.disk_store import LIMIT_BYTES


@dataclass(frozen=True)
class Options:
    """How a scenario is computed; only `device` changes results, in their last bits."""

    device: str = "cpu"
    timing_only: bool = False
    threads: int = 1
    keep_spans: bool = True
    cache: Path | None = None
    """Folder of the store on disk, shared by all processes; None for none."""
    cache_bytes: int = LIMIT_BYTES
    trusted: bool = False
    """Whether code that the scenario names may run; a pickled scenario does not say."""
