"""Quantities: text becomes a float in a base unit, or one mistake that says how to spell it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from support import within_bounds

import sflsim
from sflsim.errors import ScenarioError
from sflsim.fields import Fraction, Power
from sflsim.fleet.distributions.amounts import Amount, AmountOf
from sflsim.planner.space import size_of
from sflsim.retime.scaling import scaled
from sflsim.scenario.plan_values import number_of
from sflsim.unit_spellings import SPELLINGS
from sflsim.units import BASE_UNITS, NoQuantity, measure, parse, registry, split

ACCEPTED = [
    ("23 dBm", "W", 10**-0.7),  # 10^(23/10) mW
    ("30dBm", "W", 1.0),
    ("0 dBm", "W", 1e-3),
    ("-3 dBW", "W", 10**-0.3),
    ("-174 dBm/Hz", "W/Hz", 10**-20.4),
    ("-114 dBm/MHz", "W/Hz", 10**-20.4),
    ("128.1 dB", "dB", 128.1),
    ("10 Mbps", "byte/s", 1.25e6),
    ("10 kB/s", "byte/s", 1e4),
    ("10 MBps", "byte/s", 1e7),
    ("10 Mbit / s", "byte/s", 1.25e6),
    ("10\u00a0Mbit per s", "byte/s", 1.25e6),
    ("2 Gibit/s", "byte/s", 2**28),
    ("16 GFLOPS", "FLOP/s", 1.6e10),
    ("16 MFLOPS", "FLOP/s", 1.6e7),
    ("16 GFLOPs", "FLOP", 1.6e10),
    ("3 GB", "byte", 3e9),
    ("3 GiB", "byte", 3 * 2**30),
    ("5 min", "s", 300.0),
    ("5 µs", "s", 5e-6),  # the sign for micro, and the Greek letter
    ("5 μs", "s", 5e-6),
    ("5 m", "km", 0.005),
    ("5 MHz", "Hz", 5e6),
    ("15 Wh", "J", 54000.0),
    (".5 s", "s", 0.5),
    ("-0 s", "s", 0.0),
]
REFUSED = [
    ("23 dB", "W", "not proportional", "write it in W"),
    ("23 dbm", "W", "unknown unit 'dbm'", "'dBm'"),
    ("23 dBm", "byte", "not proportional", "write it in byte"),
    ("5 dBu", "W", "not proportional", "write it in W"),
    ("5 Np", "dB", "not proportional", "write it in dB"),
    ("50 %", "dB", "another unit", ""),
    ("20 degC", "W", "not proportional", "write it in W"),
    ("-174 dBm", "W/Hz", "", ""),
    ("10 mbit/s", "byte/s", "a part of a bit", "did you mean 'Mbit/s'?"),
    ("10 millibit/s", "byte/s", "a part of a bit", "write it in byte/s"),
    ("10 µbit/s", "byte/s", "a part of a bit", ""),
    ("10 mbps", "byte/s", "a part of a bit/s", "'Mbit/s'"),
    ("10 mBd", "byte/s", "a part of a bit/s", ""),
    ("10 Kbps", "byte/s", "unknown unit", "'kbit/s'"),
    ("3 mB", "byte", "a part of a byte", "'MB'"),
    ("3 cbyte", "byte", "a part of a byte", ""),
    ("5 mFLOP", "FLOP", "a part of a FLOP", "'MFLOP'"),
    ("5 mFLOP/s", "FLOP/s", "a part of a FLOP", "'MFLOP/s'"),
    ("5 mHz", "Hz", "a part of a hertz", "'MHz'"),
    ("10 mb/s", "byte/s", "another unit", "'Mbit/s' or 'MB/s'"),
    ("3 Gb", "byte", "another unit", "'Gbit' or 'GB'"),
    ("3 KB", "byte", "unknown unit", "'kB'"),
    ("3 kiB", "byte", "unknown unit", "'KiB'"),
    ("5 m", "s", "another unit", "'min' or 'ms'"),
    ("5 M", "byte/s", "another unit", "'Mbit/s'"),
    ("5 Mbit", "byte/s", "another unit", "'Mbit/s'"),
    ("16 GFLOPS", "FLOP", "another unit", "'GFLOP'"),
    ("16 gflops", "FLOP/s", "unknown unit", "'GFLOP/s'"),
    ("12,5 s", "s", "no number", "write '12.5 s'"),
    ("1,250 s", "s", "no number", "write '1250 s' or '1.250 s'"),
    ("1,250,000 byte", "byte", "no number", "write '1250000 byte'"),
    ("1.250,5 s", "s", "no number", "write '1250.5 s'"),
    ("1 000 s", "s", "no number", "write '1000 s'"),
    ("1_000 s", "s", "no number", "write '1000 s'"),
    ("1e400 s", "s", "not finite", ""),
    ("1e-400 s", "s", "too small", ""),
    ("4000 dBm", "W", "not finite", ""),
    ("nan s", "s", "no number", ""),
    ("inf s", "s", "no number", ""),
    ("\u0661\u0660 s", "s", "no number", ""),
    ("5", "s", "no unit", ""),
]


@pytest.mark.parametrize(("text", "unit", "value"), ACCEPTED)
def test_read_as_what_it_is(text: str, unit: str, value: float) -> None:
    found = parse(text, unit)
    assert found == pytest.approx(value, rel=1e-12)
    assert math.copysign(1, found) == 1
    assert measure(text, BASE_UNITS) == (found, unit)


@pytest.mark.parametrize(("text", "unit", "reason", "remedy"), REFUSED)
def test_refused_with_the_right_spelling(text: str, unit: str, reason: str, remedy: str) -> None:
    with pytest.raises(NoQuantity) as caught:
        parse(text, unit)
    assert reason in str(caught.value)
    assert remedy in caught.value.remedy


TEXTS = st.one_of(
    st.text(max_size=12),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["1", "2.5", "1e3", "-0", "1e400", "1,5", "\u0663", ""]),
        st.sampled_from([" ", "", "\u00a0"]),
        st.text(alphabet="sbBMkmGidHzFLOPWJ%/*(){}[]\"'\\^0123456789µ°. -+_#:=\n", max_size=8),
    ),
    st.sampled_from(["1 if", "1 lambda", "1 None", "1 dB/dB", "1 degC/s", "1 delta_degC", "1 pi", "1 W*Np"]),
)


@example("2 s)")
@example("1 {")
@example("2 s/0")
@example('1 """')
@given(TEXTS)
def test_any_text_is_a_value_or_a_mistake(text: str) -> None:
    """Every reader of quantities, whatever the text."""
    read_by_all(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS)
