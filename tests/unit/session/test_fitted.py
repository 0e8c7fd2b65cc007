"""A device that rests on networks of other kinds of operation than the scenario's is warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support import COSTS, UNLIMITED, data, read
from typer.testing import CliRunner

from sflsim.cli import app
from sflsim.fleet.catalog import entries
from sflsim.session import doubts
from sflsim.session.fitted import unlike_networks

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


@pytest.mark.parametrize("command", ["validate", "run", "plan"])
def test_every_command_that_times_it_warns(command: str, tmp_path: Path) -> None:
    """On the error stream, once, before anything is computed; it ends as it would without."""
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 4}
    fleet = {"clients": 1, "groups": [{"device": "raspberry-pi-5", "link": UNLIMITED}]}
    decided = {"plan": {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data(workload=workload, fleet=fleet, **decided)))
    options = {"run": ["--timing-only", "--no-plots"]}.get(command, [])
    out = [] if command == "validate" else ["--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [command, str(file), *options, *out])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("ResNet-18") == 1
    assert "fleet.groups[0].device" in done.stderr


def test_a_scenario_that_cannot_run_is_not_doubted() -> None:
    """Whoever runs it says why; here nothing is raised."""
    group = {"device": "raspberry-pi-5", "link": UNLIMITED}
    asked = read(data(workload={"model": "mlp", "cut": 9}, fleet={"clients": 1, "groups": [group]}))
    assert doubts(asked) == []
