"""What decides the key of a task and the figures of a network, and is known without torch.

A task's key is a hash of its data, shards and initial weights; making them takes torch, which takes longer to
load than a run whose values are all known. They follow from the settings, the code, the libraries and the
machine, so a store may keep the key under these facts. For sflsim's own networks on a CPU only: what a user's
code does to torch cannot be seen from here. `None` says that the facts do not suffice.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sflsim.learning.compression import Compression
from sflsim.learning.config import Workload
from sflsim.learning.graph.disk_store import DiskStore
from sflsim.learning.models.base import needs_no_trial
from sflsim.learning.processor import processor
from sflsim.learning.user_code import changed_since_start, this_process
from sflsim.scenario.schema import Scenario
from sflsim.session.options import Options

PACKAGE = Path(__file__).parents[1]
KEY_WORDS = 4
"""Numbers of 32 bits that a key of 128 bits is kept as."""
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "pillow", "safetensors")
SETTINGS = (
    "ATEN",
    "BLIS",
    "CUDA",
    "DNNL",
    "GOMP",
    "KMP",
    "MKL",
    "OMP",
    "ONEDNN",
    "OPENBLAS",
    "PYTORCH",
    "TORCH",
)
"""Variables of the environment that begin with one of these may change how libraries compute."""


def facts_of_task(
    scenario: Scenario,
    options: Options,
    cut: int,
    seed: int,
    batch_sizes: object,
    compression: Compression | None,
) -> str | None:
    """Return a hash of all that decides the key of a task."""
    workload = scenario.workload
    components = [workload.model, workload.dataset, workload.partition, compression or Compression()]
    stamp = getattr(workload.dataset, "stamp", str)()
    if not stamp or getattr(workload.dataset, "tokenizer", None) or options.device != "cpu":
        return None
    if not needs_no_trial(workload.model) or not all(map(_is_ours, _with_parts(components))):
        return None
    facts = (repr(components), stamp, scenario.fleet.clients, cut, seed, batch_sizes, options.threads)
    return _hashed("task", *facts)


def facts_of_network(figures: str, workload: Workload, cut: int) -> str | None:
    """Return a hash of all that decides figures of a cut which follow from the network's shapes."""
    if not (needs_no_trial(workload.model) and _is_ours(workload.model)):
        return None
    return _hashed(figures, *shapes(workload, cut))


def shapes(workload: Workload, cut: int) -> tuple[object, ...]:
    """Return what the shapes of a network and of a batch follow from."""
    dataset = workload.dataset
    sample = tuple(dataset.sample_shape), getattr(dataset, "sample_dtype", "float32"), dataset.classes
    return repr(workload.model), sample, workload.mean_batch_size, cut


def remember(disk: DiskStore, facts: str, key: str) -> None:
    """Keep the key of a task, hexadecimal digits, unless torch is set to compute otherwise."""
    from sflsim.learning.graph.fingerprint import computes_as_usual

    if computes_as_usual():
        disk.put(facts, tuple(float(int(key[place : place + 8], 16)) for place in range(0, len(key), 8)))


def remembered(disk: DiskStore, facts: str) -> str | None:
    """Return the key that `remember` was given; None if the store has none."""
    words = noted(disk, facts, KEY_WORDS)
    if words is None or not all(word.is_integer() and 0 <= word < 2**32 for word in words):
        return None
    return "".join(f"{int(word):08x}" for word in words)


def noted(disk: DiskStore, facts: str, count: int) -> tuple[float, ...] | None:
    """Return the numbers that a store keeps under `facts`; what is not so many numbers is none."""
    found = disk.get(facts)
    return found if isinstance(found, tuple) and len(found) == count else None


def _hashed(*facts: object) -> str:
    return hashlib.blake2b(repr((facts, _surroundings())).encode(), digest_size=16).hexdigest()


def _is_ours(component: Any) -> bool:
    return type(component).__module__.partition(".")[0] == "sflsim"


def _with_parts(components: list[Any]) -> Iterator[BaseModel]:
    for component in components:
        yield component
        yield from _with_parts([value for _, value in component if isinstance(value, BaseModel)])


@cache
def _surroundings() -> tuple[object, ...]:
    """Return the code, the libraries with their settings, and the machine."""
    code, own = hashlib.blake2b(digest_size=16), ""
    for file in sorted(PACKAGE.rglob("*.py")):
        code.update(file.read_bytes())
        if changed_since_start(file):  # what runs is what was imported before
            own = this_process()
    settings = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = (sys.version, platform.platform(), platform.machine(), processor(), cores)
    return code.hexdigest(), own, sorted(settings.items()), machine, tuple(map(_version, LIBRARIES))


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
