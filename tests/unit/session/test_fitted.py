"""A device that rests on networks of other kinds of operation than the scenario's is warned of."""

from __future__ import annotations

from typing import Any

import pytest
from support import COSTS, UNLIMITED, data, read

from sflsim.fleet.catalog import entries
from sflsim.session import unlike_networks

RESNET = {"networks": ["ResNet-18"], "kinds": ["convolution"]}
FIGURE = {"value": "5 GFLOP/s", "status": "measured", "source": "test"}


def warned(device: str, model: dict[str, Any], **fields: Any) -> list[str]:
    group = {"device": device, "link": UNLIMITED}
    workload = {"model": model, "cut": 1, "batch_size": 4} | fields.pop("workload", {})
    return unlike_networks(read(data(workload=workload, fleet={"clients": 2, "groups": [group]}, **fields)))


@pytest.mark.parametrize(
    ("device", "model", "count"),
    [
        ("raspberry-pi-5", {"kind": "mlp", "hidden": [8]}, 1),
        ("raspberry-pi-5", {"kind": "cnn"}, 0),
        ("raspberry-pi-5-by-kind", {"kind": "mlp", "hidden": [8]}, 0),
        ("jetson-nano", {"kind": "mlp", "hidden": [8]}, 0),  # assumed, of no network
        ("phone-mid", {"kind": "mlp", "hidden": [8]}, 0),
    ],
)
def test_of_which_devices(device: str, model: dict[str, Any], count: int) -> None:
    """Matrix products on what was measured with convolutions, by the client's part."""
    lines = warned(device, model)
    assert len(lines) == count
    assert all("ResNet-18" in line and "matmul" in line for line in lines)


def test_given_flop_are_of_no_network() -> None:
    """Where the client's FLOP are given, the scenario's network is a stand-in."""
    assert warned("raspberry-pi-5", {"kind": "mlp", "hidden": [8]}, workload={"costs": COSTS}) == []


def test_entries_of_ones_own_are_looked_at() -> None:
    own = {"devices": {"box": {"about": "a box", "fitted": RESNET, "figures": {"compute": FIGURE}}}}
    assert len(warned("box", {"kind": "mlp", "hidden": [8]}, catalog=own)) == 1


def test_entries_by_kind_say_what_they_rest_on() -> None:
    """Networks, kinds and an error; those of one network say so."""
    devices = entries("devices")
    for name in ("raspberry-pi-4", "raspberry-pi-5"):
        one, by_kind = devices[name].fitted, devices[f"{name}-by-kind"].fitted
        assert one is not None
        assert by_kind is not None
        assert (one.networks, len(by_kind.networks)) == (("ResNet-18",), 12)
        assert one.error
        assert by_kind.error
