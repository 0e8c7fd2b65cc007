"""What a value looks like on disk: numbers as bytes, tensors as safetensors. Torch lazily.

Tensors come back as they were laid out in memory, since another order of the same numbers may round
otherwise. Nothing that is read can execute anything.
"""

from __future__ import annotations

import json
import math
import struct
from enum import IntEnum
from typing import Any

from sflsim.learning.graph.lineage import Value


class Kind(IntEnum):
    """What a stored value is made of."""

    NUMBERS = 0
    WEIGHTS = 1


def encode(value: Value) -> tuple[Kind, bytes] | None:
    """Return a tuple of floats or a dict of tensors as bytes; None for anything else, which is not stored."""
    if isinstance(value, tuple) and all(type(number) is float for number in value):
        return Kind.NUMBERS, struct.pack(f"<{len(value)}d", *value)
    if isinstance(value, dict):
        return Kind.WEIGHTS, _encoded(value)
    return None


def decode(kind: int, content: bytes, device: str) -> Value:
    """Return what `encode` was given, tensors on `device`.

    Raises:
        ValueError: `encode` has not made this content.
    """
    try:
        if kind == Kind.NUMBERS:
            return struct.unpack(f"<{len(content) // 8}d", content)
        return _decoded(content, device)
    except Exception as error:  # whatever JSON, safetensors and torch raise
        raise ValueError(f"an entry of another form ({error})") from error


def own_copy(value: Value) -> Value:
    """Return a value whose tensors own their memory, as those read from disk do; a view is copied.

    Where a tensor begins in memory can change the last bits of what is computed from it.
    """
    if not isinstance(value, dict):
        return value
    return {name: tensor if _owner(tensor) else tensor.clone() for name, tensor in value.items()}


def _owner(tensor: Any) -> bool:
    size = tensor.numel() * tensor.element_size()
    return bool(tensor.storage_offset() == 0 and tensor.untyped_storage().nbytes() == size)


def _encoded(value: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    flat, layout = {}, {}
    for name, tensor in own_copy(value).items():
        layout[name] = [list(tensor.shape), list(tensor.stride())]
        flat[name] = tensor.detach().as_strided((tensor.numel(),), (1,)).cpu()
    return save(flat, metadata={"layout": json.dumps(layout)})


def _decoded(content: bytes, device: str) -> dict[str, Any]:
    from safetensors.torch import load

    size = int.from_bytes(content[:8], "little")
    layout = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["layout"])
    flat = load(content)
    if any(math.prod(shape) != flat[name].numel() for name, (shape, _) in layout.items()):
        raise ValueError("a layout of another size than the tensor")
    return {name: flat[name].clone().to(device).as_strided(*layout[name]) for name in layout}
