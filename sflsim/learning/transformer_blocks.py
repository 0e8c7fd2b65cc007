"""A Hugging Face transformer as blocks that can be cut anywhere: each maps one tensor to one tensor.

Block 1 holds the embeddings and the first layer, the last block the final norm and a linear
classifier. What a layer needs beside its hidden states (attention mask, positions, rotary angles)
is made by the library's own model, in which every layer is replaced by one that notes its
arguments: so a cut network computes what the whole one does, for any architecture whose layers
form one chain. The attention mask travels as one more channel of the activation. Imports torch;
transformers lazily.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sflsim.errors import SflsimError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Noting(nn.Module):
    """Stands in a layer's place: notes what the layer would be given and passes the hidden states on."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.noted: tuple[Tensor, Arguments] | None = None
        for name in ("attention_type", "layer_type", "is_sliding"):  # asked by some models
            if hasattr(layer, name):
                setattr(self, name, getattr(layer, name))

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the hidden states as they came."""
        self.noted = (hidden, (args, kwargs))
        return hidden

    def taken(self) -> tuple[Tensor, Arguments]:
        """Return what was noted, and forget it."""
        assert self.noted is not None
        noted, self.noted = self.noted, None
        return noted


class Skeleton(nn.Module):
    """The library's model without its layers and its tail: embeddings, masks and positions.

    Text enters as [B, 2, L] (token ids, attention mask), images as [B, channels, rows, columns].
    """

    def __init__(self, model: nn.Module, layers: nn.ModuleList, is_text: bool) -> None:
        super().__init__()
        self.model = model
        self.is_text = is_text
        self.places = [Noting(layer) for layer in layers]
        holder, name = _holder_of(model, layers)
        setattr(holder, name, nn.ModuleList(self.places))
        self._fixed: list[Arguments] | None = None

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor | None, Arguments]:
        """Return (hidden states [B, L, H], attention mask [B, L] or None, the first layer's arguments)."""
        if self.is_text:
            mask = x[:, 1]
            self.model(input_ids=x[:, 0], attention_mask=_readable(mask), use_cache=False)
        else:
            mask = None
            self.model(pixel_values=x)
        hidden, arguments = self.places[0].taken()
        return hidden, mask, arguments

    def arguments(self, place: int, hidden: Tensor, mask: Tensor | None) -> Arguments:
        """Return what layer number `place` is given beside its hidden states."""
        if mask is None:
            assert self._fixed is not None
            return self._fixed[place]
        width = self.model.get_input_embeddings().embedding_dim  # type: ignore[operator]
        nothing = hidden.new_zeros(*hidden.shape[:2], width)
        with torch.no_grad():
            self.model(inputs_embeds=nothing, attention_mask=_readable(mask), use_cache=False)
        return self.places[place].taken()[1]

    def fix_arguments(self, x: Tensor) -> None:
        """Note the arguments of all layers once, for images: they must not depend on the input."""
        self.enter(x)
        noted = [((), {}) if one.noted is None else one.noted[1] for one in self.places]
        noted[0] = self.enter(x)[2]
        values = [value for args, kwargs in noted for value in (*args, *kwargs.values())]
        if any(isinstance(value, Tensor) for value in values):
            raise SflsimError("this vision model's layers need more than their hidden states: not supported")
        self._fixed = list(noted)


class FirstBlock(nn.Module):
    """The embeddings and the first layer."""

    stackable = False

    def __init__(self, skeleton: Skeleton, layer: nn.Module) -> None:
        super().__init__()
        self.embeddings = skeleton
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return hidden states (and the mask, for text) [B, L, H + 1] of what the skeleton takes."""
        hidden, mask, (args, kwargs) = self.embeddings.enter(x)
        return packed(_first(self.layer(hidden, *args, **kwargs)), mask)


class Block(nn.Module):
    """One further layer."""

    stackable = False

    def __init__(self, skeleton: Skeleton, layer: nn.Module, place: int) -> None:
        super().__init__()
        self.layer = layer
        self._place = place
        self._skeleton = (skeleton,)  # not registered: its weights are the first block's

    def forward(self, z: Tensor) -> Tensor:
        """Return the layer's output, packed as its input is."""
        (skeleton,) = self._skeleton
        hidden, mask = unpacked(z, skeleton.is_text)
        args, kwargs = skeleton.arguments(self._place, hidden, mask)
        return packed(_first(self.layer(hidden, *args, **kwargs)), mask)


class Head(nn.Module):
    """The model's own tail (final norm, say), one position of the sequence, a linear classifier.

    A causal model is read at the last token that is not padding, another one at its first.
    """

    stackable = False

    def __init__(self, tail: Sequence[nn.Module], score: nn.Linear, is_text: bool, causal: bool) -> None:
        super().__init__()
        self.tail = nn.Sequential(*tail)
        self.score = score
        self._is_text = is_text
        self._causal = causal

    def forward(self, z: Tensor) -> Tensor:
        """Return logits [B, K]."""
        hidden, mask = unpacked(z, self._is_text)
        hidden = self.tail(hidden)
        if not self._causal or mask is None:
            return self.score(hidden[:, 0])  # type: ignore[no-any-return]
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * places).argmax(dim=1)
        chosen = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))
        return self.score(chosen[:, 0])  # type: ignore[no-any-return]


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

    `model` is a base model of transformers, without a head; `score` the classifier.

    Raises:
        SflsimError: its layers form no single chain.
    """
    layers = _layers_of(model)
    causal = any(getattr(module, "is_causal", False) for module in layers.modules())
    skeleton = Skeleton(model, layers, is_text)
    tail = _take_tail(skeleton, _probe(score, sample_shape, is_text))
    if not is_text:
        skeleton.fix_arguments(_probe(score, sample_shape, is_text))
    further = [Block(skeleton, layer, place) for place, layer in enumerate(layers) if place]
    return [FirstBlock(skeleton, layers[0]), *further, Head(tail, score, is_text, causal)]


def _layers_of(model: nn.Module) -> nn.ModuleList:
    """Return the model's one list of layers."""
    chains = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    outer = [one for one in chains if not any(one is not other and _within(one, other) for other in chains)]
    if len(outer) != 1:
        found = f"{len(outer)} chains of layers" if outer else "no chain of layers"
        raise SflsimError(f"{type(model).__name__} has {found}; a model with one can be cut into blocks")
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


