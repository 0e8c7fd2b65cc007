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
        whole_output(self.model, x, self.is_text)
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

    @property
    def has_mask(self) -> bool:
        """Whether the last channel of the output is the attention mask."""
        return self.embeddings.is_text

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

    @property
    def has_mask(self) -> bool:
        """Whether the last channel of the output is the attention mask."""
        (base,) = self._base
        return base.is_text

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


def whole_output(model: nn.Module, x: Tensor, is_text: bool) -> Tensor:
    """Return the last hidden states of the library's model."""
    with Unread():
        given = {"input_ids": x[:, 0], "attention_mask": x[:, 1]} if is_text else {"pixel_values": x}
        out: Tensor = model(**given)[0]
    return out


def _holder_of(model: nn.Module, layers: nn.ModuleList) -> tuple[nn.Module, str]:
    """Return the module that holds the list of layers, and under which name."""
    return next(
        (module, name)
        for module in model.modules()
        for name, child in module.named_children()
        if child is layers
    )


def _first(output: Any) -> Tensor:
    """Return a layer's hidden states, whether it returns them alone or in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
