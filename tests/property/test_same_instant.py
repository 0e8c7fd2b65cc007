"""Rounds of decimal lengths against decimal times of a scenario: as many as exact fractions say."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import FREE, UNLIMITED, data, read

import sflsim
from sflsim.clock.agenda import STOP, Agenda
from sflsim.clock.engine import Environment, Timeout
from sflsim.fleet.instants import RELATIVE_SLACK, settled_s, slack_s
from sflsim.fleet.profiles import Profile

MS = st.integers(1, 3000)


def run_of(delay_ms: int, work_ms: int, stop: dict[str, Any], **parts: Any) -> sflsim.Run:
    """Run rounds that take a straggler's delay and some computing, all else in no time."""
    workload = {**data()["workload"], "costs": {**FREE, "client_forward": f"{work_ms} FLOP"}}
    group = {"name": "one", "device": {"compute": "1000 FLOP/s"}, "link": UNLIMITED, **parts.pop("group", {})}
    if delay_ms:
        group["straggler"] = {"kind": "constant", "value": f"{delay_ms} ms"}
    fleet = {"clients": 1, "groups": [group], **parts.pop("fleet", {})}
    server = {"compute": "unlimited", "link": UNLIMITED}
    content = data(workload=workload, fleet=fleet, server=server, stop=stop, **parts)
    return sflsim.simulate(read(content), timing_only=True)


@example(200, 0, 2000)  # the issue's: 9 rounds
@example(200, 0, 5000)  # 25 rounds, on both
@example(100, 100, 2000)
@given(MS, st.integers(0, 500), st.integers(1, 60_000))
@settings(max_examples=30, deadline=None)
def test_as_many_rounds_as_fit_into_the_time(delay_ms: int, work_ms: int, stop_ms: int) -> None:
    stop_ms = min(stop_ms, 300 * (delay_ms + work_ms))
    run = run_of(delay_ms, work_ms, {"time": f"{stop_ms} ms"}, evaluate={"every": "1000000 rounds"})
    last = run.evaluations.iloc[-1]
    assert last["round"] == stop_ms // (delay_ms + work_ms)
    assert last["time_s"] == pytest.approx(stop_ms / 1000, rel=RELATIVE_SLACK)


@pytest.mark.parametrize("rounds", [10_000])
def test_after_many_roundings(rounds: int) -> None:
    """0.1 s is no binary fraction: its sums drift, and the last round still ends in time."""
    run = run_of(100, 0, {"time": f"{rounds // 10} s"}, evaluate={"every": "1000000 rounds"})
    assert run.evaluations["round"].iloc[-1] == rounds


