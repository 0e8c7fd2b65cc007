"""The zeroth-order estimator against its theory, and its directions against their promises.

For a quadratic f with gradient g at x the two-sided difference is exact, so an estimate is
(u.g) u. With d parameters and n independent directions the mean of n estimates has the expected
squared error

    sphere of radius sqrt(d):  (d - 1) |g|^2 / n        standard Gaussian:  (d + 1) |g|^2 / n

since E u u^T = I in both cases, |u|^2 = d on the sphere and E (u.g)^2 |u|^2 = (d + 2) |g|^2 for the
Gaussian. Keys are fixed, so a test passes always or never; bounds are 4 standard errors.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sflsim.learning import zeroth_order
from sflsim.learning.models.mlp import MLP
from sflsim.learning.network.split import Part
from sflsim.learning.task import build_blocks
from sflsim.learning.zeroth_order import Direction, Directions, descend_, rate, two_sided
from sflsim.streams import seed_of

KINDS: list[Direction] = ["sphere", "gaussian"]
D = 10
LAM = 0.05


def directions(count: int, size: int, kind: Direction, *key: str | int) -> Directions:
    """Return `count` participants of directions under keys of their own."""
    return Directions([("test", *key, i) for i in range(count)], size, kind)


def unit(count: int, size: int, kind: Direction, *key: str | int) -> Tensor:
    """Return the directions themselves [C, d]."""
    x = torch.zeros(count, size)
    directions(count, size, kind, *key).add_(x, 1.0)
    return x


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def estimates(f: Callable[[Tensor], Tensor], x: Tensor, trials: int, n: int, kind: Direction) -> Tensor:
    """Return the mean of n estimates of f's gradient at x [d], for each trial: a step of rate 1, reversed."""
    start = x.expand(trials, -1).contiguous()
    moved = start.clone()
    descend_(f, moved, [directions(trials, len(x), kind, n, p) for p in range(n)], LAM, 1.0)
    return start - moved


def quadratic(x_CD: Tensor) -> Tensor:
    """x^T A x / 2 + b.x for every i; its gradient at x is A x + b."""
    return ((x_CD @ A) * x_CD).sum(dim=1) / 2 + x_CD @ B


HALF = normal(D, D, seed=1)
A, B, X = (HALF + HALF.T) / 2, normal(D, seed=2), normal(D, seed=3)
GRADIENT = A @ X + B


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 4, 16, 64])
def test_mean_converges_to_the_gradient_at_the_rate_of_theory(kind: Direction, n: int) -> None:
    """The mean of n estimates is unbiased and its squared error is (d -+ 1) |g|^2 / n."""
    trials = 8000 // n
    found = estimates(quadratic, X, trials, n, kind)
    squares = (found - GRADIENT).square().sum(dim=1)
    theory = (D - 1 if kind == "sphere" else D + 1) * float(GRADIENT.square().sum()) / n
    bias, error = found.mean(dim=0) - GRADIENT, found.std(dim=0) / sqrt(trials)

    assert float(squares.mean()) == pytest.approx(theory, abs=4 * float(squares.std()) / sqrt(trials))
    assert bool((bias.abs() < 4 * error).all())


@pytest.mark.parametrize("kind", KINDS)
def test_mean_converges_to_a_networks_gradient(kind: Direction) -> None:
    """The same on the cross entropy of a small network, whose gradient autograd gives."""
    part = Part(build_blocks(MLP(hidden=(3,)), (4,), 3, 0))
    x, y = normal(6, 4, seed=4), torch.arange(6) % 3
    flat = part.initial().double().requires_grad_()
    F.cross_entropy(part.apply(part.views(flat[None]), x), y).backward()
    trials, n = 400, 20

    def loss(x_CD: Tensor) -> Tensor:
        logits = part.forward(part.views(x_CD), x.expand(len(x_CD), *x.shape))
        return (
            F.cross_entropy(logits.flatten(0, 1), y.repeat(len(x_CD)), reduction="none").view(-1, 6).mean(1)
        )

    start = flat.detach().expand(trials, -1).contiguous()
    moved = start.clone()
    descend_(loss, moved, [directions(trials, part.dimension, kind, "mlp", p) for p in range(n)], 1e-4, 1.0)
    squares = (start - moved - flat.grad).square().sum(dim=1)
    theory = (part.dimension + (-1 if kind == "sphere" else 1)) * float(flat.grad.square().sum()) / n

    assert float(squares.mean()) == pytest.approx(theory, abs=4 * float(squares.std()) / sqrt(trials))


