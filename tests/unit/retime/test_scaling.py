"""Scenarios with one assumption scaled."""

from __future__ import annotations

from typing import Any

import pytest
from support import data, read

from sflsim.retime.scaling import assumptions, varied


@pytest.mark.parametrize(
    ("link", "names"),
    [
        ({"kind": "shannon", "distance": "1 km"}, ["uplink"]),
        ({"kind": "shannon", "distance": "1 km", "down": "shannon"}, ["link"]),
        ({"kind": "shannon", "distance": "1 km", "down": "9 Mbit/s"}, ["uplink", "downlink"]),
        ({"up": "1 Mbit/s", "down": "unlimited"}, ["uplink"]),
    ],
)
def test_a_plan_varies_each_part_of_a_link(link: dict[str, Any], names: list[str]) -> None:
    """A radio channel is varied as a whole, bandwidth and power together: rates scale by the factor."""
    group = {"device": {"compute": "1 GFLOP/s"}, "link": link}
    scenario = read(
        data(
            fleet={"clients": 2, "groups": [group]}, server={"link": {"up": "unlimited", "down": "unlimited"}}
        )
    )
    found = dict(assumptions(scenario))
    assert [name for name in found if "link" in name] == [f"{name} of the devices" for name in names]
    wider = varied(scenario, found[f"{names[0]} of the devices"], 1.25)
    before, after = (one.fleet.groups[0].link.build(0, "device") for one in (scenario, wider))
    assert after.up_bytes_per_s(0) == pytest.approx(1.25 * before.up_bytes_per_s(0))