@example(200, 0, 1000)
@example(300, 0, 100)
@given(MS, st.integers(0, 500), st.integers(1, 5000))
@settings(max_examples=25, deadline=None)
def test_an_evaluation_sees_every_round_that_has_ended(delay_ms: int, work_ms: int, every_ms: int) -> None:
    stop_ms = 40 * every_ms
    round_ms = max(delay_ms + work_ms, stop_ms // 200)
    delay_ms = round_ms - work_ms
    run = run_of(delay_ms, work_ms, {"time": f"{stop_ms} ms"}, evaluate={"every": f"{every_ms} ms"})
    table = run.evaluations
    assert table["round"].tolist() == [number * every_ms // round_ms for number in range(41)]
    assert table["time_s"].tolist() == pytest.approx(
        [number * every_ms / 1000 for number in range(41)], rel=RELATIVE_SLACK
    )


@example(100, 100, 0)
@example(200, 100, 0)
@example(100, 100, 1)
@given(MS, st.integers(1, 500), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_who_is_done_at_the_deadline_is_in_time(delay_ms: int, work_ms: int, early_ms: int) -> None:
    """One client is done at once, the other exactly at the deadline, or `early_ms` after it."""
    slow = {"name": "slow", "device": {"compute": "1000 FLOP/s"}, "link": UNLIMITED}
    slow["straggler"] = {"kind": "constant", "value": f"{delay_ms} ms"}
    fast = {"name": "fast", "device": {"compute": "1 TFLOP/s"}, "link": UNLIMITED}
    variants = [{"algorithm": "splitfed-v1", "deadline": f"{max(delay_ms + work_ms - early_ms, 1)} ms"}]
    fleet = {"clients": 2, "groups": [{**fast, "count": 1}, {**slow, "count": 1}]}
    run = run_of(0, work_ms, {"rounds": 40}, fleet=fleet, variants=variants)
    assert run.runs["dropped"].iloc[0] == (40 if early_ms else 0)


@example(100, 100, 7)
@given(st.integers(1, 900), st.integers(0, 100), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_leaving_and_joining_at_a_rounds_end(delay_ms: int, work_ms: int, rounds: int) -> None:
    """What ends as its client leaves is whole; who joins as a round ends is drawn for the next."""
    round_ms = delay_ms + work_ms
    events = [{"at": f"{rounds * round_ms} ms", "leave": True}]
    run = run_of(delay_ms, work_ms, {"rounds": 1000}, fleet={"events": events})
    assert run.runs[["status", "rounds", "dropped"]].values.tolist() == [["stalled", rounds, 0]]

    two = [
        {"name": name, "count": 1, "device": {"compute": "1000 FLOP/s"}, "link": UNLIMITED}
        for name in ("first", "second")
    ]
    for one in two:
        one["straggler"] = {"kind": "constant", "value": f"{delay_ms} ms"}
    events = [{"at": f"{rounds * round_ms} ms", "group": "second", "join": True}]
    run = run_of(0, work_ms, {"rounds": rounds + 2}, fleet={"clients": 2, "groups": two, "events": events})
    assert run.clients.set_index("group")["rounds"].to_dict() == {"first": rounds + 2, "second": 2}


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6), st.integers(1, 40), st.integers(0, 6), st.data())
def test_what_fits_before_a_gap_of_a_trace_ends_there(
    lengths: list[int], rate: int, begin: int, choice: st.DataObject
) -> None:
    """An amount, summed up with roundings, that just fills the time until nothing passes any more."""
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    times_s = [0.0, *(end / 10 for end in ends[:-1])]
    values = [rate / 10 if number % 2 == 0 else 0.0 for number in range(len(lengths))]
    profile = Profile(times_s, values)
    begin = min(begin, lengths[0] - 1)
    exact = Fraction(rate, 10) * Fraction(lengths[0] - begin, 10)
    amount = float(exact) * (1 + choice.draw(st.integers(-4, 4)) * 2.0**-52)
    assert profile.end_of(begin / 10, amount) == pytest.approx(lengths[0] / 10, rel=1e-12)


def test_priorities_within_an_instant() -> None:
    """All else of an instant comes before what is planned for it; of that, the stop comes last."""
    env = Environment()
    agenda, seen = Agenda(env), []

    def note(name: str) -> Any:
        return lambda event: seen.append((name, env.now))

    agenda.at(2.0, STOP).callbacks.append(note("stop"))
    agenda.at(1.9999999999999998).callbacks.append(note("drop-out"))
    agenda.at(3.0).callbacks.append(note("later"))
    agenda.at(2.0000000000000004).callbacks.append(note("deadline"))
    for time_s in (2.0, 2.0 + 1e-10, 2.1, math.nextafter(2.0, 0)):
        Timeout(env, time_s).callbacks.append(note("work"))
    env.run()
    near, end = [(name, time_s) for name, time_s in seen if time_s < 2.05], 2.0 + 1e-10
    assert [name for name, _ in near] == ["work"] * 3 + ["drop-out", "deadline", "stop"]
    assert [time_s for name, time_s in near if name != "work"] == [end] * 3
    assert seen[-1] == ("later", 3.0)


@given(st.floats(0, 1e9), st.floats(0, 1))
def test_an_instant_is_short(time_s: float, share: float) -> None:
    """A billionth of the time that is counted, or the clock's own rounding."""
    assert 0 < slack_s(time_s, share * time_s) <= 1e-9 * time_s + 1e-14 * time_s + 1e-300
    assert settled_s(time_s) >= time_s


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("start_ms", [0, 100, 300, 700, 1300, 1900])
def test_a_message_that_fits_before_a_gap_arrives(start_ms: int, shared: bool, tmp_path: Path) -> None:
    """Over a client's own link and over the server's: a rounding more than fits does not wait for the gap."""
    (tmp_path / "rate.csv").write_text("time_s,rate\n0,10 byte/s\n2,0 byte/s\n5,10 byte/s\n")
    trace = {"kind": "trace", "file": str(tmp_path / "rate.csv")}
    size = 10 * (2 - start_ms / 1000) * (1 + 2**-51)
    workload = {**data()["workload"], "costs": {**FREE, "activation": f"{size!r} byte"}}
    group = {"name": "one", "device": {"compute": "1 FLOP/s"}}
    group["link"] = {"up": "unlimited" if shared else trace, "down": "unlimited"}
    if start_ms:
        group["straggler"] = {"kind": "constant", "value": f"{start_ms} ms"}
    server = {"compute": "unlimited", "link": {"up": trace, "down": trace} if shared else UNLIMITED}
    fleet = {"clients": 1, "groups": [group]}
    spans = sflsim.simulate(read(data(workload=workload, fleet=fleet, server=server)), timing_only=True).spans
    assert spans[spans["activity"] == "uplink"]["end_s"].iloc[0] == pytest.approx(2.0, rel=RELATIVE_SLACK)
