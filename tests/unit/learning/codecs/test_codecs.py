"""Codecs bit for bit against an independent reading, by hand where it can be done, and in their bytes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle.references import codecs as ref
from pydantic import TypeAdapter

from sflsim.learning.codecs.base import CODEC, Codec, Draws, Message
from sflsim.learning.codecs.quantize import Quantize
from sflsim.learning.codecs.top_k import TopK
from sflsim.learning.received import message
from sflsim.streams import seed_of

READ: TypeAdapter[Any] = TypeAdapter(Annotated[Any, CODEC])
KEY = ("test", 7)
SHAPES = [(4, 6), (3, 2, 5), (2, 3, 4, 4), (1, 1)]


def codec(value: Any) -> Codec:
    """Return the codec that a scenario would name so."""
    found: Codec = READ.validate_python(value)
    return found


def numbers(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def uniform(*shapes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """Return the draws of a message in turn, made anew from its key."""
    source = torch.Generator().manual_seed(seed_of(KEY))
    return [torch.rand(shape, generator=source).numpy() for shape in shapes]


def sent(one: Codec, x: torch.Tensor) -> torch.Tensor:
    """Return what arrives of a message."""
    draws = Draws(KEY)
    return message(one, x, one.places(x, draws), draws)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bits", range(2, 9))
def test_quantize_bit_for_bit(bits: int, shape: tuple[int, ...]) -> None:
    """Per tensor and per channel, rounded to the nearest level and by draws."""
    x = numbers(shape)
    for per in ("tensor", "channel"):
        for rounding in ("nearest", "stochastic"):
            found = sent(codec({"kind": "quantize", "bits": bits, "per": per, "rounding": rounding}), x)
            draws = uniform(shape)[0] if rounding == "stochastic" else None
            expected = ref.quantized(x.numpy(), bits, per == "channel", draws)
            assert found.numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_casts_bit_for_bit(shape: tuple[int, ...]) -> None:
    """Against numpy's half precision, and the upper half of a float32's bits."""
    x = numbers(shape) * 100

    assert sent(codec("fp16"), x).numpy().tobytes() == ref.half(x.numpy()).tobytes()
    assert sent(codec("bf16"), x).numpy().tobytes() == ref.brain(x.numpy()).tobytes()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
def test_top_k_bit_for_bit(share: float, shape: tuple[int, ...]) -> None:
    """Each row keeps its largest; equal ones (zeros, as after ReLU) from the first."""
    x = numbers(shape).relu()
    expected = ref.kept(x.numpy(), ref.top_places(x.numpy(), share))

    assert sent(TopK(keep=share), x).numpy().tobytes() == expected.tobytes()


def test_values_of_top_k_in_a_second_codec() -> None:
    """The numbers that are sent are quantized among themselves: of this row 0, -4 and 3 in 4 levels."""
    x = torch.tensor([[1.0, -4.0, 0.5, 3.0, -1.5]])
    found = sent(codec({"kind": "top-k", "keep": "60%", "values": "int2"}), x)
    step = np.float32(7.0) / np.float32(3.0)

    assert found.tolist() == [
        [0.0, -4.0, 0.0, float(np.float32(-4) + 3 * step), float(np.float32(-4) + step)]
    ]


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_rand_top_k_draws_places(alpha: float) -> None:
    """k places of each row, all different; a share alpha of them outside the top k, each of these alike."""
    x = torch.arange(1.0, 21.0).repeat(3000, 1)  # the top 4 of each row: places 16 to 19
    places = TopK(keep=0.2, random=alpha).places(x, Draws(KEY))
    outside = places < 16
    counts = torch.bincount(places[outside], minlength=16)[:16].float()

    assert places.shape == (3000, 4)
    assert (places.sort(dim=1).values.diff(dim=1) > 0).all()
    assert float(outside.float().mean()) == pytest.approx(alpha, abs=0.015)  # 5 standard deviations
    assert float((counts / counts.mean() - 1).abs().max()) < 5 / counts.mean().sqrt()


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.integers(2, 8))
def test_quantize_errs_by_half_a_level(values: list[float], bits: int) -> None:
    """Nearest: half a level at most; stochastic: a level; beside float32's rounding."""
    x = torch.tensor([values])
    level = float(x.max() - x.min()) / (2**bits - 1)
    rounding = 4e-7 * float(x.abs().max())
    near = Quantize(bits=bits).coded(x, Draws(KEY))
    drawn = Quantize(bits=bits, rounding="stochastic").coded(x, Draws(KEY))

    assert float((near - x).abs().max()) <= level / 2 + rounding + 1e-5 * level
    assert float((drawn - x).abs().max()) <= level * 1.0001 + rounding


