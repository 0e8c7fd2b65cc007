"""How fast this machine runs the parts of a workload's network: measured, not derived.

Each part (every block, each cut's two parts, the whole) is timed in three kinds of work: a forward
pass; a backward pass with its SGD step; and a zeroth-order step, that is drawing a direction, two
forward passes of moved parameters and moving them back. Their FLOP are those that the clock charges,
derived as costs are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from sflsim.learning.config import Workload
from sflsim.learning.network.modes import Training
from sflsim.learning.network.split import Part
from sflsim.learning.profiling.measure import work_flop
from sflsim.learning.task import build_blocks, built
from sflsim.learning.zeroth_order import Directions, two_sided

Work = Literal["forward", "backward", "zeroth-order step"]
Clock = Literal["wall", "cpu"]
Run = Callable[[], object]

WORKS: tuple[Work, ...] = get_args(Work)
REPEAT = 15
WARM_UP = 3
REST_S = 0.05
"""A pause before each measurement, as a device in a round has one while it waits for a message: back to
back, where caches stay warm, the same forward pass took 65 to 70 % of the time (docs/how-to/calibrate.md)."""
TINY = 1e-9  # a step that leaves the parameters about where they are


@dataclass(frozen=True)
class Measured:
    """One kind of work on one part of the network with one number of threads."""

    part: str
    """"block <name>", "client <cut>", "server <cut>" or "whole"."""
    work: Work
    threads: int
    flop: float
    seconds: tuple[float, ...]
    """Of every repetition, in the order made."""

    @property
    def median_s(self) -> float:
        """Return the median of its repetitions."""
        return float(np.median(self.seconds))

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """Return the bounds between which half of the repetitions lie."""
        low, high = np.quantile(self.seconds, [0.25, 0.75])
        return float(low), float(high)

    @property
    def flop_per_s(self) -> float:
        """Return the effective rate; 0 for work without matrix products or convolutions."""
        return self.flop / self.median_s if self.flop else 0.0


@dataclass(frozen=True)
class _Place:
    """A part of the network, a batch of its input, and whether a backward pass goes on below it."""

    name: str
    part: Part
    x: Tensor
    inner: bool
    flop: dict[Work, float]


@dataclass
class _Timed:
    """Work that is measured again and again; `prepare` makes it ready and returns it."""

    name: str
    work: Work
    prepare: Callable[[], Run]
    flop: float
    seconds: list[float] = field(default_factory=list)


def measure(
    workload: Workload,
    *,
    cuts: Sequence[int] | None = None,
    blocks: bool = True,
    threads: Sequence[int] = (1,),
    repeat: int = REPEAT,
    rest_s: float = REST_S,
    clock: Clock = "wall",
) -> list[Measured]:
    """Measure a workload's network on this machine's CPU, with each number of threads.

    `cuts`: numbers of blocks of the client (all by default). `clock`: seconds that pass ("wall"), or
    those that the calling thread computes ("cpu", for one thread on a busy machine). One repetition
    goes over all parts, so that a disturbance spreads over them.
    """
    places = list(_places(workload, cuts, blocks))
    found = []
    for number in threads:
        with _threads(number):
            timed = [
                _Timed(one.name, work, _prepared(one, work), one.flop[work])
                for one in places
                for work in WORKS
            ]
            for one in timed:
                for _ in range(WARM_UP):
                    one.prepare()()
            for _ in range(repeat):
                for one in timed:
                    one.seconds.append(_time(one.prepare(), rest_s, clock))
            found += [Measured(one.name, one.work, number, one.flop, tuple(one.seconds)) for one in timed]
    return found


def _places(workload: Workload, cuts: Sequence[int] | None, blocks: bool) -> Iterator[_Place]:
    """Yield everything that is measured."""
    shape, classes = workload.dataset.sample_shape, workload.dataset.classes
    cut = workload.cut if isinstance(workload.cut, int) else 1
    network = build_blocks(workload.model, shape, classes, 0, cut)
    with torch.device("meta"):
        weightless = built(workload.model, shape, classes, cut)
    inputs = [_input(workload)]
    for block in network:
        inputs.append(_forward(Part([block]), Part([block]).initial()[None], inputs[-1]))

    def place(name: str, first: int, end: int) -> _Place:
        x, inner = inputs[first], first > 0
        forward, backward = map(float, work_flop(Part(weightless[first:end]), x, inner))
        flop = dict(zip(WORKS, (forward, backward, 2 * forward), strict=True))
        return _Place(name, Part(network[first:end]), x, inner, flop)

    for number, (name, _) in enumerate(network if blocks else []):
        yield place(f"block {name}", number, number + 1)
    for number in range(1, len(network)) if cuts is None else cuts:
        yield place(f"client {number}", 0, number)
        yield place(f"server {number}", number, len(network))
    yield place("whole", 0, len(network))


def _input(workload: Workload) -> Tensor:
    """Return a batch of noise, or of one and the same token."""
    shape = (workload.batch_size, *workload.dataset.sample_shape)
    if getattr(workload.dataset, "sample_dtype", "float32") == "int64":
        return torch.ones(shape, dtype=torch.int64)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _prepared(place: _Place, work: Work) -> Callable[[], Run]:
    """Return what prepares one measurement and returns the work to be timed."""
    part, x = place.part, place.x
    flat = part.initial()[None].clone()  # [1, d]
    if work == "forward":
        return lambda: lambda: _forward(part, flat, x)
    if work == "backward":
        return lambda: _backward(place, flat)
    return lambda: lambda: _zeroth_order_step(part, flat, x)


def _forward(part: Part, flat: Tensor, x: Tensor) -> Tensor:
    """Return the output [B, ...] of parameters [1, d]."""
    with torch.no_grad():
        return part.apply(part.views(flat), x)


def _backward(place: _Place, flat: Tensor) -> Run:
    """Make the forward pass; return the backward pass with its step."""
    leaves = place.part.leaves(flat)
    parameters = place.part.parameters(leaves)
    x = place.x.detach().requires_grad_() if place.inner else place.x
    out = place.part.apply(leaves, x, Training(0, [[("calibrate",)]]))
    if not out.requires_grad:
        return lambda: None
    wanted, above = [*parameters, x] if place.inner else parameters, torch.ones_like(out)

    def run() -> None:
        gradients = torch.autograd.grad(out, wanted, above, allow_unused=True)
        with torch.no_grad():
            for leaf, gradient in zip(parameters, gradients[: len(parameters)], strict=True):
                if gradient is not None:
                    leaf.add_(gradient, alpha=-TINY)

    return run


def _zeroth_order_step(part: Part, flat: Tensor, x: Tensor) -> None:
    direction = Directions([("calibrate",)], part.dimension, "sphere", spans=part.spans)
    with torch.no_grad():
        two_sided(lambda moved: part.apply(part.views(moved), x), flat, direction, TINY)
        direction.add_(flat, -TINY)


def _time(run: Run, rest_s: float, clock: Clock) -> float:
    """Return the seconds that the work takes after a rest."""
    read = time.perf_counter if clock == "wall" else time.thread_time
    time.sleep(rest_s)
    started = read()
    run()
    return read() - started


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
