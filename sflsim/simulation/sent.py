"""Where protocols meet compression: the bytes that each kind of message takes on the link.

`client.costs` are the bytes held, `client.sent` those sent; without compression they are the same. Times
and energy follow from the bytes; compressing and decompressing take no time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sflsim.learning.codecs.base import NUMBER_BYTES, Message
from sflsim.learning.compression import Compression
from sflsim.learning.costs import Costs

if TYPE_CHECKING:
    from sflsim.learning.layout import Layout


class Sent:
    """The bytes of the messages of one cut; each is worked out when it is first asked for."""

    def __init__(
        self,
        costs: Costs,
        compression: Compression,
        parts: tuple[str, ...],
        rows: int,
        layout: Callable[[], Layout],
    ) -> None:
        """Take the bytes held, the codecs, the parts of a model that are sent, the samples of a batch."""
        self.costs = costs
        self._compression = compression
        self._parts = parts
        self._rows = rows
        self._layout = layout

    @cached_property
    def activation_bytes(self) -> float:
        """Return the bytes of an activation, without labels; an attention mask goes beside it as it is."""
        codec = self._compression.codec("activation")
        if codec is None:
            return self.costs.activation_bytes
        return codec.sent_bytes(self._activation) + NUMBER_BYTES * self._mask_numbers

    @cached_property
    def gradient_bytes(self) -> float:
        """Return the bytes of a cut gradient: of all its numbers, or of those that the activation sends."""
        codec, of_activation = self._compression.codec("gradient"), self._compression.codec("activation")
        if of_activation is not None and of_activation.leaves_out:
            kept = of_activation.kept(self._activation)
            return NUMBER_BYTES * kept.numbers if codec is None else codec.coded_bytes(kept)
        return self.costs.activation_bytes if codec is None else codec.sent_bytes(self._activation)

    @cached_property
    def model_bytes(self) -> float:
        """Return the bytes of what a client pulls, and of what it pushes."""
        return self.bytes_of(self._parts)

    def bytes_of(self, parts: Sequence[str]) -> float:
        """Return the bytes of some parts of the model, sent as one message."""
        codec = self._compression.codec("model")
        held_bytes: float = sum(getattr(self.costs, f"{part}_model_bytes") for part in parts)
        if codec is None:
            return held_bytes
        layouts = [self._layout().parts[part] for part in parts]
        tensors, channels = sum(one.tensors for one in layouts), sum(one.channels for one in layouts)
        return codec.sent_bytes(Message(held_bytes / NUMBER_BYTES, 1, tensors, channels))

    @property
    def _mask_numbers(self) -> int:
        return self._rows * self._layout().mask_numbers

    @property
    def _activation(self) -> Message:
        numbers = self.costs.activation_bytes / NUMBER_BYTES - self._mask_numbers
        return Message(numbers, self._rows, 1, self._layout().channels)


@dataclass(frozen=True)
class Messages:
    """How a variant sends its messages: the codecs, the parts of the model that it sends, the layout."""

    compression: Compression
    parts: tuple[str, ...]
    batch_sizes: int | Sequence[int]
    """Samples of a batch, for each client where they differ."""
    layout: Callable[[int], Layout]
    """By the number of blocks that a client holds."""
    _known: dict[int, Sent] = field(default_factory=dict)

    def sent(self, cut: int, costs: Costs, client: int) -> Sent:
        """Return the bytes of the messages of a client with these costs; clients with the same share them."""
        known = self._known.get(id(costs))
        if known is None:
            layout, sizes = self.layout, self.batch_sizes
            rows = sizes if isinstance(sizes, int) else sizes[client]
            known = self._known[id(costs)] = Sent(
                costs, self.compression, self.parts, rows, lambda: layout(cut)
            )
        return known
