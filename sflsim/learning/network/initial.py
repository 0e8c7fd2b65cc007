"""Initial weights from a file, and frozen parameters, as a model asks."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from sflsim.errors import did_you_mean, refused
from sflsim.readers.files import check_file, reason

COUNTERS = "num_batches_tracked"  # batch norm's, which a fixed momentum has no use for
SHOWN = 5


def initialised(blocks: Sequence[tuple[str, nn.Module]], model: Any) -> list[tuple[str, nn.Module]]:
    """Return the blocks with the weights of `model.weights`, what `model.freeze` names frozen.

    A model that knows neither is left as it is; on the meta device there are no weights to load.

    Raises:
        ScenarioError: the file does not fit the network, or a pattern no parameter.
    """
    unnamed = getattr(model, "unnamed_blocks", ())
    blocks = list(blocks)
    if getattr(model, "weights", None) is not None and not torch.empty(0).is_meta:
        _load(_tensors(blocks, unnamed), model.weights, model.weights_strict)
    if getattr(model, "freeze", ()):
        _freeze(blocks, unnamed, model.freeze)
    return blocks


def _prefix(block: str, unnamed: Sequence[str]) -> str:
    return "" if block in unnamed else f"{block}."


def _tensors(blocks: Sequence[tuple[str, nn.Module]], unnamed: Sequence[str]) -> dict[str, Tensor]:
    """Return parameters and buffers that a file of weights holds, by name."""
    return {
        _prefix(block, unnamed) + name: tensor
        for block, module in blocks
        for name, tensor in module.state_dict().items()
        if not name.endswith(COUNTERS)
    }


def _load(own: dict[str, Tensor], path: str, strict: bool) -> None:
    """Copy the tensors of a file into those of the network."""
    given = _read(path)
    fitting = [name for name in own if name in given and given[name].shape == own[name].shape]
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    misshapen = [
        f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    if not fitting or (strict and (missing or unexpected or misshapen)):
        kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
        found = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names)
        remedy = "weights_strict: false takes what fits" if fitting else ""
        raise refused("workload.model.weights", found, f"the model's tensors: {_some(list(own))}", remedy)
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(given[name])


def _read(path: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file."""
    from safetensors.torch import load_file

    try:
        check_file(path)
        tensors: dict[str, Tensor] = load_file(path)
    except Exception as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        found = f"{path}: {(why.splitlines() or [type(error).__name__])[0]}"
        raise refused("workload.model.weights", found, "a safetensors file") from error
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTERS)}


def _freeze(blocks: Sequence[tuple[str, nn.Module]], unnamed: Sequence[str], patterns: Sequence[str]) -> None:
    """Take the parameters that match a pattern out of training."""
    parameters = {
        _prefix(block, unnamed) + name: parameter
        for block, module in blocks
        for name, parameter in module.named_parameters()
    }
    for pattern in patterns:
        matching = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matching:
            remedy = did_you_mean(pattern, parameters)
            found = f"{pattern!r}, which matches no parameter"
            raise refused("workload.model.freeze", found, f"patterns of {_some(list(parameters))}", remedy)
        for name in matching:
            parameters[name].requires_grad_(False)


def _some(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
