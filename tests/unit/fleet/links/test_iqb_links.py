"""Links from percentiles in the JSON form of m-lab/iqb: what they become, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import data, read

from sflsim.errors import ScenarioError
from sflsim.fleet.catalog import entries
from sflsim.fleet.links.links import LinkConfig, RateConfig
from sflsim.fleet.population import FleetConfig, build_fleet

MEASURED: dict[str, Any] = {  # p1 is the worst of each
    "sample_counts": {"downloads": 9, "uploads": 8},
    "metrics": {
        "download_throughput_mbps": {"p1": 1, "p50": 16, "p99": 80},
        "upload_throughput_mbps": {"p1": 0.8, "p50": 8, "p99": 40},
        "latency_ms": {"p1": 200.0, "p50": 30.0, "p99": 4.0},
        "packet_loss": {"p1": 0.2, "p50": 0.0, "p99": 0.0},
    },
}


def scenario(folder: Path, content: Any = MEASURED, **link: Any) -> Any:
    """Return a scenario of one device whose link is read from a file of that content."""
    path = folder / "country.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    group = {
        "name": "pi",
        "device": {"compute": "8 FLOP/s"},
        "link": {"kind": "iqb", "file": str(path)} | link,
    }
    return data(fleet={"clients": 1, "groups": [group]})


def test_percentiles_become_the_rates_and_the_latency_of_a_link(tmp_path: Path) -> None:
    """Rates as they are, of the round trip half, p1 (the worst) being its highest; loss is left out."""
    link = read(scenario(tmp_path)).fleet.groups[0].link

    assert link == LinkConfig.model_validate(
        {
            "up": {"kind": "quantiles", "p1": "0.1 MB/s", "p50": "1 MB/s", "p99": "5 MB/s"},
            "down": {"kind": "quantiles", "p1": "0.125 MB/s", "p50": "2 MB/s", "p99": "10 MB/s"},
            "latency": {"kind": "quantiles", "p1": "2 ms", "p50": "15 ms", "p99": "100 ms"},
        }
    )


def test_the_scenario_written_back_needs_no_file(tmp_path: Path) -> None:
    """The percentiles stand in it; with a BOM and CRLF they are read as the same."""
    one = read(scenario(tmp_path))
    other = read(
        scenario(tmp_path, b"\xef\xbb\xbf" + json.dumps(MEASURED, indent=1).replace("\n", "\r\n").encode())
    )
    (tmp_path / "country.json").unlink()

    assert read(yaml.safe_load(one.to_yaml())) == one == other


def test_keys_of_a_link_stand_in_place_of_the_files(tmp_path: Path) -> None:
    """A latency, a loss; the rates are still the file's."""
    link = read(scenario(tmp_path, latency="3 ms", jitter="1 ms", loss="1%")).fleet.groups[0].link

    assert (link.latency, link.jitter, link.loss) == (0.003, 0.001, 0.01)
    assert isinstance(link.up, RateConfig)


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    """Return the change that takes out what is at `path`."""

    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def with_percents(metric: str, **percents: Any) -> Callable[[dict[str, Any]], None]:
    """Return the change that sets percents of a metric."""
    return lambda content: content["metrics"][metric].update(percents)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (without("metrics"), "no mapping 'metrics'"),
        (without("metrics", "latency_ms"), "no 'latency_ms'"),
        (without("metrics", "upload_throughput_mbps"), "no 'upload_throughput_mbps'"),
        (with_percents("latency_ms", p50=None), "nothing at 'metrics.latency_ms.p50'"),
        (with_percents("latency_ms", p50="30"), "'30' at 'metrics.latency_ms.p50'"),
        (with_percents("latency_ms", p50=True), "True at 'metrics.latency_ms.p50'"),
        (with_percents("latency_ms", p50=-1), "-1 at 'metrics.latency_ms.p50'"),
        (with_percents("latency_ms", p50=10**400), "which is no amount"),
        (with_percents("latency_ms", p1=4.0, p99=200.0), "which is out of order"),
        (with_percents("download_throughput_mbps", p50=0.5), "p1 1, p50 0.5"),
        (with_percents("download_throughput_mbps", median=5), "'metrics.download_throughput_mbps.median'"),
        (with_percents("upload_throughput_mbps", p1=0), "which is no rate"),
    ],
)
def test_what_is_no_such_file_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], found: str
) -> None:
    """At the key of the file, with the place in it."""
    content = deepcopy(MEASURED)
    change(content)
    check_refused(scenario(tmp_path, content), "file", found)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"[]", "no object"),
        (b"{", "line 1"),
        (b'{"metrics": {},\n"metrics": {}}', "twice"),
        (b'{"metrics":\nNaN}', "NaN"),
        (json.dumps(MEASURED).encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    """At the key of the file."""
    check_refused(scenario(tmp_path, content), "file", found)


@pytest.mark.parametrize(
    ("link", "key"),
    [
        ({"file": "none.json"}, "file"),
        ({"up": "fast"}, "up"),
        ({"latncy": "3 ms"}, "latncy"),
        ({"kind": "iqp"}, "kind"),
        ({"loss": 3}, "loss"),
    ],
)
def test_wrong_keys_beside_the_file_are_refused(tmp_path: Path, link: dict[str, Any], key: str) -> None:
    """Each at its own."""
    check_refused(scenario(tmp_path, **link), key, "")


def check_refused(content: Any, key: str, found: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(content)
    (problem,) = caught.value.problems

    assert problem.path == f"fleet.groups[0].link.{key}"
    assert found in str(problem)
    assert problem.allowed


@pytest.mark.parametrize("name", [name for name in entries("links") if name.startswith("country-")])
def test_the_links_of_a_country_have_its_median(name: str) -> None:
    """Of 2,000 clients half are below the catalog's p50, within 4 standard errors; each keeps its draws."""
    group = {"device": "phone-mid", "link": name}
    fleet = build_fleet(FleetConfig.model_validate({"clients": 2000, "groups": [group]}), seed=1)
    drawn = np.array([fleet.device(index).link.constant for index in range(2000)], dtype=float)
    figures = LinkConfig.named(name)
    medians = [part.amounts()["p50"] for part in (figures.up, figures.down, figures.latency)]  # type: ignore[union-attr]

    assert (abs((drawn < medians).mean(axis=0) - 0.5) < 4 * 0.5 / 2000**0.5).all()
