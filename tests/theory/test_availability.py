"""Availability against theory: stationary shares, exponential sojourns, windows, and who is drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sflsim.fleet.availability.config import DailyAvailable, MarkovAvailable
from sflsim.fleet.availability.on_off import (
    DAY_S,
    Intersection,
    OnOffProcess,
    ScheduledOnOff,
    Timeline,
    Traced,
)
from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.fleet.profiles import Profile
from sflsim.fleet.sampling import FleetAvailability, fleet_availability

SIGMAS = 4.0  # a right value is refused in 1 of 16,000 cases; seeds are fixed
HOUR_S = 3600.0


def fleet_of(clients: int, availability: Any, **more: Any) -> FleetAvailability:
    """Return the availability of a fleet of one group."""
    group = {"name": "any", "device": {"compute": "1 GFLOP/s"}}
    content = {"clients": clients, "groups": [group], "availability": availability, **more}
    config = FleetConfig.model_validate(content)
    made = fleet_availability(config, build_fleet(config, 5))
    assert made is not None
    return made


@pytest.mark.parametrize(("on_s", "off_s"), [(2 * HOUR_S, 0.5 * HOUR_S), (60.0, 600.0)])
@pytest.mark.parametrize("at_s", [0.0, 1000.0, 10 * HOUR_S])
def test_a_markov_fleet_is_there_with_its_stationary_share(on_s: float, off_s: float, at_s: float) -> None:
    """Of n devices on / (on + off) are there at any time, from the start on, within a binomial's interval."""
    n, share = 4000, on_s / (on_s + off_s)
    availability = fleet_of(n, {"kind": "markov", "on": f"{on_s} s", "off": f"{off_s} s"})

    there = sum(availability.timeline(index).available_at(at_s) for index in range(n))

    assert abs(there / n - share) < SIGMAS * math.sqrt(share * (1 - share) / n)


def test_over_time_a_device_is_there_for_its_share_in_exponential_stretches() -> None:
    """Lengths have the mean and the variance of exponentials; the time share is on / (on + off)."""
    config = MarkovAvailable.model_validate({"on": "20 s", "off": "5 s"})
    timeline, t_s, stretches = config.timeline(1, "one"), 0.0, {True: [], False: []}  # type: ignore[var-annotated]
    t_s = timeline.until(t_s)  # the first stretch is cut by the start
    for _ in range(20_000):
        end_s = timeline.until(t_s)
        stretches[timeline.available_at(t_s)].append(end_s - t_s)
        t_s = end_s

    for state, mean_s in ((True, 20.0), (False, 5.0)):
        lengths_s = np.array(stretches[state])
        n = len(lengths_s)
        assert abs(lengths_s.mean() - mean_s) < SIGMAS * mean_s / math.sqrt(n)
        # the variance of a sample variance of exponentials is (mu4 - var^2) / n = 8 mean^4 / n
        assert abs(lengths_s.var() - mean_s**2) < SIGMAS * math.sqrt(8.0 / n) * mean_s**2


def test_the_first_stretch_is_as_long_as_any_other() -> None:
    """An exponential forgets: what is left of the stretch at the start has its whole mean."""
    config, n = MarkovAvailable.model_validate({"on": "20 s", "off": "5 s"}), 4000
    timelines = [config.timeline(7, f"device-{number}") for number in range(n)]
    for state, mean_s in ((True, 20.0), (False, 5.0)):
        firsts_s = [one.until(0.0) for one in timelines if one.available_at(0.0) == state]
        assert abs(np.mean(firsts_s) - mean_s) < SIGMAS * mean_s / math.sqrt(len(firsts_s))


TIMES = st.floats(0, 5 * DAY_S, allow_nan=False)


def in_window(t_s: float, begin_s: float, end_s: float, start_s: float) -> bool:
    """Return whether a time of day lies in [begin, end), worked out by itself."""
    time_s = (t_s + start_s) % DAY_S
    return begin_s <= time_s < end_s if begin_s < end_s else time_s >= begin_s or time_s < end_s


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 5 * 1440))
@settings(deadline=None, max_examples=100)
def test_a_daily_window_is_that_time_of_day(begin: int, end: int, start: int, minute: int) -> None:
    """At every whole minute of five days, windows over midnight and starts at any time included."""
    if begin == end:
        return
    clock = [f"{one // 60:02}:{one % 60:02}" for one in (begin, end, start)]
    config = DailyAvailable.model_validate({"from": clock[0], "to": clock[1], "starts": clock[2]})
    timeline, t_s = config.timeline(0, "one"), 60.0 * minute

    assert timeline.available_at(t_s) == in_window(t_s, 60.0 * begin, 60.0 * end, 60.0 * start)
    change_s = timeline.until(t_s)
    wanted_s = 60.0 * (end if timeline.available_at(t_s) else begin)
    assert math.isclose((change_s + 60.0 * start - wanted_s + DAY_S / 2) % DAY_S, DAY_S / 2, abs_tol=1e-6)
    assert 0 < change_s - t_s <= DAY_S


