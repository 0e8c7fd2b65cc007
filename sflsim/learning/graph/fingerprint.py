"""What a task's values depend on beside its settings: numbers, code, libraries and the processor.

Each goes into the task's key as text.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from sflsim.learning.graph.lineage import is_third_party, type_version
from sflsim.learning.graph.own_source import version_of_all
from sflsim.learning.network.split import Part
from sflsim.learning.processor import processor


def of_tensors(tensors: Iterable[Tensor]) -> str:
    """Return a hash of numbers, their types and shapes."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def of_network(blocks: Sequence[tuple[str, nn.Module]]) -> str:
    """Return a hash of a network: its layers and their settings, its weights, third parties' code."""
    digest = hashlib.blake2b(digest_size=16)
    for name, block in blocks:
        digest.update(f"{name} {block!r}".encode())
        for kind in dict.fromkeys(type(module) for module in block.modules()):
            digest.update(type_version(kind).encode())
        digest.update(of_tensors([*block.parameters(), *block.buffers()]).encode())
    return digest.hexdigest()


def of_behaviour(network: Part, x: Tensor) -> str:
    """Return a hash of what a network with users' layers computes: numbers that are no tensors count."""
    if not any(is_third_party(type(module)) for _, block in network.blocks for module in block.modules()):
        return ""
    with torch.no_grad():
        return of_tensors([network.apply(network.views(network.initial()[None]), x)])


def of_code(*components: Any) -> str:
    """Return a hash of the code behind a model, a data set, a partition; a user's may use any of ours."""
    texts = []
    for component in _with_parts(components):
        kind, version = type(component), getattr(component, "code_version", "")
        ours = version_of_all().hex() if version else ""
        texts.append(f"{kind.__module__}.{kind.__qualname__} {type_version(kind)} {version} {ours}")
    return "|".join(texts)


def _with_parts(components: Iterable[Any]) -> Iterator[Any]:
    """Yield components, each before those in its fields, such as the codec of another's numbers."""
    for component in components:
        yield component
        if isinstance(component, BaseModel):
            yield from _with_parts(value for _, value in component if isinstance(value, BaseModel))


def computes_as_usual() -> bool:
    """Tell whether those settings that a program may have changed, and that count here, are torch's own."""
    return (
        torch.get_float32_matmul_precision() == "highest"
        and not torch.are_deterministic_algorithms_enabled()
        and bool(torch.backends.mkldnn.enabled)
    )


def of_machine(device: torch.device) -> str:
    """Return the libraries, their settings and the processor: each may round otherwise."""
    facts = [
        torch.__version__,
        np.__version__,
        platform.machine(),
        processor(),
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.mkldnn.enabled,
        device.type,
    ]
    if device.type == "cuda":
        cudnn = torch.backends.cudnn
        facts += [torch.cuda.get_device_name(device), torch.version.cuda, cudnn.version(), cudnn.enabled]
        facts += [cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32]
    return "|".join(map(str, facts))
