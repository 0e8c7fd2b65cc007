"""A Hugging Face transformer as blocks that can be cut anywhere: each maps one tensor to one tensor.

Block 1 holds the embeddings and the first layer, the last block the final norm and a linear
classifier. What a layer needs beside its hidden states (attention mask, positions, rotary angles)
is made by the library's own model, in which every layer is replaced by one that records its
arguments: so a cut network computes what the whole one does, and where there are numbers it is
compared with it. The attention mask travels as one more channel of the activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sflsim.errors import SflsimError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class RecordingModule(nn.Module):
    """Stands in a layer's place: records what the layer would be given and passes the hidden states on.

    `values` is how many the layer returns in a tuple, 0 where it returns its hidden states alone.
    """

    def __init__(self, layer: nn.Module, values: int) -> None:
        super().__init__()
        self._values = values
        self.recorded: tuple[Tensor, Arguments] | None = None
        for name in ("attention_type", "layer_type", "is_sliding"):  # asked by some models
            if hasattr(layer, name):
                setattr(self, name, getattr(layer, name))

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return the hidden states as they came."""
        self.recorded = (hidden, (args, kwargs))
        return (hidden, *(None for _ in range(self._values - 1))) if self._values else hidden

    def taken(self) -> tuple[Tensor, Arguments]:
        """Return what was recorded, and forget it."""
        assert self.recorded is not None
        recorded, self.recorded = self.recorded, None
        return recorded


class ModelWithoutLayers(nn.Module):
    """The library's model without its layers and its tail: embeddings, masks and positions.

    Text enters as [B, 2, L] (token ids, attention mask), images as [B, channels, rows, columns].
    """

    def __init__(self, model: nn.Module, layers: nn.ModuleList, is_text: bool, values: int) -> None:
        super().__init__()
        self.model = model
        self.is_text = is_text
        self.places = [RecordingModule(layer, values) for layer in layers]
        holder, name = _holder_of(model, layers)
        setattr(holder, name, nn.ModuleList(self.places))
        self._fixed: list[Arguments] | None = None

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor | None, Arguments]:
        """Return (hidden states [B, L, H], attention mask [B, L] or None, the first layer's arguments)."""
        _whole(self.model, x, self.is_text)
        hidden, arguments = self.places[0].taken()
        return hidden, x[:, 1] if self.is_text else None, arguments

    def arguments(self, place: int, hidden: Tensor, mask: Tensor | None) -> Arguments:
        """Return what layer number `place` is given beside its hidden states."""
        if mask is None:
            assert self._fixed is not None
            return self._fixed[place]
        width = self.model.get_input_embeddings().embedding_dim  # type: ignore[operator]
        nothing = hidden.new_zeros(*hidden.shape[:2], width)
        with torch.no_grad(), Unread():
            self.model(inputs_embeds=nothing, attention_mask=mask)
        return self.places[place].taken()[1]

    def fix_arguments(self, x: Tensor) -> None:
        """Record the arguments of all layers once, for images: they must not depend on the input."""
        self.enter(x)
        recorded = [((), {}) if one.recorded is None else one.recorded[1] for one in self.places]
        recorded[0] = self.enter(x)[2]
        values = [value for args, kwargs in recorded for value in (*args, *kwargs.values())]
        if any(isinstance(value, Tensor) for value in values):
            raise Unsupported("its layers need more than their hidden states")
        self._fixed = list(recorded)


class Unsupported(SflsimError):
    """A model of the library cannot be cut into blocks; the message says what is in the way."""


class Unread(TorchDispatchMode):
    """Answers where a model looks into a mask that has no numbers (meta device): not all of it is ones."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return what the operation does."""
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return False
        return func(*args, **(kwargs or {}))


class FirstBlock(nn.Module):
    """The embeddings and the first layer."""

    stackable = False

    def __init__(self, base: ModelWithoutLayers, layer: nn.Module) -> None:
        super().__init__()
        self.embeddings = base
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return hidden states (and the mask, for text) [B, L, H + 1] of what the library's model takes."""
        hidden, mask, (args, kwargs) = self.embeddings.enter(x)
        return packed(_first(self.layer(hidden, *args, **kwargs)), mask)


