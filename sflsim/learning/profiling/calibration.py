"""How fast this machine runs parts of networks: measured, not derived.

Each part (every block, each cut's two parts, the whole) is timed in three kinds of work: a forward
pass; a backward pass with its SGD step; and a zeroth-order step, that is drawing a direction, two
forward passes of moved parameters and moving them back. Their FLOP and kinds are those that the clock
charges, derived as costs are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sflsim.learning.network.modes import Training
from sflsim.learning.network.split import Part
from sflsim.learning.profiling.places import WORKS, Place, Work, forward_pass
from sflsim.learning.zeroth_order import Directions, two_sided

Clock = Literal["wall", "cpu"]
Run = Callable[[], object]
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
    """By kind (see `sflsim.work`)."""
    seconds: tuple[float, ...]
    """Of every repetition, in the order made."""
    batch_size: int = 0
    blocks: tuple[str, ...] = ()
    network: str = ""
    """Of the small networks that rates are fitted to; empty for the workload's own."""

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


@dataclass
class _Timed:
    """Work that is measured again and again; `prepare` makes it ready and returns it."""

    place: Place
    work: Work
    prepare: Callable[[], Run]
    seconds: list[float] = field(default_factory=list)

    def measured(self, threads: int) -> Measured:
        """Return what was measured."""
        place, seconds = self.place, tuple(self.seconds)
        about = (len(place.x), place.blocks, place.network)
        return Measured(place.name, self.work, threads, place.flop[self.work], seconds, *about)


def measure(
    places: Iterable[Place],
    *,
    threads: Sequence[int] = (1,),
    repeat: int = REPEAT,
    rest_s: float = REST_S,
    clock: Clock = "wall",
) -> list[Measured]:
    """Measure parts of networks on this machine's CPU, with each number of threads.

    `clock`: seconds that pass ("wall"), or those that the calling thread computes ("cpu", for one thread
    on a busy machine). One repetition goes over all parts, so that a disturbance spreads over them.
    """
    places, found = list(places), []
    for number in threads:
        with _threads(number):
            timed = [_Timed(place, work, _prepared(place, work)) for place in places for work in WORKS]
            for one in timed:
                for _ in range(WARM_UP):
                    one.prepare()()
            for _ in range(repeat):
                for one in timed:
                    one.seconds.append(_time(one.prepare(), rest_s, clock))
            found += [one.measured(number) for one in timed]
    return found


def _prepared(place: Place, work: Work) -> Callable[[], Run]:
    """Return what prepares one measurement and returns the work to be timed."""
    part, x = place.part, place.x
    flat = part.initial()[None].clone()  # [1, d]
    if work == "forward":
        return lambda: lambda: forward_pass(part, flat, x)
    if work == "backward":
        return lambda: _backward(place, flat)
    return lambda: lambda: _zeroth_order_step(part, flat, x)


def _backward(place: Place, flat: Tensor) -> Run:
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
