"""What a user's own code does wrong in a session becomes a mistake of the scenario, at what names that code.

A plug-in's data and shards are looked at before anything rests on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sflsim.errors import RunFailed, SflsimError, refused
from sflsim.foreign import failed, users_code
from sflsim.formatting import shorten
from sflsim.learning.models.base import is_users, kind_of
from sflsim.registry import algorithm_of, selection_of
from sflsim.scenario.schema import Scenario

if TYPE_CHECKING:
    from sflsim.learning.data.base import Data

T = TypeVar("T")


class CallbackFailed(Exception):
    """The caller's own callback failed with the error that is the only argument (SimPy keeps arguments)."""


def guarded(callback: Callable[[T], None]) -> Callable[[T], None]:
    """Return a callback whose errors pass through `blaming` as CallbackFailed."""

    def call(value: T) -> None:
        try:
            callback(value)
        except Exception as error:
            raise CallbackFailed(error) from error

    return call


@contextmanager
def blaming(scenario: Scenario, index: int | None = None) -> Iterator[None]:
    """Turn what a user's code raises in the block into a mistake at the component that it belongs to.

    `index` is the variant at hand. What passed through no code of a user's is a bug of ours, and stays.

    Raises:
        ScenarioError: a user's code failed.
        RunFailed: the memory of this machine or device is too small.
    """
    try:
        yield
    except (SflsimError, CallbackFailed, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        for path, component in _components(scenario, index):
            if any(True for _ in users_code(error, component)):
                name = kind_of(component)
                raise failed(path, name, error, "code that runs to its end", own=component) from error
        if is_out_of_memory(error):
            found = shorten(str(error).strip().partition("\n")[0], 160)
            raise RunFailed(
                f"there is not enough memory for this run ({found}): take a smaller workload.batch_size, "
                "fewer workers or a smaller model"
            ) from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether Python, numpy or torch, on any device, could not get the memory that it asked for."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and of_torch)


def _components(scenario: Scenario, index: int | None) -> Iterator[tuple[str, Any]]:
    """Yield the components of a user's, the variant's algorithm first, with their paths."""
    workload = scenario.workload
    parts: list[tuple[str, Any]] = [("fleet.selection", selection_of(scenario.fleet.selection))]
    if index is not None:
        parts.insert(0, (f"variants[{index}]", algorithm_of(scenario.variants[index])))
    yield from ((path, part) for path, part in parts if not part.__module__.startswith("sflsim."))
    if is_users(workload.model):
        yield "workload.model", workload.model
    for name in ("dataset", "partition"):
        component = getattr(workload, name)
        if not type(component).__module__.startswith("sflsim."):
            yield f"workload.{name}", component


def check_data(data: Data, dataset: Any) -> None:
    """Refuse samples that are not as their data set says (raises ScenarioError)."""
    found = ""
    if data.sample_shape != tuple(dataset.sample_shape):
        found = f"samples of shape {data.sample_shape}, not {tuple(dataset.sample_shape)} as it says"
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        if len(x) != len(y) or not len(x):
            found = f"{len(x)} samples with {len(y)} labels"
        elif y.is_floating_point() or not 0 <= int(y.min()) <= int(y.max()) < dataset.classes:
            found = f"labels from {y.min().item()} to {y.max().item()} for {dataset.classes} classes"
    if found:
        raise refused(
            "workload.dataset", f"{kind_of(dataset)} with {found}", "a label 0 to K - 1 for each sample"
        )


def check_labels(labels: Any, dataset: Any) -> None:
    """Refuse training labels that are not as their data set says (raises ScenarioError)."""
    known = np.asarray(labels)
    if known.dtype.kind not in "iu" or not len(known) or known.min() < 0 or known.max() >= dataset.classes:
        spread = f" from {known.min()} to {known.max()}" if len(known) else ""
        found = f"{kind_of(dataset)} with {len(known)} labels of {known.dtype}{spread}"
        raise refused("workload.dataset", found, f"whole numbers from 0 to {dataset.classes - 1}")


def check_shards(shards: Sequence[Any], samples: int, clients: int, name: str) -> None:
    """Refuse a partition that is none: each client at least one sample, no sample twice (ScenarioError)."""
    sizes = [len(shard) for shard in shards]
    found = ""
    if len(shards) != clients:
        found = f"{len(shards)} shards for {clients} clients"
    elif not all(sizes):
        found = f"no sample for client {sizes.index(0)}"
    else:
        drawn = np.concatenate([np.asarray(shard) for shard in shards])
        if drawn.dtype.kind not in "iu" or drawn.min() < 0 or drawn.max() >= samples:
            found = f"indices of {drawn.dtype} from {drawn.min()} to {drawn.max()} for {samples} samples"
        elif np.bincount(drawn).max() > 1:
            found = "samples of two clients"
    if found:
        raise refused(
            "workload.partition", f"{name}, which gives {found}", "each sample to one client at most"
        )
