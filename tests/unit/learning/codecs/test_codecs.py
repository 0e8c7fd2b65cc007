"""Codecs bit for bit against an independent reading, by hand where it can be done, and in their bytes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle.references import codecs as ref
from pydantic import TypeAdapter
from torch import nn

from sflsim.learning import received
from sflsim.learning.codecs.base import CODEC, Codec, Draws, Message
from sflsim.learning.codecs.quantize import Quantize
from sflsim.learning.codecs.top_k import TopK
from sflsim.learning.network.split import Part
from sflsim.learning.received import message

READ: TypeAdapter[Any] = TypeAdapter(Annotated[Any, CODEC])
KEY = ("test", 7)
SHAPES = [(4, 6), (3, 2, 5), (2, 3, 4, 4), (1, 1)]


def codec(value: Any) -> Codec:
    """Return the codec that a scenario would name so."""
    found: Codec = READ.validate_python(value)
    return found


def numbers(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def sent(one: Codec, x: torch.Tensor) -> torch.Tensor:
    """Return what arrives of a message."""
    draws = Draws(KEY)
    return message(one, x, one.places(x, draws), draws)


def on_a_grid(shape: tuple[int, ...], levels: int) -> torch.Tensor:
    """Return quarters of levels of 1/8 from -3 on, each channel from end to end: float32 is exact."""
    source = torch.Generator().manual_seed(1)
    quarters = torch.randint(0, 4 * levels + 1, shape, generator=source)
    quarters[0], quarters[-1] = 0, 4 * levels
    return quarters / 32 - 3


def same_levels(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Assert equality to float32's rounding of low + code * step, 1e-6; a level is 4e-3 of the range."""
    assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_quantize_bit_for_bit(bits: int, per: str, rounding: str) -> None:
    """Where levels are float32 numbers, to the bit, halves between two of them too; else the same levels."""
    one = codec({"kind": "quantize", "bits": bits, "per": per, "rounding": rounding})
    told = ref.Codec("quantize", bits, per)
    for shape in ((4, 6), (2, 3, 4, 4)):
        draws = Draws(KEY).uniform(torch.empty(shape)) if rounding == "stochastic" else None
        drawn = None if draws is None else draws.reshape(-1).tolist()
        even, any_ = on_a_grid(shape, 2**bits - 1), numbers(shape)

        assert torch.equal(sent(one, even), ref.activation(told, even, drawn))
        same_levels(sent(one, any_), ref.activation(told, any_, drawn))


HARD = [
    0.0,
    -0.0,
    1 + 2**-11,
    1 + 3 * 2**-11,
    1 + 2**-8,
    1 + 3 * 2**-8,
    65504,
    65519,
    65520,
    -7e4,
    3e-8,
    5e-5,
]
"""Halves between two numbers of 11 or 8 bits, both ends of half precision's range, and numbers beyond."""


def test_casts_bit_for_bit() -> None:
    """To the nearest number of 16 bits, of two the even one; beyond 65,504 fp16 is infinite."""
    x = torch.cat([torch.tensor(HARD), numbers((188,)) * 100, numbers((200,), 1) * 1e-6]).view(4, 100)
    for word in ("fp16", "bf16"):
        expected = ref.activation(ref.Codec(word), x)
        assert sent(codec(word), x).numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize("values", [None, "int4", "fp16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", ["0.01", "0.125", "0.5", "1"])
def test_top_k_bit_for_bit(share: str, shape: tuple[int, ...], values: str | None) -> None:
    """Each row keeps its largest, equal ones (zeros, as after ReLU) from the first; values share a range."""
    x = numbers(shape).relu()
    inner = {"int4": ref.Codec("quantize", 4), "fp16": ref.Codec("fp16"), None: None}[values]
    expected = ref.activation(ref.Codec("top-k", keep=Fraction(share), values=inner), x)
    found = sent(TopK.model_validate({"keep": float(share), "values": values}), x)

    assert torch.equal(found == 0, expected == 0)
    same_levels(found, expected)
    assert values == "int4" or torch.equal(found, expected)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("int8", ref.Codec("quantize", 8)),
        ("bf16", ref.Codec("bf16")),
        ({"kind": "quantize", "bits": 3, "per": "channel"}, ref.Codec("quantize", 3, "channel")),
        ({"kind": "top-k", "keep": 0.25}, ref.Codec("top-k", keep=Fraction(1, 4))),
    ],
    ids=["int8", "bf16", "per-channel", "top-k"],
)
def test_a_model_is_one_message(value: Any, told: ref.Codec) -> None:
    """Each tensor or output has a range of its own; top-k picks among the numbers of all parts."""
    parts = [Part([("a", nn.Conv2d(2, 3, 2))]), Part([("b", nn.Linear(4, 5))])]
    sent_ = [(part, numbers((part.size,), i) * 10**i) for i, part in enumerate(parts)]
    tensors = [view for part, flat in sent_ for view in part.views(flat[None])]
    found = received.model(codec(value), sent_, KEY)
    views = [view for (part, _), flat in zip(sent_, found, strict=True) for view in part.views(flat[None])]

    for one, other in zip(views, ref.Wire(model=told).parts(tensors), strict=True):
        same_levels(one, other)


@pytest.mark.parametrize("values", [None, "int3"])
@pytest.mark.parametrize("keep", ["0.01", "0.07", "0.3", "0.9"])
def test_bytes_of_top_k(keep: str, values: str | None) -> None:
    """Of rows of 1 to 700 numbers."""
    one = TopK.model_validate({"keep": float(keep), "values": values})
    told = ref.Codec("top-k", keep=Fraction(keep), values=ref.Codec("quantize", 3) if values else None)
    for n in (1, 2, 3, 64, 65, 700):
        assert one.sent_bytes(Message(7 * n, 7)) == ref.sent_bytes(told, 7, n)


def test_values_of_top_k_in_a_second_codec() -> None:
    """The numbers that are sent are quantized among themselves: of this row 0, -4 and 3 in 4 levels."""
    x = torch.tensor([[1.0, -4.0, 0.5, 3.0, -1.5]])
    found = sent(codec({"kind": "top-k", "keep": "60%", "values": "int2"}), x)
    step = np.float32(7.0) / np.float32(3.0)

    assert found.tolist() == [
        [0.0, -4.0, 0.0, float(np.float32(-4) + 3 * step), float(np.float32(-4) + step)]
    ]


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_rand_top_k_draws_places(alpha: float) -> None:
    """k different places; outside the top k as many as k tosses with alpha give, each of these alike."""
    rows, k, n = 3000, 4, 20
    x = torch.arange(1.0, n + 1).repeat(rows, 1)  # the top 4 of each row: places 16 to 19
    places = TopK(keep=k / n, random=alpha).places(x, Draws(KEY))
    outside = (places < n - k).sum(dim=1)
    shares = {place: alpha * k / (n - k) if place < n - k else 1 - alpha for place in range(n)}

    assert places.shape == (rows, k)
    assert (places.sort(dim=1).values.diff(dim=1) > 0).all()
    for count in range(k + 1):
        p = math.comb(k, count) * alpha**count * (1 - alpha) ** (k - count)
        assert near_share(outside == count, p)
    for place, p in shares.items():
        assert near_share((places == place).any(dim=1), p)


def near_share(happened: torch.Tensor, p: float) -> bool:
    """Return whether a share is within 5 standard deviations of its probability."""
    return abs(float(happened.float().mean()) - p) <= 5 * math.sqrt(p * (1 - p) / len(happened)) + 1e-6


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
