"""Bytes and energy of a message whose client drops out, by hand, on dedicated and shared links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import COSTS, data, read, whole

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

PRIVATE = {"up": "unlimited", "down": "unlimited"}
SHARED = {"up": "8 Gbit/s", "down": "8 Gbit/s"}
SIZES = {"activation": "1 MB", "labels": "0 byte", "client_model": "2 MB"}
LINKS = pytest.mark.parametrize("server", [PRIVATE, SHARED], ids=["private", "shared"])


def run_of(server: dict[str, str], device: dict[str, Any], link: dict[str, Any], **fleet: Any) -> Run:
    """Run one round of SplitFed: 2 MB down, 1 MB up, and so on; what is computed takes no time."""
    member = {"name": "a", "device": {"compute": "1000 PFLOP/s", **device}, "link": link}
    content = data(
        fleet={"clients": 1, "groups": [member], **fleet},
        server={"compute": "1000 PFLOP/s", "slots": 1, "link": server},
    )
    content["workload"] = {**content["workload"], "costs": {**COSTS, **SIZES}}
    return simulate(read(content), timing_only=True)


def lost(run: Run) -> tuple[float, float, float]:
    """Return end, bytes and energy of the one message that was cut, an upload."""
    (span,) = whole(run.spans[run.spans["outcome"] == "lost"]).to_dict("records")
    assert span["activity"] == "uplink"
    return span["end_s"], span["bytes"], span["active_energy_j"]


@LINKS
@pytest.mark.parametrize(
    ("rows", "sent_bytes"),
    [
        # sent from 1 s on: 0.5 s at 1 MB/s, then 9.5 s at 1 kB/s
        ("0,8 Mbit/s\n1.5,8 kbit/s\n", 509_500.0),
        # 0.5 s at 10 kB/s, nothing up to 6 s, then 5 s at 40 kB/s
        ("0,80 kbit/s\n1.5,0 bit/s\n6,320 kbit/s\n", 5_000.0 + 200_000.0),
    ],
)
def test_a_traced_rate_counts_as_far_as_it_went(
    tmp_path: Path, server: dict[str, str], rows: str, sent_bytes: float
) -> None:
    """Cut at 11 s: bytes are the integral of the rate from 1 s on, energy 1 W over those ten seconds."""
    file = tmp_path / "rate.csv"
    file.write_text(f"time_s,rate\n{rows}", encoding="utf-8")
    link = {"up": {"kind": "trace", "file": str(file)}, "down": "16 Mbit/s"}
    power = {"power": {"idle": "0 W", "send": "1 W"}}
    run = run_of(server, power, link, events=[{"at": "11 s", "leave": True}])
    assert lost(run) == pytest.approx((11.0, sent_bytes, 10.0), rel=1e-6)
    assert run.clients["uplink_bytes"].tolist() == pytest.approx([sent_bytes], rel=1e-6)


@LINKS
@pytest.mark.parametrize(("leave_s", "sent_s"), [(1.5, 0.5), (2.0, 1.0), (3.0, 1.0), (10.5, 1.0)])
def test_in_the_latency_nothing_is_sent(server: dict[str, str], leave_s: float, sent_s: float) -> None:
    """1 MB at 1 MB/s from 1 s on, then 9 s of latency: whole from 2 s on, and 1 J."""
    link = {"up": "8 Mbit/s", "down": "16 Gbit/s", "latency": "9 s"}
    power = {"power": {"idle": "0 W", "send": "1 W"}}
    begin_s = 9.001  # the model's 2 MB down at 2 GB/s, or at 1 GB/s where the server sends no more
    begin_s += 0.001 if server is SHARED else 0.0
    at_s = begin_s + leave_s - 1.0
    run = run_of(server, power, link, events=[{"at": f"{at_s!r} s", "leave": True}])
    assert lost(run) == pytest.approx((at_s, sent_s * 1e6, sent_s), rel=1e-6)


@LINKS
def test_a_battery_is_emptied_by_sending_and_not_by_the_latency(server: dict[str, str]) -> None:
    """1 MB/s, 0.5 s of latency: the model arrives at 2.5 s, after 2.5 J of idling; then it sends up to 3.5 s.

    The 0.75 J that are left last for 0.375 s at 1 W idling and 1 W above that.
    """
    link = {"up": "8 Mbit/s", "down": "8 Mbit/s", "latency": "500 ms"}
    device = {"battery": "3.25 J", "power": {"idle": "1 W", "send": "2 W", "receive": "1 W"}}
    run = run_of(server, device, link)
    assert lost(run) == pytest.approx((2.875, 375_000.0, 0.375), rel=1e-6)
    assert run.runs["time_s"].tolist() == pytest.approx([2.875])
    assert run.clients["energy_j"].tolist() == pytest.approx([3.25])
