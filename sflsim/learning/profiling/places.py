"""Parts of networks as they are measured: each with its input and the work that the clock charges for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sflsim.learning.config import Workload
from sflsim.learning.network.split import Part
from sflsim.learning.profiling.measure import work_flop
from sflsim.learning.task import build_blocks, built
from sflsim.work import moved

Work = Literal["forward", "backward", "zeroth-order step"]
Blocks = Sequence[tuple[str, nn.Module]]
Span = tuple[str, int, int]
"""Name of a part, number of its first block, and of the first behind it."""
WORKS: tuple[Work, ...] = get_args(Work)


@dataclass(frozen=True)
class Place:
    """A part of a network, a batch of its input, and whether a backward pass goes on below it."""

    name: str
    part: Part
    x: Tensor
    inner: bool
    flop: dict[Work, float]
    network: str = ""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Return the names of its blocks."""
        return tuple(name for name, _ in self.part.blocks)


def of_workload(
    workload: Workload, batch_size: int, cuts: Sequence[int] | None = None, blocks: bool = True
) -> Iterator[Place]:
    """Yield the parts of a workload's network; `cuts`: numbers of blocks of the client, all by default."""
    shape, classes = workload.dataset.sample_shape, workload.dataset.classes
    cut = workload.cut if isinstance(workload.cut, int) else 1
    network = build_blocks(workload.model, shape, classes, 0, cut)
    with torch.device("meta"):
        weightless = built(workload.model, shape, classes, cut)
    end = len(network)
    spans = [
        (f"block {name}", number, number + 1) for number, (name, _) in enumerate(network if blocks else [])
    ]
    for number in range(1, end) if cuts is None else cuts:
        spans += [(f"client {number}", 0, number), (f"server {number}", number, end)]
    yield from parts(network, weightless, _input(workload, batch_size), [*spans, ("whole", 0, end)])


def of_networks(
    networks: Mapping[str, tuple[Callable[[], Blocks], tuple[int, ...]]], batch_sizes: Sequence[int]
) -> Iterator[Place]:
    """Yield every block, and the whole, of networks given by what builds them and a sample's shape."""
    for name, (build, shape) in networks.items():
        network = build()
        with torch.device("meta"):
            weightless = build()
        alone = [(block, number, number + 1) for number, (block, _) in enumerate(network)]
        for size in batch_sizes:
            x = torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))
            yield from parts(network, weightless, x, [*alone, ("whole", 0, len(network))], name)


def parts(
    network: Blocks, weightless: Blocks, x: Tensor, spans: Iterable[Span], name: str = ""
) -> Iterator[Place]:
    """Yield parts of a network, each with its input where the network's is `x` [B, ...].

    `weightless` is the same network on the meta device.
    """
    inputs = [x]
    for block in network:
        inputs.append(forward_pass(Part([block]), Part([block]).initial()[None], inputs[-1]))
    for part, first, end in spans:
        z, inner = inputs[first], first > 0
        forward, backward = work_flop(Part(weightless[first:end]), z, inner)
        flop = dict(zip(WORKS, (forward, backward, 2 * moved(forward)), strict=True))
        yield Place(part, Part(network[first:end]), z, inner, flop, name)


def _input(workload: Workload, batch_size: int) -> Tensor:
    """Return a batch of noise, or of one and the same token."""
    shape = (batch_size, *workload.dataset.sample_shape)
    if getattr(workload.dataset, "sample_dtype", "float32") == "int64":
        return torch.ones(shape, dtype=torch.int64)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def forward_pass(part: Part, flat: Tensor, x: Tensor) -> Tensor:
    """Return the output [B, ...] of parameters [1, d]."""
    with torch.no_grad():
        return part.apply(part.views(flat), x)
