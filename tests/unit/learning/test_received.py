"""What arrives of stacked activations, their gradients and models, message by message."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from sflsim.learning import received
from sflsim.learning.codecs.base import Codec, Draws
from sflsim.learning.codecs.top_k import TopK
from sflsim.learning.compression import Compression
from sflsim.learning.graph.fingerprint import of_code

KEYS = [(0, "compression", client, 5) for client in range(3)]
STOCHASTIC = {"kind": "quantize", "bits": 3, "rounding": "stochastic"}


def compression(**codecs: Any) -> Compression:
    return Compression.model_validate(codecs)


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def crossed(z: Tensor, one: Compression, has_mask: bool = False, **options: Any) -> Tensor:
    return received.activations(z, received.Crossing(one, KEYS[: len(z)], has_mask), **options)


@pytest.mark.parametrize("word", ["int4", STOCHASTIC, {"kind": "top-k", "keep": 0.3, "random": 0.2}], ids=str)
@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 3), (2, 3, 4, 4)], ids=str)
def test_each_message_is_its_own(word: Any, shape: tuple[int, ...]) -> None:
    """Stacked or alone, with gradients on or off, a participant's message arrives as the same numbers."""
    one, z = compression(activation=word), numbers(3, *shape)
    together = crossed(z, one)
    with torch.no_grad():
        alone = [
            received.activations(z[i : i + 1], received.Crossing(one, KEYS[i : i + 1]))[0] for i in range(3)
        ]

    assert together.shape == z.shape
    assert torch.equal(together, torch.stack(alone))


def test_the_gradient_passes_straight_through() -> None:
    """Without a codec of its own, all of it; with one, what arrives of each participant's own."""
    z, g = numbers(3, 4, 6).requires_grad_(), numbers(3, 4, 6) * 2
    (plain,) = torch.autograd.grad(crossed(z, compression(activation="int2")), z, g)
    (coded,) = torch.autograd.grad(crossed(z, compression(gradient="int4")), z, g)

    assert torch.equal(plain, g)
    assert torch.equal(coded, crossed(g, compression(activation="int4")))
    assert torch.equal(crossed(z, compression(gradient="int4")), z)


@pytest.mark.parametrize("gradient", ["none", "int8"])
def test_the_gradient_of_top_k_is_sent_at_its_places(gradient: str) -> None:
    """Zero elsewhere; also where a number that is sent is zero itself."""
    z = numbers(2, 4, 6).relu().requires_grad_()
    g = torch.ones(2, 4, 6)
    one = compression(activation={"kind": "top-k", "keep": 0.5}, gradient=gradient)
    (back,) = torch.autograd.grad(crossed(z, one), z, g)

    assert (back.flatten(2).count_nonzero(dim=2) == 3).all()
    assert set(back.unique().tolist()) == {0.0, 1.0}


def test_a_share_is_taken_out_before_the_codec() -> None:
    """What is sent is the gradient of one's own loss: in half precision 1e-8 of it would be zero."""
    z, g = numbers(2, 4, 6).requires_grad_(), numbers(2, 4, 6)
    shares = torch.tensor([1e-8, 0.5])
    scaled = g * shares[:, None, None]
    one = compression(gradient="fp16")
    (back,) = torch.autograd.grad(crossed(z, one, shares=shares), z, scaled)
    (lost,) = torch.autograd.grad(crossed(z, one), z, scaled)

    torch.testing.assert_close(back, scaled, rtol=1e-3, atol=0.0)
    assert not lost[0].any()


def test_a_batch_has_one_draw() -> None:
    """z+ and z- are rounded alike: equal numbers stay equal, and their difference has no noise of its own."""
    z = numbers(1, 4, 6)
    one = compression(activation=STOCHASTIC)

    assert torch.equal(crossed(z, one), crossed(z.clone(), one))
    other = received.Crossing(one, KEYS[1:2])
    assert not torch.equal(crossed(z, one), received.activations(z, other))


def test_a_mask_travels_beside() -> None:
    """The last channel of text stays as it is, is in no range, and has no gradient."""
    mask = torch.tensor([1.0, 1.0, 0.0]).expand(2, 4, 3)[..., None]
    z = torch.cat([numbers(2, 4, 3, 5) * 0.01, mask], dim=-1).requires_grad_()
    one = compression(activation="int8", gradient="int8")
    arrived = crossed(z, one, has_mask=True)
    (back,) = torch.autograd.grad(arrived, z, numbers(2, 4, 3, 6))

    assert torch.equal(arrived[..., -1:], mask)
    torch.testing.assert_close(arrived[..., :-1], z[..., :-1].detach(), rtol=0.0, atol=2e-4)
    assert not back[..., -1].any()


def test_channels_have_ranges_of_their_own() -> None:
    """Of images the second axis, else the last: channels of very different sizes all arrive."""
    scales = torch.tensor([1e-3, 1.0, 1e3])
    per_channel = compression(activation={"kind": "quantize", "bits": 8, "per": "channel"})
    for z in (numbers(1, 4, 3) * scales, numbers(1, 2, 5, 3) * scales):
        torch.testing.assert_close(crossed(z, per_channel) / scales, z / scales, rtol=0.0, atol=0.02)
    images = numbers(1, 2, 3, 4, 4) * scales[:, None, None]
    error = (crossed(images, per_channel) - images) / scales[:, None, None]
    assert float(error.abs().max()) < 0.02


def test_code_of_a_codec_within_another_counts() -> None:
    """Two codecs of the values that top-k sends, alike but for their code, are two settings of learning."""

    def halving() -> Codec:
        class Own(Codec):
            kind: Literal["own"] = "own"

            def coded(self, x: Tensor, draws: Draws) -> Tensor:
                return x / 2

        return Own()

    def doubling() -> Codec:
        class Own(Codec):
            kind: Literal["own"] = "own"

            def coded(self, x: Tensor, draws: Draws) -> Tensor:
                return x * 2

        return Own()

    outer = [TopK.model_construct(keep=0.5, values=codec) for codec in (halving(), doubling(), halving())]
    halved, doubled, again = map(of_code, outer)
    assert halved == again != doubled
    assert repr(outer[0]) == repr(outer[1])