def test_jitter_moves_both_ends_uniformly() -> None:
    """Over devices and days the moves are uniform in +-jitter: mean 0, variance jitter^2 / 3."""
    config = DailyAvailable.model_validate({"from": "22:00", "to": "06:00", "jitter": "30 min"})
    begins_s, ends_s = [], []
    for number in range(400):
        timeline, noon_s = config.timeline(3, f"phone-{number}"), 12 * HOUR_S
        for day in range(5):
            begins_s.append(begin_s := timeline.until(noon_s + day * DAY_S))
            ends_s.append(timeline.until(begin_s))
    for found_s, at_s in ((begins_s, 22 * HOUR_S), (ends_s, 6 * HOUR_S)):
        moves_s = (np.array(found_s) - at_s + DAY_S / 2) % DAY_S - DAY_S / 2
        assert np.abs(moves_s).max() <= 1800
        sigma_s, n = 1800 / math.sqrt(3), len(moves_s)
        assert abs(moves_s.mean()) < SIGMAS * sigma_s / math.sqrt(n)
        assert abs(moves_s.std() / sigma_s - 1) < 0.05


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Draw a timeline of any make."""
    lengths_s = draw(st.lists(st.floats(0.5, 5), min_size=2, max_size=6))
    first = draw(st.booleans())
    kind = draw(st.sampled_from(["switching", "traced", "repeated", "scheduled"]))
    if kind == "switching":
        return OnOffProcess(first, lambda number: lengths_s[number % len(lengths_s)])
    times_s = [0.0, *np.cumsum(lengths_s).tolist()]
    if kind == "scheduled":
        return ScheduledOnOff(first, times_s[1:])
    values = [float(draw(st.booleans())) for _ in times_s]
    return Traced(Profile(times_s, values, times_s[-1] + 1 if kind == "repeated" else None))


@given(timelines(), st.lists(st.floats(0.5, 9), max_size=4), st.booleans(), st.floats(0, 40))
@settings(deadline=None, max_examples=120)
def test_a_state_holds_until_it_ends(one: Timeline, moves_s: list[float], first: bool, t_s: float) -> None:
    """Between a time and `until` the state is the same, then the other; two are there when both are."""
    script = ScheduledOnOff(first, np.cumsum(moves_s).tolist())
    for timeline in (one, script, both := Intersection(one, script)):
        end_s, state = timeline.until(t_s), timeline.available_at(t_s)
        assert end_s > t_s
        for part in (0.0, 0.3, 0.9, 0.999):
            inside_s = t_s + part * (min(end_s, t_s + 50) - t_s)
            assert inside_s >= end_s or timeline.available_at(inside_s) == state
        if end_s < math.inf:
            assert timeline.available_at(end_s) != state
    assert both.available_at(t_s) == (one.available_at(t_s) and script.available_at(t_s))


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 30), st.floats(0, 1000))
@settings(deadline=None, max_examples=60)
def test_the_lowest_priorities_of_those_that_are_there_take_part(
    clients: int, k: int, round: int, now_s: float
) -> None:
    """Against all priorities and all timelines, looked at one by one."""
    markov = {"kind": "markov", "on": "30 s", "off": "60 s"}
    config = FleetConfig.model_validate(
        {"clients": clients, "groups": [{"device": "raspberry-pi-4"}], "availability": markov}
    )
    fleet = build_fleet(config, 2)
    availability = FleetAvailability(config, fleet)

    chosen, again_s = availability.draw(round, k, now_s)

    there = [index for index in range(clients) if availability.timeline(index).available_at(now_s)]
    order = sorted(there, key=lambda index: fleet.priorities(round)[index])
    assert chosen.indices.tolist() == order[:k]
    if not there:
        assert again_s == min(availability.timeline(index).until(now_s) for index in range(clients))


def test_everybody_is_drawn_as_often_as_they_are_there() -> None:
    """With equal devices each is drawn equally often, in the long run: a chi-square of 30 devices."""
    availability = fleet_of(30, {"kind": "markov", "on": "50 s", "off": "50 s"})
    counts = np.zeros(30)
    for round in range(1500):
        chosen, _ = availability.draw(round, 3, 100.0 * round)
        counts[chosen.indices] += 1
    expected = counts.sum() / 30
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 29 + SIGMAS * math.sqrt(2 * 29)


def test_a_large_fleet_is_queried_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10^6 devices a draw makes about participants / share timelines; a closed group none at all."""
    made: list[str] = []
    for kind in (MarkovAvailable, DailyAvailable):

        def counted(config: Any, seed: int, name: str, timeline: Any = kind.timeline) -> Timeline:
            made.append(name)
            return timeline(config, seed, name)

        monkeypatch.setattr(kind, "timeline", counted)
    availability = fleet_of(10**6, {"kind": "markov", "on": "1 h", "off": "3 h"})
    chosen, _ = availability.draw(1, 100, 0.0)
    assert len(chosen) == 100
    assert 250 < len(made) < 700  # 400 expected; standard deviation 35
    made.clear()

    asleep = fleet_of(10**6, {"kind": "daily", "from": "22:00", "to": "06:00", "jitter": "1 h"})
    nobody, again_s = asleep.draw(1, 100, 12 * HOUR_S)
    assert (len(nobody), again_s) == (0, 21 * HOUR_S)
    assert not made
