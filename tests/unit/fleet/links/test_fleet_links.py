"""Links, devices and the catalog they may be named from."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from support import COSTS, data, read

from sflsim.experiment.simulate import simulate
from sflsim.fleet.catalog import Cataloged, Table, entries
from sflsim.fleet.devices import DeviceConfig, compute_rate, power
from sflsim.fleet.distributions.bounded import Lognormal
from sflsim.fleet.links.links import Link, LinkConfig, build_link

LINKS, DEVICES = TypeAdapter(LinkConfig), TypeAdapter(DeviceConfig)
RANDOM = {"kind": "lognormal", "median": "10 Mbit/s", "sigma": 0.5}


def link(**fields: Any) -> Link:
    config = LINKS.validate_python({"up": "8 Mbit/s", "down": "16 Mbit/s"} | fields)
    return build_link(config, 0, "pi-0")


def mistakes_at(adapter: TypeAdapter[Any], fields: Any) -> list[tuple[str | int, ...]]:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(fields)
    return [error["loc"] for error in caught.value.errors()]


def test_a_constant_link_is_three_floats() -> None:
    """Rates in bytes per second, latency in seconds, 'unlimited' is infinite."""
    assert link(down="unlimited", latency="35 ms").constant == (1e6, math.inf, 0.035)
    assert link().latency_s(7) == 0.0


def test_a_rate_drawn_per_client_holds_for_all_messages() -> None:
    """Such a link is constant, and its draws differ between clients and directions."""
    one = link(up=RANDOM, down=RANDOM)
    config = LINKS.validate_python({"up": RANDOM, "down": RANDOM})

    assert one.constant is not None
    assert one.up_bytes_per_s(0) == one.up_bytes_per_s(9) != one.down_bytes_per_s(0)
    assert build_link(config, 0, "pi-1").constant != one.constant == build_link(config, 0, "pi-0").constant


def test_a_rate_drawn_per_message_is_indexed_by_it() -> None:
    """Equal message numbers give equal rates, whatever was asked before."""
    one, other = (link(up=RANDOM | {"redraw": "message"}) for _ in "ab")
    rates = [one.up_bytes_per_s(message) for message in range(100)]

    assert one.constant is None
    assert one.down_bytes_per_s(3) == 2e6
    assert len(set(rates)) == 100
    assert other.up_bytes_per_s(99) == rates[99]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"up": 3, "down": "1 Mbit/s"}, ("up",)),
        ({"up": "0 Mbit/s", "down": "1 Mbit/s"}, ("up",)),
        ({"up": "1 Mbit/s", "down": "35 ms"}, ("down",)),
        ({"up": "1 Mbit/s", "down": {"kind": "exponential", "mean": "35 ms"}}, ("down", "mean")),
        ({"up": "1 Mbit/s", "down": {"kind": "constant", "value": "0 Mbit/s"}}, ("down", "value")),
        ({"up": "1 Mbit/s", "down": RANDOM | {"redraw": "round"}}, ("down", "redraw")),
        ({"up": "1 Mbit/s", "down": {"kind": "cauchy"}}, ("down", "kind")),
        ({"up": "1 Mbit/s", "down": [3]}, ("down",)),
        ({"up": "1 Mbit/s", "down": None}, ("down",)),
        ({"up": "1 Mbit/s"}, ("down",)),
        ({"up": "1 Mbit/s", "down": "1 Mbit/s", "latency": "unlimited"}, ("latency",)),
        ({"up": "1 Mbit/s", "down": "1 Mbit/s", "latency": "-1 s"}, ("latency",)),
        ({"up": "1 Mbit/s", "down": "1 Mbit/s", "lag": "1 s"}, ("lag",)),
        ("wlan", ()),
    ],
)
def test_a_mistake_in_a_link_is_reported_at_its_key(fields: Any, place: tuple[str, ...]) -> None:
    """One problem, at the key where it stands, without the kind in its path."""
    assert mistakes_at(LINKS, fields) == [place]


def test_an_unknown_name_gets_the_closest_one() -> None:
    """The error lists the names and says which may have been meant."""
    with pytest.raises(ValidationError) as caught:
        DEVICES.validate_python("rasberry-pi-4")
    context = caught.value.errors()[0]["ctx"]

    assert context["remedy"] == "did you mean 'raspberry-pi-4'?"
    assert "jetson-nano" in context["allowed"]


@pytest.mark.parametrize(
    ("config", "table", "name"),
    [(LinkConfig, "links", name) for name in entries("links")]
    + [(DeviceConfig, "devices", name) for name in entries("devices")],
)
def test_every_catalog_entry_is_valid_and_sourced(config: type[Cataloged], table: Table, name: str) -> None:
    """It is read like a scenario's own mapping; each figure has a source and a known status."""
    entry = entries(table)[name]
    named, spelled = config.named(name), config.model_validate(entry.mapping())

    assert TypeAdapter(config).dump_python(named, mode="json") == name == named.catalog_name
    assert config.model_validate(name) == named == pickle.loads(pickle.dumps(named))
    assert config.model_validate(spelled.model_dump(mode="json")) == spelled
    assert entry.about
    assert all(figure.source for figure in entry.figures)
    assert {figure.status for figure in entry.figures} <= {"measured", "derived", "assumed"}