class Block(nn.Module):
    """One further layer."""

    stackable = False

    def __init__(self, base: ModelWithoutLayers, layer: nn.Module, place: int) -> None:
        super().__init__()
        self.layer = layer
        self._place = place
        self._base = (base,)  # not registered: its weights are the first block's

    def forward(self, z: Tensor) -> Tensor:
        """Return the layer's output, packed as its input is."""
        (base,) = self._base
        hidden, mask = unpacked(z, base.is_text)
        args, kwargs = base.arguments(self._place, hidden, mask)
        return packed(_first(self.layer(hidden, *args, **kwargs)), mask)


class Head(nn.Module):
    """The model's own tail (final norm, say), one position of the sequence, a linear classifier.

    Text is read at the last token that is not padding where the first one knows nothing of later
    ones (`reads_last`), else at the first; images at the first place.
    """

    stackable = False

    def __init__(self, tail: Sequence[nn.Module], score: nn.Linear, is_text: bool) -> None:
        super().__init__()
        self.tail = nn.Sequential(*tail)
        self.score = score
        self.reads_last = False
        self._is_text = is_text

    def forward(self, z: Tensor) -> Tensor:
        """Return logits [B, K]."""
        hidden, mask = self.states(z)
        if mask is None:
            return self.score(hidden[:, 0])  # type: ignore[no-any-return]
        places = torch.arange(mask.shape[1], device=mask.device)
        read = (mask * places if self.reads_last else -places.expand_as(mask)).argmax(dim=1)
        chosen = hidden.gather(1, read[:, None, None].expand(-1, 1, hidden.shape[2]))
        return self.score(chosen[:, 0])  # type: ignore[no-any-return]

    def states(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the model's last hidden states, and the mask of text."""
        hidden, mask = unpacked(z, self._is_text)
        return self.tail(hidden), mask


def packed(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return hidden states [B, L, H] with the mask [B, L], if any, as a last channel."""
    return hidden if mask is None else torch.cat([hidden, mask.to(hidden.dtype).unsqueeze(2)], dim=2)


def unpacked(z: Tensor, has_mask: bool) -> tuple[Tensor, Tensor | None]:
    """Return (hidden states, mask as int64 or None) of what `packed` returned."""
    return (z[..., :-1], (z[..., -1] > 0.5).long()) if has_mask else (z, None)


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


def _whole(model: nn.Module, x: Tensor, is_text: bool) -> Tensor:
    """Return the last hidden states of the library's model."""
    with Unread():
        given = {"input_ids": x[:, 0], "attention_mask": x[:, 1]} if is_text else {"pixel_values": x}
        out: Tensor = model(**given)[0]
    return out


def _values_of(model: nn.Module, layer: nn.Module, x: Tensor, is_text: bool) -> tuple[int, Tensor]:
    """Return how many values a layer returns in a tuple (0: none), and the model's last hidden states."""
    seen: list[int] = []
    hook = layer.register_forward_hook(
        lambda layer, args, output: seen.append(len(output) if isinstance(output, tuple) else 0)
    )
    with torch.no_grad():
        hidden = _whole(model, x, is_text)
    hook.remove()
    if len(seen) != 1:
        raise Unsupported(f"it runs {len(seen)} times through its first layer")
    return seen[0], hidden


def _first_is_fixed(model: nn.Module, x: Tensor, hidden: Tensor) -> bool:
    """Tell whether the first token's state stays as it is when a later token of the first text changes."""
    other = x.clone()
    other[0, 0, -1] = (x[0, 0, -1] + 1) % _vocabulary(model)
    with torch.no_grad():
        moved = _whole(model, other, is_text=True)
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


def _holder_of(model: nn.Module, layers: nn.ModuleList) -> tuple[nn.Module, str]:
    """Return the module that holds the list of layers, and under which name."""
    return next(
        (module, name)
        for module in model.modules()
        for name, child in module.named_children()
        if child is layers
    )


def _vocabulary(model: nn.Module) -> int:
    return int(getattr(model.config, "vocab_size", 0))


def _probe(score: nn.Linear, sample_shape: tuple[int, ...], is_text: bool, words: int) -> Tensor:
    """Return two samples: of text a few different tokens each, the second text padded."""
    device = score.weight.device
    if not is_text:
        source = torch.Generator().manual_seed(0)
        return torch.randn(2, *sample_shape, generator=source, device="cpu").to(device)
    length = min(6, sample_shape[-1])
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


def _first(output: Any) -> Tensor:
    """Return a layer's hidden states, whether it returns them alone or in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
