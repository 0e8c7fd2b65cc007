"""Cuts a Hugging Face transformer into blocks, and compares them with the library's whole model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sflsim.learning.network.transformer_blocks import (
    Block,
    FirstBlock,
    Head,
    ModelWithoutLayers,
    RecordingModule,
    Unsupported,
    whole_output,
)


def split_transformer(
    model: nn.Module, score: nn.Linear, sample_shape: tuple[int, ...], is_text: bool
) -> list[nn.Module]:
    """Return a transformer's blocks: the first with the embeddings, one per further layer, the head.

    `model` is a base model of transformers, without a head; `score` the classifier. Where the weights
    are numbers, the blocks have been compared with the whole model on a probe.

    Raises:
        Unsupported: its layers form no single chain, or the chain computes something else than the model.
    """
    x = _probe(score, sample_shape, is_text, _vocabulary(model))
    layers = _layers_of(model)
    _drop_pooler(model)
    values, hidden = _values_of(model, layers[0], x, is_text)
    reads_last = is_text and not x.is_meta and _first_is_fixed(model, x, hidden)
    base = ModelWithoutLayers(model, layers, is_text, values)
    head = Head(_take_tail(base, x), score, is_text)
    head.reads_last = reads_last
    if not is_text:
        base.fix_arguments(x)
    further = [Block(base, layer, place) for place, layer in enumerate(layers) if place]
    blocks = [FirstBlock(base, layers[0]), *further]
    if not x.is_meta:
        _compare(blocks, head, x, hidden)
    return [*blocks, head]


def _values_of(model: nn.Module, layer: nn.Module, x: Tensor, is_text: bool) -> tuple[int, Tensor]:
    """Return how many values a layer returns in a tuple (0: none), and the model's last hidden states."""
    seen: list[int] = []
    hook = layer.register_forward_hook(
        lambda layer, args, output: seen.append(len(output) if isinstance(output, tuple) else 0)
    )
    with torch.no_grad():
        hidden = whole_output(model, x, is_text)
    hook.remove()
    if len(seen) != 1:
        raise Unsupported(f"it runs {len(seen)} times through its first layer")
    return seen[0], hidden


def _first_is_fixed(model: nn.Module, x: Tensor, hidden: Tensor) -> bool:
    """Tell whether the first token's state stays as it is when a later token of the first text changes."""
    other = x.clone()
    other[0, 0, -1] = (x[0, 0, -1] + 1) % _vocabulary(model)
    with torch.no_grad():
        moved = whole_output(model, other, is_text=True)
    return bool(torch.equal(moved[0, 0], hidden[0, 0]))


def _compare(blocks: Sequence[nn.Module], head: Head, x: Tensor, hidden: Tensor) -> None:
    """Refuse blocks that do not compute what the whole model does, where nothing is padded."""
    with torch.no_grad():
        z = x
        for block in blocks:
            z = block(z)
        found, mask = head.states(z)
    counts = ... if mask is None else mask.bool()
    if found.shape != hidden.shape or not torch.allclose(found[counts], hidden[counts], rtol=1e-3, atol=1e-4):
        raise Unsupported("its layers in turn do not compute what the whole model does")


def _drop_pooler(model: nn.Module) -> None:
    """Take the pooler away: the head has a classifier of its own."""
    if getattr(model, "pooler", None) is not None:
        setattr(model, "pooler", None)  # noqa: B010 (torch types it as a module)


def _layers_of(model: nn.Module) -> nn.ModuleList:
    """Return the model's one list of layers."""
    chains = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    outer = [one for one in chains if not any(one is not other and _within(one, other) for other in chains)]
    if len(outer) != 1:
        found = f"{len(outer)} chains of layers" if outer else "no chain of layers"
        raise Unsupported(f"it has {found}")
    return outer[0]


def _within(module: nn.Module, other: nn.Module) -> bool:
    return any(one is module for one in other.modules())


def _vocabulary(model: nn.Module) -> int:
    return int(getattr(model.config, "vocab_size", 0))


def _probe(score: nn.Linear, sample_shape: tuple[int, ...], is_text: bool, words: int) -> Tensor:
    """Return two samples: texts of full length with as many tokens as there are, the second padded."""
    device = score.weight.device
    if not is_text:
        source = torch.Generator().manual_seed(0)
        return torch.randn(2, *sample_shape, generator=source, device="cpu").to(device)
    length = sample_shape[-1]
    ids = torch.arange(2 * length, device=device).view(2, length) % max(1, words - 2) + 2
    mask = torch.ones_like(ids)
    mask[1, max(1, length - 2) :] = 0
    return torch.stack([ids.clamp(max=words - 1), mask], dim=1)


def _take_tail(base: ModelWithoutLayers, x: Tensor) -> list[nn.Module]:
    """Take out of the model what it applies to the last layer's output; return it in order."""
    order: list[nn.Module] = []
    leaves = [module for module in base.model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda leaf, args, output: order.append(leaf)) for leaf in leaves]
    with torch.no_grad():
        base.enter(x)
    for hook in hooks:
        hook.remove()
    asked = [place for place, module in enumerate(order) if isinstance(module, RecordingModule)]
    if [order[place] for place in asked] != base.places:
        raise Unsupported("it does not pass once through each layer in turn")
    tail = order[asked[-1] + 1 :]
    for module in tail:
        _replace(base.model, module, nn.Identity())
    return tail


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever the model holds `old`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child is old:
                setattr(module, name, new)
