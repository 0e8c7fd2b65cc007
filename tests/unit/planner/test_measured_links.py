"""Links and availability as measured in the field, explained and planned with: their rates are scaled too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import data, read

import sflsim
from sflsim.experiment.simulate import simulate
from sflsim.fleet.links.links import LinkConfig, build_link
from sflsim.planner.plan import plan
from sflsim.retime.scaling import described, scale

DEVICE = {"compute": "1 TFLOP/s"}
ALWAYS = "2020-01-29 22:00:00\tbattery_charged_on\n2020-01-30 22:00:00\twifi"


def fleet(folder: Path) -> dict[str, Any]:
    """Write a file of each kind; return a fleet of four groups whose uplinks take all of the time."""
    (folder / "lte.up").write_text("1\n")
    (folder / "drive.csv").write_text("at,kbps\n2020-01-01 10:00,8\n2020-01-01 10:01,16\n")
    (folder / "phones.json").write_text(json.dumps({"1": {"messages": ALWAYS}}))
    percents = {"p1": 4e-6, "p99": 6e-6}
    metrics = {"upload_throughput_mbps": percents, "download_throughput_mbps": {"p1": 100, "p99": 200}}
    metrics["latency_ms"] = {"p1": 0.3, "p99": 0.1}
    (folder / "city.json").write_text(json.dumps({"metrics": metrics}))
    drive = {"kind": "trace", "file": str(folder / "drive.csv"), "values_in": "kbit/s", "scale": 1e-3}
    links = {
        "lte": {"up": {"kind": "mahimahi", "file": str(folder / "lte.up"), "scale": 1e-6}, "down": "1 GB/s"},
        "drive": {"up": drive | {"time_column": "at", "times_in": "%Y-%m-%d %H:%M"}, "down": "1 GB/s"},
        "city": {"kind": "iqb", "file": str(folder / "city.json")},
        "country": "country-de",
    }
    groups = [{"name": name, "count": 1, "device": DEVICE, "link": link} for name, link in links.items()]
    flash = {"kind": "flash", "file": str(folder / "phones.json"), "when": ["charging"]}
    return {"clients": 4, "groups": groups, "availability": flash}


def scenario(folder: Path, **fields: Any) -> Any:
    """Return a scenario of that fleet, timed for three rounds, with an instant server."""
    server = {"compute": "1 TFLOP/s", "link": {"up": "unlimited", "down": "unlimited"}}
    return data(fleet=fleet(folder), server=server, stop={"rounds": 3}) | fields


def test_explain_says_what_twice_the_measured_rates_save(tmp_path: Path) -> None:
    """Each group's uplink has a row; most is saved by that of the city, at 0.5 to 0.75 byte/s the slowest."""
    found = sflsim.explain(simulate(read(scenario(tmp_path)), timing_only=True)).what_if
    rows = found.set_index("change")["gain"]

    for name in ("lte", "drive", "city", "country"):
        assert rows[f"uplink of group {name} twice as fast"] >= 0
    assert rows["latency of group city half as long"] == pytest.approx(0, abs=1e-3)
    assert rows.idxmax() == "uplink of group city twice as fast"
    assert rows.max() > 0.2


def test_a_plan_chooses_among_measured_links(tmp_path: Path) -> None:
    """By time alone the faster of two countries; the sensitivity knows every measured rate."""
    country = {"fleet.groups[country].link": ["country-ng", "country-de"]}
    groups = [group for group in fleet(tmp_path)["groups"] if group["name"] == "country"]
    alone = scenario(tmp_path, plan={"decisions": country})
    alone["fleet"] = {"clients": 200, "groups": [groups[0] | {"count": 200}]}
    found = plan(read(alone))

    assert found.recommended is not None
    assert found.recommended["fleet.groups[country].link"] == "country-de"
    assert {"uplink of the devices", "downlink of the devices", "latency of the devices"} <= set(
        found.sensitivity["assumption"]
    )
    every = plan(read(scenario(tmp_path, plan={"decisions": {"server.slots": [1, 2]}})))
    assert {f"uplink of group {name}" for name in ("lte", "drive", "city", "country")} <= set(
        every.sensitivity["assumption"]
    )


def test_a_country_twice_as_fast_draws_twice_the_rates() -> None:
    """Every client draws the same place in the distribution."""
    link = described("country-in", "links", None)
    scale(link, "up", 2.0)
    once, twice = LinkConfig.named("country-in"), LinkConfig.model_validate(link)

    for number in range(20):
        before, after = (build_link(config, 0, f"pi-{number}").constant for config in (once, twice))
        assert before is not None
        assert after == pytest.approx((2 * before[0], before[1], before[2]))