def test_stochastic_rounding_keeps_the_mean() -> None:
    """0.3 of the way from one level to the next is rounded up in 30 % of the draws, to 5 deviations."""
    x = torch.full((1, 1, 40_000), 0.3)
    x[0, 0, 0], x[0, 0, 1] = 0.0, 3.0
    found = Quantize(bits=2, rounding="stochastic").coded(x, Draws(KEY))[0, 0, 2:]

    assert set(found.tolist()) == {0.0, 1.0}
    assert float(found.mean()) == pytest.approx(0.3, abs=5 * (0.21 / 40_000) ** 0.5)


def test_equal_numbers_arrive_as_they_are() -> None:
    """A range of zero has one level."""
    x = torch.full((3, 2), 1.7)
    for per in ("tensor", "channel"):
        assert torch.equal(Quantize(bits=4, per=per).coded(x, Draws(KEY)), x)  # type: ignore[arg-type]


def test_what_is_not_finite_stays_so() -> None:
    """A NaN or an infinite number makes a message not finite: a run that diverges is seen to."""
    for value in (float("nan"), float("inf")):
        x = torch.tensor([[1.0, value, 2.0]])
        for word in ("fp16", "bf16", "int8", {"kind": "top-k", "keep": "40%"}):
            assert not sent(codec(word), x).isfinite().all()


@pytest.mark.parametrize(
    ("value", "message_", "expected"),
    [
        ("fp16", Message(100, 4), 200),
        ("bf16", Message(101, 1), 202),
        ("int8", Message(100, 4), 100 + 8),
        ("int4", Message(101, 1), 51 + 8),  # 50.5 byte
        ("int3", Message(100, 1, tensors=3), 38 + 24),
        ({"kind": "quantize", "bits": 2, "per": "channel"}, Message(64, 4, channels=16), 16 + 128),
        # 10 of 100 per row: 10 x 7 bits < 100 bits; 4 rows: 280 bits = 35 byte
        ({"kind": "top-k", "keep": "10%"}, Message(400, 4), 4 * 10 * 4 + 35),
        # 50 of 100 per row: a bitmap of 100 bits < 50 x 7
        ({"kind": "top-k", "keep": "50%"}, Message(400, 4), 4 * 50 * 4 + 50),
        ({"kind": "top-k", "keep": "10%", "values": "int8"}, Message(400, 4), 40 + 8 + 35),
        ({"kind": "top-k", "keep": "0.1%"}, Message(400, 4), 4 * 4 + 4),  # one of each row: 7 bits each
        ({"kind": "top-k", "keep": "100%", "values": "fp16"}, Message(400, 4), 800),  # no places to tell
    ],
    ids=str,
)
def test_bytes_by_hand(value: Any, message_: Message, expected: float) -> None:
    """Numbers, ranges and places; a message ends with a whole byte."""
    assert codec(value).sent_bytes(message_) == expected


@pytest.mark.parametrize(
    ("value", "half"),
    [
        ("int8", "int4"),
        ("int4", "int2"),
        ("int5", "int2"),
        ("int3", None),
        ("int2", None),
        ("fp16", "int8"),
        ({"kind": "top-k", "keep": 0.1}, {"kind": "top-k", "keep": 0.05}),
    ],
    ids=str,
)
def test_half_the_bits(value: Any, half: Any) -> None:
    """What `explain` tries: half the bits of a level, half the share of top-k."""
    assert codec(value).halved() == (None if half is None else codec(half))


def test_words_and_mappings_are_one() -> None:
    """int8 is {kind: quantize, bits: 8}; what does nothing is none."""
    assert codec("int8") == codec({"kind": "quantize", "bits": 8}) == Quantize()
    nothing = ["none", None, {"kind": "quantize", "bits": 32}, {"kind": "top-k", "keep": "100%"}]
    assert [READ.validate_python(one) for one in nothing] == [None] * 4


@pytest.mark.parametrize("value", ["fp16", "int8", {"kind": "top-k", "keep": 0.1, "values": "int8"}], ids=str)
def test_a_frozen_part_sends_nothing(value: Any) -> None:
    """It has no numbers, so neither places nor ranges."""
    assert TypeAdapter(Annotated[Any, CODEC]).validate_python(value).sent_bytes(Message(0.0, 1, 0, 0)) == 0.0