def test_a_changed_entry_is_no_longer_the_catalogs() -> None:
    """A copy with another rate is written out in full."""
    changed = LinkConfig.named("wifi").model_copy(update={"up": 1e6})

    assert changed.model_dump(mode="json")["up"] == "1000000.0 byte/s"


def test_figures_of_the_catalog_are_those_of_their_sources() -> None:
    """Half of a round trip of 47 ms; 16 GFLOP/s of ResNet-18 training on a Pi 4."""
    assert LinkConfig.named("5g-us").latency == 0.0235
    assert DeviceConfig.named("raspberry-pi-4").compute == 16e9


@pytest.mark.parametrize(("name", "bit_per_s"), [("dr0", 250), ("dr5", 5470), ("dr6", 11e3), ("fsk", 50e3)])
def test_a_lorawan_radio_sends_at_its_rate_and_then_is_silent(name: str, bit_per_s: float) -> None:
    """8 KiB at data rate 5 take 12 s of sending; with the silence after it, 20 minutes."""
    up = LinkConfig.named(f"lorawan-{name}").build(0, "client").up
    rate = up.rate_of(0)

    assert rate == bit_per_s / 8
    assert up.silent_s(1.0) == pytest.approx(99.0)
    if name == "dr5":
        sending_s = 8 * 1024 / rate
        assert (sending_s + up.silent_s(sending_s)) / 60 == pytest.approx(20, rel=0.01)


def test_no_rate_of_the_catalog_contains_a_duty_cycle() -> None:
    """It stands beside the rate, so that the energy of sending is that of the time of sending."""
    for name in entries("links"):
        assert (LinkConfig.named(name).duty_cycle < 1) == name.startswith("lorawan")


def test_8_kib_over_lorawan_cost_the_joules_of_12_seconds() -> None:
    """Sending draws 100 mW for 65536 / 5470 s, not for the 20 minutes until the next message."""
    device = {"compute": "8 GFLOP/s", "power": {"send": "100 mW"}}
    fleet = {"clients": 1, "groups": [{"device": device, "link": "lorawan-dr5"}]}
    costs = {**COSTS, "activation": "8 KiB", "labels": "0 byte", "client_model": "0 byte"}
    workload = {**data()["workload"], "costs": costs}
    server = {"link": {"up": "unlimited", "down": "unlimited"}}
    run = simulate(read(data(workload=workload, fleet=fleet, server=server)), timing_only=True)
    sent = run.spans[(run.spans["activity"] == "uplink") & (run.spans["bytes"] > 0)]

    assert sent["active_energy_j"].tolist() == pytest.approx([0.1 * 65536 / 5470])


def test_a_distribution_of_rates_may_be_given_in_python() -> None:
    """It stands for the mapping with the defaults of the place."""
    config = LinkConfig(up=Lognormal(median="10 Mbit/s", sigma=0.5), down=math.inf)  # type: ignore[arg-type]

    assert config == LINKS.validate_python({"up": RANDOM, "down": "unlimited"})


def test_a_computing_rate_is_drawn_once_per_device() -> None:
    """The same device always gets the same rate, another device another one."""
    config = DEVICES.validate_python(
        {"compute": {"kind": "uniform", "low": "1 GFLOP/s", "high": "2 GFLOP/s"}}
    )
    rates = [compute_rate(config, 0, name) for name in ("pi-0", "pi-0", "pi-1")]

    assert rates[0] == rates[1] != rates[2]
    assert all(1e9 <= rate <= 2e9 for rate in rates)


def test_sending_draws_what_idling_does_where_unknown() -> None:
    """Unknown idling is 0 W, the other states count as idling where they are unknown."""
    config = DEVICES.validate_python({"compute": "1 GFLOP/s", "power": {"idle": "2 W", "receive": "3 W"}})
    drawn = power(config.power)

    assert (drawn.idle_w, drawn.compute_w, drawn.send_w, drawn.receive_w) == (2, 2, 2, 3)
    assert power(None).compute_w == 0


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"compute": "16 GHz"}, ("compute",)),
        ({"compute": {"kind": "constant", "value": 3}}, ("compute", "value")),
        ({"compute": "1 GFLOP/s", "memory": 4}, ("memory",)),
        ({"compute": "1 GFLOP/s", "power": {"idle": "4"}}, ("power", "idle")),
        ({"memory": "4 GB"}, ("compute",)),
        (3, ()),
    ],
)
def test_a_mistake_in_a_device_is_reported_at_its_key(fields: Any, place: tuple[str, ...]) -> None:
    """One problem, at the key where it stands."""
    assert mistakes_at(DEVICES, fields) == [place]