def test_20000_texts(text: str) -> None:
    """The same, and none takes more time or memory than the bounds."""
    with within_bounds():
        read_by_all(text)


def read_by_all(text: str) -> None:
    """Let every reader of quantities read a text."""
    for unit in BASE_UNITS:
        with suppress(NoQuantity):
            assert math.isfinite(parse(text, unit))
    for reader in (TypeAdapter(Power), TypeAdapter(Fraction)):
        with suppress(ValidationError):
            reader.validate_python(text)
    with suppress(ValueError):  # pydantic's custom error is one
        assert isinstance(AmountOf().read(text), Amount)
    number_of(text)
    assert size_of(text) is None or math.isfinite(size_of(text) or 0.0)
    scaled(text, 2.0)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(BASE_UNITS))
def test_what_is_written_is_read_to_the_same_float(value: float, unit: str) -> None:
    assert parse(f"{value!r} {unit}", unit) == value
    assert split(repr(value)) == (value, "")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("70", "did you mean '70%'?"),
        (70, "'70%'"),
        ("0,7", "write '0.7'"),
        ("\u0667%", ""),
        ("nan%", ""),
        ("1_0%", ""),
    ],
)
def test_shares(value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Fraction).validate_python(value)
    assert words in str(caught.value.errors()[0]["ctx"])


def test_readers_agree() -> None:
    """A level in dBm is ordered and scaled by its power."""
    assert size_of("23 dBm") == parse("23 dBm", "W")
    assert scaled("20 dBm", 2.0) == "0.2 W"
    assert scaled("2 s", 3.0) == "6.0 s"
    assert size_of("70%") == 70
    assert number_of("10 rounds") == (10.0, "rounds")
    assert AmountOf().read("16 GFLOPS") == 1.6e10


SHANNON = """
name: levels
workload: {dataset: digits, model: mlp}
fleet:
  clients: 1
  groups:
    - device: {compute: 16 GFLOPS, power: {idle: 0.1 W, compute: %s}}
      link: wifi
variants: [splitfed-v1]
stop: {rounds: 1}
"""


def test_in_a_scenario() -> None:
    """The issue's own: 23 dBm are 0.1995 W, and what is refused names the right spelling."""
    device = sflsim.parse_scenario(SHANNON % "23 dBm").fleet.groups[0].device
    assert device.power.compute == pytest.approx(0.19953, rel=1e-4)
    with pytest.raises(ScenarioError, match=r"write '3\.5 W'"):
        sflsim.parse_scenario(SHANNON % "'3,5 W'")


@pytest.mark.parametrize("unit", BASE_UNITS)
def test_usual_units_are_those_of_pint(unit: str) -> None:
    """They are read from a table of our own: the same amounts, without pint's definitions."""
    base, rate = (unit[:-2], "/s") if unit.endswith("/s") else (unit, "")
    names, prefixes = SPELLINGS[base]
    usual = [f"{prefix}{name}{rate}" for prefix in prefixes for name, one in names.items() if one is not None]
    assert usual or unit == "dB"
    for name in usual:
        expected = registry().Quantity(1.0, name).to(unit).magnitude
        assert measure(f"1 {name}", (unit,)) == (pytest.approx(expected, rel=3e-16, abs=0), unit)
