"""Links of kind shannon: the rate formula, what is drawn, what is refused."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sflsim.fleet.links.any_link import AnyLink
from sflsim.fleet.links.links import LinkConfig, build_link
from sflsim.fleet.links.shannon import ShannonConfig

LINKS: TypeAdapter[Any] = TypeAdapter(AnyLink)
FAR = {"kind": "shannon", "distance": "1 km"}
SPREAD = {"kind": "shannon", "distance": {"kind": "uniform", "low": "0.1 km", "high": "1 km"}}


@pytest.mark.parametrize("km", [0.1, 0.5, 1.0])
def test_the_rate_is_the_capacity_of_the_channel(km: float) -> None:
    """W log2(1 + P h / (W N0)) at the settings of GAS, in bytes."""
    signal_w = 0.2 * 10 ** (-(128.1 + 37.6 * math.log10(km)) / 10)
    link = build_link(LINKS.validate_python({**FAR, "distance": f"{km} km"}), 0, "a")

    assert link.up_bytes_per_s(0) == pytest.approx(10e6 * math.log2(1 + signal_w / (10e6 * 3.981e-21)) / 8)
    assert link.constant == (link.up_bytes_per_s(0), math.inf, 0.0)


def test_every_parameter_counts() -> None:
    """Written out, the defaults are the defaults; any other value gives another rate."""
    settings = {
        "bandwidth": "10 MHz",
        "power": "0.2 W",
        "noise": "3.981e-21 W/Hz",
        "path_loss": {"intercept": "128.1 dB", "slope": "37.6 dB"},
    }
    default, spelled = LINKS.validate_python(FAR), LINKS.validate_python({**FAR, **settings})
    others: list[dict[str, Any]] = [
        {"bandwidth": "5 MHz"}, {"power": "200 uW"}, {"noise": "4e-21 W/Hz"}, {"distance": "999 m"},
        {"path_loss": {"intercept": "120 dB"}},
    ]  # fmt: skip
    rates = {LINKS.validate_python({**FAR, **other}).build(0, "a").up_bytes_per_s(0) for other in others}

    assert default == spelled == pickle.loads(pickle.dumps(default))
    assert len(rates | {default.build(0, "a").up_bytes_per_s(0)}) == len(others) + 1
    steep = LINKS.validate_python({**FAR, "distance": "2 km", "path_loss": {"slope": "40 dB"}})
    assert steep.path_loss.gain(2.0) == pytest.approx(10 ** -(12.81 + 4 * math.log10(2)))


def test_the_distance_is_drawn_once_per_client() -> None:
    """The same client is always as far away; down may have the capacity too."""
    config = LINKS.validate_python({**SPREAD, "down": "shannon"})
    first, again, other = (build_link(config, 0, name) for name in ("a", "a", "b"))

    assert first.up_bytes_per_s(0) == first.up_bytes_per_s(7) == again.up_bytes_per_s(0)
    assert first.up_bytes_per_s(0) != other.up_bytes_per_s(0)
    assert first.down_bytes_per_s(0) == first.up_bytes_per_s(0)


@pytest.mark.parametrize(
    "fields",
    [FAR, SPREAD, {**FAR, "down": "shannon"}, {**FAR, "down": "8 Mbit/s", "latency": "3 ms"}, "wifi"],
)
def test_a_link_is_written_as_it_is_read(fields: Any) -> None:
    """What is dumped reads back to the same Config."""
    config = LINKS.validate_python(fields)

    assert LINKS.validate_python(LINKS.dump_python(config, mode="json")) == config


def test_rates_need_no_kind() -> None:
    """A mapping without `kind` is a link of plain rates, as before."""
    plain = LINKS.validate_python({"up": "1 Mbit/s", "down": "1 Mbit/s"})

    assert isinstance(plain, LinkConfig)
    assert isinstance(LINKS.validate_python(FAR), ShannonConfig)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"kind": "shanon", "distance": "1 km"}, ("kind",)),
        ({"kind": "shannon"}, ("distance",)),
        ({**FAR, "distance": "1 s"}, ("distance",)),
        ({**FAR, "distance": "0 km"}, ("distance",)),
        ({**FAR, "distance": {"kind": "constant", "value": "1 s"}}, ("distance", "value")),
        ({**FAR, "bandwidth": "10 Mbit/s"}, ("bandwidth",)),
        ({**FAR, "power": "0 W"}, ("power",)),
        ({**FAR, "noise": 4e-21}, ("noise",)),
        ({**FAR, "path_loss": {"slope": "37.6"}}, ("path_loss", "slope")),
        ({**FAR, "down": "shanon"}, ("down",)),
        ({**FAR, "up": "1 Mbit/s"}, ("up",)),
    ],
)
def test_a_mistake_is_reported_at_its_key(fields: Any, place: tuple[str, ...]) -> None:
    """One problem, at the key where it stands."""
    with pytest.raises(ValidationError) as caught:
        LINKS.validate_python(fields)

    assert [error["loc"] for error in caught.value.errors()] == [place]
