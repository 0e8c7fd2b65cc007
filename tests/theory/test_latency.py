"""Latency is an activity of its own: by hand in spans, on the path, in the what-ifs and in a plan's words."""

from __future__ import annotations

from typing import Any

import pytest
from support import FAST, UNLIMITED, data, read

import sflsim
from sflsim.experiment.simulate import simulate
from sflsim.explainer.bottleneck import bottleneck, describe
from sflsim.retime.scaling import assumptions, less_is_better
from sflsim.retime.timing import timings
from sflsim.session import SessionCache

LIMITED = {"up": "16 byte/s", "down": "16 byte/s"}
POWER = {"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "1.5 W"}


def one_client(server: dict[str, str], **link: Any) -> Any:
    """Return a round of SplitFed by one client: 16 byte down, 12 up, 8 down, 16 up."""
    device = {**FAST["device"], "power": POWER}
    group = {**FAST, "device": device, "link": {**LIMITED, **link}}
    fleet = {"clients": 1, "groups": [group]}
    return read(data(fleet=fleet, server={"compute": "28 FLOP/s", "link": server}))


@pytest.mark.parametrize("server", [UNLIMITED, LIMITED], ids=["private", "shared"])
def test_a_message_is_sent_and_then_travels(server: dict[str, str]) -> None:
    """Bytes over rate, with all bytes and joules; then the latency, with none, right after in the table."""
    spans = simulate(one_client(server, latency="3 s"), timing_only=True).spans
    own = spans[spans["actor"] == "fast-0"]
    rows = own[["activity", "start_s", "end_s", "bytes", "active_energy_j"]].itertuples(
        index=False, name=None
    )
    assert [row for row in rows if row[0] != "compute"] == [
        ("downlink", 0, 1, 16, 0.5), ("latency", 1, 4, 0, 0),
        ("uplink", 5, 5.75, 12, 0.75), ("latency", 5.75, 8.75, 0, 0),
        ("downlink", 9.75, 10.25, 8, 0.25), ("latency", 10.25, 13.25, 0, 0),
        ("uplink", 15.25, 16.25, 16, 1.0), ("latency", 16.25, 19.25, 0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("server", [UNLIMITED, LIMITED], ids=["private", "shared"])
def test_no_latency_adds_no_row(server: dict[str, str]) -> None:
    """Four messages, three pieces of computing, one step."""
    spans = simulate(one_client(server), timing_only=True).spans
    assert "latency" not in set(spans["activity"])
    assert len(spans) == 4 + 2 + 1


def test_clients_count_a_message_until_it_arrives() -> None:
    """`uplink_s` and `downlink_s` of clients hold the latency, as they always did."""
    clients = simulate(one_client(UNLIMITED, latency="3 s"), timing_only=True).clients
    assert clients[["uplink_s", "downlink_s"]].to_numpy().tolist() == [[1.75 + 6, 1.5 + 6]]


def test_latency_that_binds_is_named_and_priced() -> None:
    """12 of 19.25 s are latency: half as long saves 6, and twice the uplink only half of 1.75."""
    found = sflsim.explain(simulate(one_client(UNLIMITED, latency="3 s"), timing_only=True))
    first = found.shares.iloc[0]
    assert (first["where"], first["activity"]) == ("fast", "latency")
    best = found.what_if.iloc[0]
    assert best["change"] == "latency half as long"
    assert best["gain"] == pytest.approx(6 / 19.25)
    assert best["share"] == pytest.approx(12 / 19.25)
    uplink = found.what_if.set_index("change").loc["uplink twice as fast"]
    assert uplink["gain"] == pytest.approx(0.875 / 19.25)
    assert found.words["splitfed-v1"].startswith(
        "62 % of the time is latency of group fast. The latency binds."
    )


def test_a_plan_knows_that_latency_binds() -> None:
    """What binds a point is said in words, and less of it is among what is tried."""
    scenario = one_client(UNLIMITED, latency="3 s")
    (timing,) = timings(scenario, [0], SessionCache(), keep=True)
    found = bottleneck(scenario, [timing])
    assert found is not None
    assert found.cause == "latency"
    assert describe(found).startswith("The latency binds.")
    names = [name for name, _ in assumptions(scenario)]
    assert "latency of the devices" in names
    assert [less_is_better(name) for name in names] == [name.startswith("latency") for name in names]


@pytest.mark.parametrize(
    ("link", "named"),
    [({}, False), ({"latency": "0 s"}, False), ({"latency": "3 s", "jitter": "1 s"}, True),
     ({"jitter": {"kind": "exponential", "mean": "1 s"}}, True),
     ({"latency": {"kind": "uniform", "low": "1 s", "high": "2 s"}}, True)],
)  # fmt: skip
def test_only_a_latency_can_be_halved(link: dict[str, Any], named: bool) -> None:
    """All that makes a message travel longer is halved; where there is nothing there is no row."""
    found = sflsim.explain(simulate(one_client(UNLIMITED, **link), timing_only=True)).what_if
    rows = found[found["change"].str.startswith("latency")]
    assert len(rows) == named
    assert (rows["gain"] - rows["share"] / 2).abs().max() < 1e-9 or not named


def test_a_servers_latency_can_be_halved() -> None:
    """On every message beside the clients' own; the two are one activity, so no share is told of either."""
    found = sflsim.explain(
        simulate(one_client({**LIMITED, "latency": "2 s"}, latency="3 s"), timing_only=True)
    )
    rows = found.what_if.set_index("change")
    assert rows["gain"]["server link's latency half as long"] == pytest.approx(4 / (19.25 + 8))
    assert rows["gain"]["latency half as long"] == pytest.approx(6 / (19.25 + 8))
    assert rows["share"].filter(like="latency").isna().all()