def test_steps_average_over_directions_at_one_point() -> None:
    """P estimates make one step with their mean, all taken at the point where the step starts."""
    step = X.repeat(3, 1)
    u = [directions(3, D, "sphere", "P", p) for p in range(5)]
    descend_(quadratic, step, u, LAM, 0.1)

    single = [X.repeat(3, 1) for _ in u]
    for start, of_p in zip(single, u, strict=True):
        descend_(quadratic, start, [of_p], LAM, 0.1)
    torch.testing.assert_close(step, torch.stack(single).mean(dim=0), rtol=1e-6, atol=1e-9)


# Directions.


def test_sphere_has_radius_root_d() -> None:
    """Every sphere direction has the norm sqrt(d)."""
    for size in (1, 2, 1000):
        norms = torch.linalg.vector_norm(unit(50, size, "sphere").double(), dim=1)
        torch.testing.assert_close(
            norms, torch.full((50,), sqrt(size), dtype=torch.float64), rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("kind", KINDS)
def test_directions_have_no_preferred_one(kind: Direction) -> None:
    """The mean of u is 0 and that of u u^T the identity, within 4.5 standard errors of 5,000 draws."""
    u = unit(5000, 6, kind).double()
    products = u.unsqueeze(2) * u.unsqueeze(1)

    assert bool((u.mean(dim=0).abs() < 4.5 * u.std(dim=0) / sqrt(5000)).all())
    spread = products.std(dim=0) / sqrt(5000)
    assert bool(((products.mean(dim=0) - torch.eye(6)).abs() < 4.5 * spread).all())


def test_direction_follows_its_key_alone() -> None:
    """A i's direction is that of its key, whatever the other participants; other keys give others."""
    together = unit(3, 40, "gaussian")
    alone = torch.zeros(1, 40)
    Directions([("test", 1)], 40, "gaussian").add_(alone, 1.0)

    assert torch.equal(together[1], alone[0])
    assert len({tuple(row.tolist()) for row in together}) == 3
    source = torch.Generator().manual_seed(seed_of(("test", 1)))
    assert torch.equal(alone[0], torch.randn(40, generator=source))


# Long directions: drawn again in chunks.

SMALL = 64  # numbers, in place of CHUNK


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeroth_order, "CHUNK", SMALL)


