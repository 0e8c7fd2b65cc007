"""Profiles against a walk through their pieces: the value, and the time that an amount takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sflsim.fleet.profiles import Profile

STEPS = st.lists(
    st.tuples(st.floats(0.01, 50), st.one_of(st.just(0.0), st.floats(0.01, 100))), min_size=1, max_size=8
)


def profile(steps: list[tuple[float, float]], repeats: bool) -> Profile:
    """Return the profile whose pieces have these (length in s, value)."""
    times_s = [0.0]
    for length_s, _ in steps:
        times_s.append(times_s[-1] + length_s)
    return Profile(times_s[:-1], [value for _, value in steps], times_s[-1] if repeats else None)


def walked(steps: list[tuple[float, float]], repeats: bool, start_s: float, end_s: float) -> float:
    """Return the integral piece by piece, the oracle."""
    total, at_s, piece = 0.0, 0.0, 0
    while at_s < end_s:
        length_s, value = steps[piece % len(steps) if repeats else min(piece, len(steps) - 1)]
        until_s = at_s + length_s if repeats or piece < len(steps) - 1 else math.inf
        total += value * max(min(until_s, end_s) - max(at_s, start_s), 0.0)
        at_s, piece = until_s, piece + 1
    return total


@settings(deadline=None)  # machines are noisy
@given(STEPS, st.booleans(), st.floats(0, 300), st.floats(0.01, 5000))
def test_amount_is_reached_at_its_end_and_not_before(
    steps: list[tuple[float, float]], repeats: bool, start_s: float, amount: float
) -> None:
    """`end_of` is the first time at which the integral is the amount; inf only where it never is."""
    one = profile(steps, repeats)
    end_s = one.end_of(start_s, amount)
    if math.isinf(end_s):
        assert all(value == 0 for _, value in steps) if repeats else steps[-1][1] == 0
        assert walked(steps, repeats, start_s, 1e4) < amount * (1 + 1e-9)
        return
    assert walked(steps, repeats, start_s, end_s) == pytest.approx(amount, rel=1e-9, abs=1e-7)
    before_s = end_s - 1e-4
    if before_s > start_s:
        assert walked(steps, repeats, start_s, before_s) < amount


@settings(deadline=None)  # machines are noisy
@given(STEPS, st.booleans(), st.floats(0, 300), st.floats(0, 300))
def test_integral_is_the_sum_over_the_pieces(
    steps: list[tuple[float, float]], repeats: bool, start_s: float, length_s: float
) -> None:
    """From anywhere to anywhere, over the ends of periods, too."""
    found = profile(steps, repeats).integral(start_s, start_s + length_s)
    assert found == pytest.approx(walked(steps, repeats, start_s, start_s + length_s), rel=1e-9, abs=1e-7)


@settings(deadline=None)  # machines are noisy
@given(STEPS, st.booleans(), st.floats(0, 300))
def test_value_holds_until_the_next_change(
    steps: list[tuple[float, float]], repeats: bool, t_s: float
) -> None:
    """Between two changes the value is constant, and time goes on."""
    one = profile(steps, repeats)
    change_s = one.next_change(t_s)
    assert change_s > t_s
    if math.isfinite(change_s):
        middle_s = (t_s + change_s) / 2
        assert one.value_at(middle_s) == one.value_at(t_s)
        assert walked(steps, repeats, t_s, middle_s) == pytest.approx(
            one.value_at(t_s) * (middle_s - t_s), rel=1e-6, abs=1e-7
        )
    else:
        assert not repeats
        assert one.value_at(t_s + 1e6) == one.value_at(t_s) == steps[-1][1]


def test_end_of_an_integral_over_several_periods() -> None:
    """50 in each period of 20 s: one more takes a quarter of a second of the next."""
    one = Profile([0, 10], [4.0, 1.0], 20)
    assert one.end_of(0, 50) == 20
    assert one.end_of(0, 51) == 20.25


@pytest.mark.parametrize(
    ("times_s", "values", "period_s"),
    [
        ([], [], None), ([0, 1], [1], None), ([1], [1], None), ([0, 2, 1], [1, 1, 1], None),
        ([0, 1, 1], [1, 1, 1], None), ([0], [-1], None), ([0], [math.nan], None), ([0], [math.inf], None),
        ([0, 5], [1, 1], 5), ([0], [1], math.inf),
    ],
)  # fmt: skip
def test_what_is_no_profile(times_s: list[float], values: list[float], period_s: float | None) -> None:
    """Points that are no profile are refused."""
    with pytest.raises(ValueError, match="profile"):
        Profile(times_s, values, period_s)
