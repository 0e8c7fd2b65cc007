"""Packet-delivery traces of Mahimahi: which rates they are, and what is refused in one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import check_uplink_refused, data, read

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.fleet.mahimahi import MahimahiTrace
from sflsim.fleet.profiles import Profile
from sflsim.retime.scaling import scaled


def trace(folder: Path, content: str | bytes, **fields: Any) -> dict[str, Any]:
    """Write a trace file; return the rate that names it."""
    path = folder / "lte.up"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return {"kind": "mahimahi", "file": str(path), **fields}


@pytest.mark.parametrize(
    ("content", "step", "expected"),
    [
        # the example of Mahimahi's README: a packet every millisecond, 12 Mbit/s
        ("1\n", "100 ms", Profile([0], [1.5e6])),
        ("1\n2\n3\n4\n", "1 ms", Profile([0], [1.5e6])),
        # packets at 50 ms; twice at 150; at 420 and 430, where it starts again: the last step lasts 30 ms
        (
            "50\n150\n150\n420\n430\n",
            "100 ms",
            Profile([0, 0.1, 0.2, 0.4], [15e3, 30e3, 0, 1e5], 0.43),
        ),
        # a packet at 0 counts in the first step
        ("0\n2\n4\n", "1 ms", Profile([0, 0.002, 0.003], [1.5e6, 0, 1.5e6], 0.004)),
        ("30\n40\n", "10 ms", Profile([0, 0.02], [0, 150e3], 0.04)),
        ("\ufeff1\r\n1\r\n2\r\n4\r\n\r\n", "2 ms", Profile([0, 0.002], [2.25e6, 0.75e6], 0.004)),
    ],
)
def test_a_line_is_a_packet(tmp_path: Path, content: str, step: str, expected: Profile) -> None:
    """By hand: 1,500 byte for each line, over the step that ends with it; equal steps are one piece."""
    config = MahimahiTrace.model_validate(trace(tmp_path, content, step=step))
    found = config.profile(0, "pi-0")

    assert found == expected
    assert MahimahiTrace.model_validate(config.model_dump(mode="json")) == config
    assert pickle.loads(pickle.dumps(config)).profile(0, "x") == found


times = st.lists(st.integers(0, 3000), min_size=1, max_size=40).map(sorted).filter(lambda ms: ms[-1] > 0)


@given(times, st.integers(1, 400))
def test_the_bytes_of_every_step_are_the_packets_in_it(
    tmp_path_factory: pytest.TempPathFactory, times_ms: list[int], step_ms: int
) -> None:
    """Over each step, and over a whole repetition, the integral is 1,500 byte for each line."""
    content = "".join(f"{time}\n" for time in times_ms)
    fields = trace(tmp_path_factory.getbasetemp(), content, step=f"{step_ms} ms")
    profile = MahimahiTrace.model_validate(fields).profile(0, "pi-0")
    period_ms = times_ms[-1]

    for start_ms in range(0, period_ms, step_ms):
        end_ms = min(start_ms + step_ms, period_ms)
        packets = sum(start_ms < max(time, 1) <= end_ms for time in times_ms)
        assert profile.integral(start_ms / 1e3, end_ms / 1e3) == pytest.approx(1500 * packets, abs=1e-6)
    assert profile.integral(0, 3 * period_ms / 1e3) == pytest.approx(3 * 1500 * len(times_ms))


def test_a_message_takes_as_long_as_the_packets(tmp_path: Path) -> None:
    """6,000 byte from the start: 4,500 by 0.2 s, nothing until 0.4 s, the last packet half of 30 ms later."""
    profile = MahimahiTrace.model_validate(trace(tmp_path, "50\n150\n150\n420\n430\n")).profile(0, "pi-0")

    assert profile.end_of(0.0, 6000) == pytest.approx(0.415, rel=1e-12)
    assert profile.end_of(0.4, 3000 + 7500 + 750) == pytest.approx(0.43 + 0.43 + 0.05, rel=1e-12)


def test_a_run_sends_by_the_trace(tmp_path: Path) -> None:
    """6 byte in the first and third second of three: 12 byte sent from 1 s on take until 4 s."""
    up = trace(tmp_path, "1000\n3000\n", step="1 s", scale=0.004)
    group = {"name": "pi", "device": {"compute": "8 FLOP/s"}, "link": {"up": up, "down": "unlimited"}}
    unlimited = {"link": {"up": "unlimited", "down": "unlimited"}}
    content = data(fleet={"clients": 1, "groups": [group]}, server=unlimited)
    spans = simulate(read(content), timing_only=True).spans
    first = spans[spans["activity"] == "uplink"].iloc[0]

    assert (first.start_s, first.end_s, first.bytes) == (1.0, 4.0, 12.0)


def test_what_if_scales_it(tmp_path: Path) -> None:
    """Twice as fast is twice the rate, where the file is the same."""
    once = MahimahiTrace.model_validate(trace(tmp_path, "1\n"))
    twice = MahimahiTrace.model_validate(scaled(once.model_dump(mode="json"), 2.0))

    assert twice.profile(0, "a") == Profile([0], [3e6])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "nothing in lte.up"),
        ("0\n0\n", "0 ms in every line"),
        ("1\n\n2\n", "'' in line 2"),
        ("1\n-2\n", "'-2' in line 2"),
        ("1\n2.5\n", "'2.5' in line 2"),
        ("1\n1,250\n", "'1,250' in line 2"),
        ("1\n1e3\n", "'1e3' in line 2"),
        ("1\n2 ms\n", "'2 ms' in line 2"),
        ("time_ms\n1\n", "'time_ms' in line 1"),
        ("1\n" + 40 * "9", "in line 2"),
        ("1\n٣\n", "in line 2"),
        ("5\n7\n3\n", "3 after 7 in line 3"),
        (b"1\n\x002\n", "cannot be read"),
        ("1\n2\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_such_trace_is_refused(tmp_path: Path, content: str | bytes, found: str) -> None:
    """At the key of the file, with the line."""
    check_uplink_refused(trace(tmp_path, content), "file", found)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"step": "0.5 ms"}, "step"),
        ({"step": "1.5 ms"}, "step"),
        ({"step": 100}, "step"),
        ({"step": "0 s"}, "step"),
        ({"scale": 0}, "scale"),
        ({"repeat": True}, "repeat"),
        ({"file": "none.up"}, "file"),
        ({"kind": "mahimai"}, "kind"),
    ],
)
def test_wrong_keys_are_refused(tmp_path: Path, fields: dict[str, Any], key: str) -> None:
    """Each at its own."""
    check_uplink_refused(trace(tmp_path, "1\n") | fields, key, "")


def test_a_computing_rate_is_no_such_trace(tmp_path: Path) -> None:
    """It is a trace of bytes."""
    group = {"name": "pi", "device": {"compute": trace(tmp_path, "1\n")}, "link": "wifi"}
    with pytest.raises(ScenarioError, match="mahimahi"):
        read(data(fleet={"clients": 1, "groups": [group]}))