@pytest.mark.parametrize("size", [SMALL + 1, 5 * SMALL, 1000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("small_chunks")
def test_directions_drawn_again_are_the_same(kind: Direction, size: int) -> None:
    """In chunks, a direction is the same each time, has its norm and adds up as one that is kept."""
    u = directions(3, size, kind, "long")
    kept = torch.zeros(3, size)
    u.add_(kept, 1.0)
    x, factors = normal(3, size).float(), torch.tensor([0.5, -2.0, 3.0])
    moved = x.clone()
    u.add_(moved, factors)
    u.add_(moved, 0.25)

    assert torch.equal(kept, unit(3, size, kind, "long"))
    if kind == "sphere":
        assert torch.linalg.vector_norm(kept.double(), dim=1).tolist() == pytest.approx([sqrt(size)] * 3)
    torch.testing.assert_close(moved, x + (factors[:, None] + 0.25) * kept, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_in_chunks_or_at_once_is_the_same(kind: Direction, monkeypatch: pytest.MonkeyPatch) -> None:
    """A direction does not depend on how it is drawn, as long as a chunk is a multiple of 16 numbers."""
    kept = unit(2, 20 * SMALL, kind)
    monkeypatch.setattr(zeroth_order, "CHUNK", SMALL)

    torch.testing.assert_close(unit(2, 20 * SMALL, kind), kept, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", KINDS)
def test_estimates_in_chunks_are_estimates(kind: Direction) -> None:
    """A step along a long direction is the step along the same direction kept whole."""
    size = 300
    x, weights = normal(2, size), normal(size, seed=5)
    moved, u = x.clone(), unit(2, size, kind, "chunks").double()
    descend_(lambda x_CD: (x_CD @ weights).sin(), moved, [directions(2, size, kind, "chunks")], LAM, 0.1)
    plus, minus = ((x + sign * LAM * u) @ weights for sign in (1, -1))
    slopes = (plus.sin() - minus.sin()) / (2 * LAM)

    torch.testing.assert_close(moved, x - 0.1 * slopes[:, None] * u, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [SMALL, zeroth_order.CHUNK], ids=["chunks", "kept"])
@pytest.mark.parametrize("kind", KINDS)
def test_moves_in_place_come_back(chunk: int, kind: Direction, monkeypatch: pytest.MonkeyPatch) -> None:
    """After +lam u, -2 lam u, +lam u a number is off by no more than the rounding of three additions."""
    monkeypatch.setattr(zeroth_order, "CHUNK", chunk)
    x = normal(2, 1000).float()
    moved = x.clone()
    seen: list[Tensor] = []
    two_sided(
        lambda x_CD: seen.append(x_CD.clone()) or x_CD.sum(dim=1), moved, directions(2, 1000, kind), LAM
    )
    u = unit(2, 1000, kind)

    largest = x.abs() + LAM * u.abs()
    assert bool(((moved - x).abs() <= 3 * torch.finfo(torch.float32).eps * largest).all())
    torch.testing.assert_close(seen[0], x + LAM * u)
    torch.testing.assert_close(seen[1], x - LAM * u)


class Draws:
    """Follows the numbers that torch.randn draws: how many at once, how many alive at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.draw = torch.randn
        self.largest = self.alive = self.peak = self.total = 0
        monkeypatch.setattr(torch, "randn", self)

    def __call__(self, *shape: Any, **settings: Any) -> Tensor:
        drawn = self.draw(*shape, **settings)
        self.largest = max(self.largest, drawn.numel())
        self.total += drawn.numel()
        self.alive += drawn.numel()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(drawn, self._gone, drawn.numel())
        return drawn

    def _gone(self, count: int) -> None:
        self.alive -= count


@pytest.mark.usefixtures("small_chunks")
def test_memory_of_a_long_direction_is_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the directions and however many, a step never holds more than one chunk of draws."""
    size, participants, perturbations = 100 * SMALL, 3, 4
    x = torch.zeros(participants, size)
    draws = Draws(monkeypatch)
    u = [directions(participants, size, "sphere", p) for p in range(perturbations)]
    descend_(lambda x_CD: x_CD.sum(dim=1), x, u, LAM, 0.1)

    assert draws.total == 5 * participants * perturbations * size  # its norm, +, -2, +, the step
    assert draws.largest == SMALL
    assert draws.peak == SMALL


def test_seed_order_and_global_state_do_not_matter() -> None:
    """Directions neither read nor move a global generator."""
    torch.manual_seed(1)
    np_state, before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    first = unit(2, 30, "sphere")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == np_state).all()  # noqa: NPY002
    torch.manual_seed(2)

    assert torch.equal(unit(2, 30, "sphere"), first)


@pytest.mark.parametrize(
    ("given", "dimension", "expected"),
    [(None, 4_810, 0.01), (None, 5_000, 0.01), (None, 10_000, 0.005), (0.3, 10_000, 0.3), (None, 0, 0.01)],
)
def test_a_default_rate_falls_with_the_dimension(
    given: float | None, dimension: int, expected: float
) -> None:
    """The usual rate up to a dimension of bound / rate; one that is given is taken as it is."""
    assert rate(given, 0.01, 50.0, dimension) == expected