def _probe(score: nn.Linear, sample_shape: tuple[int, ...], is_text: bool) -> Tensor:
    """Return a smallest input: one sample."""
    device = score.weight.device
    if is_text:
        return torch.ones(1, 2, 2, dtype=torch.int64, device=device)
    return torch.zeros(1, *sample_shape, device=device)


def _take_tail(skeleton: Skeleton, x: Tensor) -> list[nn.Module]:
    """Take out of the model what it applies to the last layer's output; return it in order.

    A pooler goes: the head has a classifier of its own.
    """
    if getattr(skeleton.model, "pooler", None) is not None:
        setattr(skeleton.model, "pooler", None)  # noqa: B010 (torch types it as a module)
    order: list[nn.Module] = []
    leaves = [module for module in skeleton.model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda leaf, args, output: order.append(leaf)) for leaf in leaves]
    with torch.no_grad():
        skeleton.enter(x)
    for hook in hooks:
        hook.remove()
    asked = [place for place, module in enumerate(order) if isinstance(module, Noting)]
    if [order[place] for place in asked] != skeleton.places:
        raise SflsimError(f"{type(skeleton.model).__name__} does not pass once through each layer in turn")
    tail = order[asked[-1] + 1 :]
    for module in tail:
        _replace(skeleton.model, module, nn.Identity())
    return tail


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever the model holds `old`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child is old:
                setattr(module, name, new)


def _readable(mask: Tensor) -> Tensor | None:
    """Return the mask, or none on the meta device, where nobody can read it and no figure depends on it."""
    return None if mask.is_meta else mask


def _first(output: Any) -> Tensor:
    """Return a layer's hidden states, whether it returns them alone or in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
