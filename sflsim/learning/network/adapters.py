"""Puts low-rank adapters on the layers of blocks and freezes the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from sflsim.errors import SflsimError, did_you_mean, refused
from sflsim.learning.network.lora import Adapters

ATTENTION = ("q_proj", "v_proj", "query", "value", "c_attn", "qkv_proj", "query_key_value")
"""Names of the layers that make queries and values, in the architectures of transformers."""

Blocks = list[tuple[str, nn.Module]]


def adapted(blocks: Sequence[tuple[str, nn.Module]], adapters: Adapters, cut: int, head: str = "") -> Blocks:
    """Return the blocks with adapters on those that are adapted; there, all else is frozen.

    Parameters whose names match the pattern `head` (a classifier that starts at random) stay trained.

    Raises:
        ScenarioError: no layer has such a name.
        SflsimError: peft is not installed.
    """
    chosen = {"both": slice(None), "client": slice(cut), "server": slice(cut, None)}[adapters.on]
    holder = nn.Module()
    for name, block in blocks[chosen]:
        holder.add_module(name, block)
    _inject(holder, adapters, _targets(holder, adapters.targets))
    for name, parameter in holder.named_parameters():
        if head and re.fullmatch(head, name):
            parameter.requires_grad_(True)
    return [(name, getattr(holder, name, block)) for name, block in blocks]


def _targets(holder: nn.Module, wanted: tuple[str, ...] | None) -> list[str]:
    """Return the full names of the layers to adapt."""
    layers = [name for name, module in holder.named_modules() if _is_linear(module)]
    words = wanted or ATTENTION
    found = [name for name in layers if any(name == word or name.endswith(f".{word}") for word in words)]
    if found or wanted is None:
        return found or layers
    endings = sorted({name.rpartition(".")[2] for name in layers})
    remedy = did_you_mean(wanted[0], endings)
    raise refused("workload.model.adapters.targets", repr(list(wanted)), ", ".join(endings), remedy)


def _is_linear(module: nn.Module) -> bool:
    """Tell a linear layer, GPT-2's among them, which it calls a convolution."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _inject(holder: nn.Module, adapters: Adapters, targets: list[str]) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise SflsimError("adapters need peft: pip install 'sflsim[llm]'") from error
    fan_in_fan_out = any(type(holder.get_submodule(name)).__name__ == "Conv1D" for name in targets)
    config: Any = LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,  # type: ignore[arg-type]
        target_modules="|".join(re.escape(name) for name in targets),
        fan_in_fan_out=fan_in_fan_out,
    )
    inject_adapter_in_model(config, holder)
