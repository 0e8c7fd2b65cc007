"""Any algorithm on any fleet, links and server: the run ends, and what its spans say is possible."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import COSTS, UNLIMITED, data, read

from sflsim import registry
from sflsim.experiment import simulate
from sflsim.fleet.devices import Device
from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.learning.costs import CostOverrides
from sflsim.run import Run

RUNS = settings(deadline=None, suppress_health_check=list(HealthCheck))
RATES_CSV = str(Path(__file__).with_name("rates.csv"))
MESSAGES = {  # bytes: primes, so that each size on the wire tells what was sent
    "activation": 1009,
    "labels": 13,
    "client_model": 211,
    "server_model": 499,
    "auxiliary_model": 103,
    "scalar": 3,
}
FLOPS = {name: f"{place + 5} FLOP" for place, name in enumerate(COSTS) if COSTS[name].endswith("FLOP")}
BASE = {**COSTS, **FLOPS, **{name: f"{size} byte" for name, size in MESSAGES.items()}}
Sizes = frozenset[int]
PARTS, WHOLE, AUXILIARY, BATCH, GRADIENT = (
    frozenset({size}) for size in (211, 211 + 499, 211 + 103, 1009 + 13, 1009)
)
UP: dict[str, Sizes] = {
    **dict.fromkeys(("splitfed-v1", "splitfed-v2", "sl", "gas"), BATCH | PARTS),
    **dict.fromkeys(("mu-splitfed", "zo-splitfed", "zo-gas"), BATCH | PARTS | GRADIENT),
    **dict.fromkeys(("fedavg", "fedlora", "fedasync", "fedbuff"), WHOLE),
    **dict.fromkeys(("cse-fsl", "heron-sfl"), BATCH | AUXILIARY),
    **dict.fromkeys(("ho-sfl", "frozen-client"), BATCH),
}
DOWN: dict[str, Sizes] = {
    **dict.fromkeys(("splitfed-v1", "splitfed-v2", "sl", "gas"), GRADIENT | PARTS),
    **dict.fromkeys(("mu-splitfed", "zo-splitfed", "zo-gas"), PARTS),
    **dict.fromkeys(("fedavg", "fedlora", "fedasync", "fedbuff"), WHOLE),
    **dict.fromkeys(("cse-fsl", "heron-sfl"), AUXILIARY),
    "ho-sfl": GRADIENT,
    "frozen-client": frozenset(),
}
SCALARS = {"ho-sfl", "mu-splitfed", "zo-splitfed", "zo-gas"}  # which send some number of scalars, too
ASYNCHRONOUS = ("sl", "gas", "zo-gas", "fedasync", "fedbuff")
SETTINGS: dict[str, dict[str, list[Any]]] = {
    "splitfed-v1": {"local_iterations": [1, 3]},
    "splitfed-v2": {"local_iterations": [1, 3]},
    "mu-splitfed": {"tau": [1, 3, "adaptive"], "tau_max": [8], "perturbations": [1, 2]},
    "ho-sfl": {"perturbations": [1, 3]},
    "gas": {"q_s": [2], "q_c": [2], "local_iterations": [1, 2]},
    "zo-gas": {"q_s": [2], "q_c": [2], "local_iterations": [1, 2]},
    "fedbuff": {"b": [1, 2], "local_iterations": [2]},
    "fedavg": {"local_iterations": [1, 2]},
    "cse-fsl": {"local_iterations": [2, 4], "q": [1, 2]},
    "heron-sfl": {"local_iterations": [2, 4], "q": [1, 2]},
    "frozen-client": {"local_iterations": [1, 3]},
}
POWER = {"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "2 W"}  # 1 W above idle: J are s
SECONDS = ("compute_s", "slowdown_s", "uplink_s", "downlink_s", "wait_s")


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    """Return one of some values."""
    return st.sampled_from(values)


def law(median: float, unit: str, **more: list[Any]) -> st.SearchStrategy[Any]:
    """Return a constant or a distribution about `median`, with one of each of the further keys' values."""
    drawn = {
        "kind": st.just("lognormal"),
        "median": st.just(f"{median} {unit}"),
        "sigma": one_of(0.2, 1.5),
        **{key: one_of(*values) for key, values in more.items()},
    }
    return one_of(f"{median} {unit}", f"{median / 8} {unit}") | st.fixed_dictionaries(drawn)


def trace(column: str, unit: str) -> dict[str, Any]:
    """Return a rate over time from the file beside this one."""
    return {"kind": "trace", "file": RATES_CSV, "column": column, "values_in": unit, "repeat": "60 s"}


REDRAW: dict[str, list[Any]] = {"redraw": ["client", "message"]}
TRACES = one_of(trace("wavering", "byte/s"), trace("halting", "byte/s"))
RATES = st.just("unlimited") | law(800, "byte/s", **REDRAW) | TRACES
LINKS = st.fixed_dictionaries(
    {"up": RATES, "down": RATES, "latency": st.just("0 s") | law(0.5, "s", redraw=["client"])},
    optional={
        "jitter": st.just({"kind": "exponential", "mean": "1 s"}),
        "in_order": st.booleans(),
        "loss": one_of("1%", "40%"),
        "packet": one_of("100 byte", "1500 byte"),
        "duty_cycle": one_of("10%", "75%"),
    },
)
STRAGGLERS = st.none() | st.fixed_dictionaries(
    {"redraw": one_of("client", "round", "exchange")},
    optional={
        "correlation": one_of(0.5, 1),
        "spells": one_of({"slow": 3, "normal": 2}, {"slow": 2, "normal": 9}),
    },
).flatmap(
    lambda rest: one_of(
        {"kind": "exponential", "mean": "3 s", **rest},
        {"kind": "pareto", "scale": 1, "shape": 1.5, "effect": "multiplicative", **rest},
    )
)
GROUPS = st.fixed_dictionaries(
    {
        "device": st.fixed_dictionaries(
            {
                "compute": law(30, "FLOP/s") | st.just(trace("compute", "FLOP/s")),
                "power": st.just(POWER),
            },
            optional={"forward": st.just("50 FLOP/s")},
        ),
        "link": st.just(UNLIMITED) | LINKS,
        "count": st.integers(1, 3),
    }
)
POINTS = one_of({"shared": "700 byte/s"}, {"up": "300 byte/s"}, {"up": "500 byte/s", "down": "2 kB/s"})
TRUNKS = one_of(
    UNLIMITED, {"up": "unlimited", "down": "600 byte/s"}, {"up": "2 kB/s", "down": "900 byte/s"},
    {"up": trace("halting", "byte/s"), "down": trace("wavering", "byte/s")},
)  # fmt: skip


@st.composite
def variants(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an algorithm with its settings; a late participant may be dropped or replaced."""
    name = draw(one_of(*sorted(registry.algorithms())))
    chosen = {key: draw(one_of(*values)) for key, values in SETTINGS.get(name, {}).items()}
    if name not in ASYNCHRONOUS:
        chosen |= draw(st.fixed_dictionaries({}, optional={"over_selection": one_of(1, 2)}))
        if chosen.get("tau") != "adaptive":
            chosen |= draw(st.fixed_dictionaries({}, optional={"deadline": one_of("4 s", "60 s")}))
    return {"algorithm": name, **chosen}


@st.composite
def fleets(draw: st.DrawFn, least: int) -> dict[str, Any]:
    """Draw a fleet of some groups, some of them behind access points, some of them coming and going."""
    drawn = draw(st.lists(GROUPS, min_size=1, max_size=3))
    groups: list[dict[str, Any]] = [{**group, "name": f"g{place}"} for place, group in enumerate(drawn)]
    if sum(group["count"] for group in groups) < least:
        groups[0]["count"] = least
    fleet: dict[str, Any] = {"clients": sum(group["count"] for group in groups), "groups": groups}
    fleet["participants"] = draw(st.integers(least, fleet["clients"]))
    if straggler := draw(STRAGGLERS):
        fleet["straggler"] = straggler
    if draw(st.booleans()):
        fleet["access_points"] = {"cell": draw(POINTS)}
        for group in draw(st.lists(one_of(*groups), min_size=1, unique_by=lambda group: group["name"])):
            group["access_point"] = "cell"
            group |= draw(st.fixed_dictionaries({}, optional={"clients_per_access_point": one_of(1, 2)}))
    if draw(st.integers(0, 3)) == 0:
        fleet["availability"] = {"kind": "markov", "on": "60 s", "off": draw(one_of("5 s", "90 s"))}
    return fleet


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid scenario of a few clients and rounds."""
    variant = draw(variants())
    name = variant["algorithm"]
    fleet = draw(fleets(2 if name in ("gas", "zo-gas") else 1))
    model: dict[str, Any] = {"kind": "mlp", "hidden": [8]}
    if name == "fedlora":
        model["adapters"] = {"rank": 2, "alpha": 2}
    server: dict[str, Any] = {
        "compute": draw(one_of("5 FLOP/s", "60 FLOP/s", "unlimited")),
        "slots": draw(st.integers(1, 3)),
        "discipline": draw(one_of("fifo", "fair")),
        "link": draw(TRUNKS),
    }
    if draw(st.booleans()):
        server["fed"] = {"link": draw(TRUNKS)}
    if draw(st.booleans()):
        least_bytes = least_memory_bytes(variant, fleet["participants"])
        server["memory"] = f"{least_bytes + 499 * draw(st.integers(0, 3))} byte"
    return data(
        seeds=[draw(st.integers(0, 2**63 - 1))],
        workload={"model": model, "cut": 1, "batch_size": 8, "costs": BASE},
        fleet=fleet,
        server=server,
        variants=[variant],
        stop={"rounds": draw(st.integers(1, 4)), "time": "3 days"},
        evaluate={"every": draw(one_of("1 round", "3 rounds", "1 h"))},
    )


def least_memory_bytes(variant: dict[str, Any], participants: int) -> float:
    """Return the least memory with which a server can serve an algorithm."""
    kind = registry.algorithms()[variant["algorithm"]]
    costs = CostOverrides.model_validate(BASE).complete()
    assert costs is not None
    everybody = participants + variant.get("over_selection", 0)
    return float(kind(kind.Config(**variant)).server_least_bytes(costs, everybody))


# The laws.


def check(content: dict[str, Any], run: Run) -> None:
    """Check every law on the tables of a run."""
    spans, (row,) = run.spans, run.runs.to_dict("records")
    comes_and_goes = "availability" in content["fleet"]
    assert row["status"] == "completed" or (comes_and_goes and row["status"] == "stalled")
    assert (spans["end_s"] >= spans["start_s"]).all()
    assert (spans["end_s"] <= row["time_s"] * (1 + 1e-12)).all()
    fleet = build_fleet(FleetConfig.model_validate(content["fleet"]), content["seeds"][0])
    devices = {device.name: device for device in map(fleet.device, range(len(fleet)))}
    check_processors(spans)
    check_server(content["server"], spans, float(row["server_busy_s"]))
    sent = spans[spans["activity"].isin(["uplink", "downlink"])]
    for (name, way), own in sent.groupby(["client", "activity"]):
        check_direction(devices[str(name)], str(way), own, comes_and_goes)
    check_sizes(content, sent)
    check_media(content, devices, sent)
    check_sums(run)


def check_processors(spans: pd.DataFrame) -> None:
    """No device computes two things at once, or while it is held up."""
    for _, own in spans[spans["activity"].isin(["compute", "slowdown"])].groupby("client"):
        assert_apart(own["start_s"].to_numpy(), own["end_s"].to_numpy())


def assert_apart(starts_s: npt.NDArray[Any], ends_s: npt.NDArray[Any]) -> None:
    """Assert that no two intervals overlap."""
    order = np.lexsort((ends_s, starts_s))
    starts_s, ends_s = starts_s[order], ends_s[order]
    assert (starts_s[1:] >= ends_s[:-1] - slack_s(ends_s[:-1])).all()


def slack_s(times_s: Any) -> Any:
    """Return what rounding may move a time by."""
    return 1e-9 * np.maximum(1.0, times_s)


def check_server(server: dict[str, Any], spans: pd.DataFrame, busy_s: float) -> None:
    """At no instant are there more jobs than slots; in no window is more done than slots can do."""
    served = spans[spans["activity"] == "serve"]
    starts_s, ends_s, slots = served["start_s"].to_numpy(), served["end_s"].to_numpy(), server["slots"]
    for _, own in served.groupby("actor"):
        assert_apart(own["start_s"].to_numpy(), own["end_s"].to_numpy())
    rate = math.inf if server["compute"] == "unlimited" else float(server["compute"].split()[0])
    seconds = served["flop"].to_numpy() / rate
    assert math.isclose(busy_s, seconds.sum(), rel_tol=1e-9, abs_tol=1e-9)
    assert_carried(starts_s, ends_s, seconds, slots)
    assert (ends_s - starts_s >= seconds - slack_s(ends_s)).all()
    if server["discipline"] == "fifo":
        events_s = np.unique(starts_s)
        at_once = (starts_s[None] <= events_s[:, None]) & (ends_s[None] > events_s[:, None])
        assert at_once.sum(axis=1).max(initial=0) <= slots


def assert_carried(starts_s: Any, ends_s: Any, amounts: Any, per_s: float) -> None:
    """Assert that what lies within any window between two events is at most `per_s` times its length."""
    begins, begin_of = np.unique(starts_s, return_inverse=True)
    finishes, finish_of = np.unique(ends_s, return_inverse=True)
    inside = np.zeros((len(begins), len(finishes)))
    np.add.at(inside, (begin_of, finish_of), amounts)
    inside = inside[::-1].cumsum(axis=0)[::-1].cumsum(axis=1)  # from begins[i] on, up to finishes[j]
    lengths_s = np.maximum(finishes[None] - begins[:, None], 0)
    assert (inside <= per_s * (lengths_s + slack_s(finishes)) * (1 + 1e-9) + 1e-6).all()


def check_direction(device: Device, way: str, own: pd.DataFrame, comes_and_goes: bool) -> None:
    """Messages leave one after another, at the link's rate at most, silent after each as it asks for."""
    direction = device.link.up if way == "uplink" else device.link.down
    own = own.assign(sending_s=own["energy_j"]).sort_values(["start_s", "sending_s"])
    starts_s, sending_s = own["start_s"].to_numpy(), own["sending_s"].to_numpy()
    assert (starts_s + sending_s <= own["end_s"].to_numpy() + slack_s(own["end_s"].to_numpy())).all()
    silent_s = 0.0 if comes_and_goes else sending_s * (1 / direction.duty_cycle - 1)  # forgotten when gone
    assert_apart(starts_s, starts_s + sending_s + silent_s)
    if isinstance(direction.rate, float):
        least_s = own["bytes"].to_numpy() / direction.rate
        whole = (own["outcome"] != "lost").to_numpy()
        assert (sending_s[whole] >= least_s[whole] * (1 - 1e-9) - slack_s(starts_s[whole])).all()
    if direction.in_order:
        arrivals_s = own.loc[own["outcome"] != "lost", "end_s"].to_numpy()
        assert (np.diff(arrivals_s) >= -slack_s(arrivals_s[1:])).all()


def check_sizes(content: dict[str, Any], sent: pd.DataFrame) -> None:
    """A whole transfer has the size of a message of its algorithm; with loss, some packets more."""
    name = content["variants"][0]["algorithm"]
    links = {group["name"]: group["link"] for group in content["fleet"]["groups"]}
    whole = sent[sent["outcome"] != "lost"]
    for (way, client), own in whole.groupby(["activity", "client"]):
        sizes = (UP if way == "uplink" else DOWN)[name] | (
            {3 * n for n in range(1, 200)} if name in SCALARS else set()
        )
        link = links[str(client).rpartition("-")[0]]
        found = own["bytes"].unique()
        if "loss" not in link:
            assert set(found) <= sizes, (way, client)
        else:
            packet_bytes = float(link.get("packet", "1500 byte").split()[0])
            assert all(any(is_resent(size, of, packet_bytes) for of in sizes) for size in found)


def is_resent(found_bytes: float, size_bytes: int, packet_bytes: float) -> bool:
    """Tell whether this is a message of so many bytes, some of whose packets were sent more than once."""
    packets = math.ceil(size_bytes / packet_bytes)
    sent = found_bytes * packets / size_bytes
    return sent >= packets - 1e-6 and math.isclose(sent, round(sent), abs_tol=1e-6)


def check_media(content: dict[str, Any], devices: dict[str, Device], sent: pd.DataFrame) -> None:
    """What passes a shared medium within any window is at most its capacity times the window."""
    server = content["server"]
    links = [server["link"], *([server["fed"]["link"]] if "fed" in server else [])]
    for way, key in (("uplink", "down"), ("downlink", "up")):
        rates = [link[key] for link in links]
        if all(isinstance(rate, str) and rate != "unlimited" for rate in rates):
            assert_shared(sent[sent["activity"] == way], sum(map(bytes_per_s, rates)))
    points = {name: device.access_point for name, device in devices.items() if device.access_point}
    behind = sent["client"].map({name: point.name for name, point in points.items()})
    for point in set(points.values()):
        own = sent[behind == point.name]
        assert_shared(own, point.shared)
        assert_shared(own[own["activity"] == "uplink"], point.up)
        assert_shared(own[own["activity"] == "downlink"], point.down)


def bytes_per_s(rate: str) -> float:
    """Return a capacity of this file in bytes per second."""
    return float(rate.split()[0]) * (1000 if "kB" in rate else 1)


def assert_shared(sent: pd.DataFrame, capacity_bytes_per_s: Any) -> None:
    """Assert that transfers keep within a capacity; those cut count, what had passed of them does."""
    if len(sent) and capacity_bytes_per_s < math.inf:
        starts_s = sent["start_s"].to_numpy()
        ends_s = starts_s + sent["energy_j"].to_numpy()
        assert_carried(starts_s, ends_s, sent["bytes"].to_numpy(), capacity_bytes_per_s)


def check_sums(run: Run) -> None:
    """The last evaluation and the clients' columns are sums of spans."""
    spans, clients, last = run.spans, run.clients.set_index("client"), run.evaluations.iloc[-1]
    spans = spans.assign(seconds=spans["end_s"] - spans["start_s"])
    own = spans[spans["actor"] == spans["client"]]
    wasted = own[own["outcome"].isin(["wasted", "lost"])]
    expected = {
        **{f"{name}": of(own, name.removesuffix("_s"), "seconds") for name in SECONDS},
        **{f"{way}_bytes": of(own, way, "bytes") for way in ("uplink", "downlink")},
        "flop": own.groupby("client")["flop"].sum(),
        "energy_j": own.groupby("client")["energy_j"].sum().add(clients["idle_j"], fill_value=0),
        "wasted_s": wasted.groupby("client")["seconds"].sum(),
        "wasted_bytes": wasted.groupby("client")["bytes"].sum(),
        "rounds": own.groupby("client")["round"].nunique(),
        "dropped": wasted.groupby("client")["round"].nunique(),
    }
    for column, sums in expected.items():
        sums = sums.reindex(clients.index, fill_value=0)
        assert np.allclose(clients[column], sums, rtol=1e-9, atol=1e-9), column
    for column in ("client_busy_s", "energy_j", "uplink_bytes", "downlink_bytes"):
        total = clients["compute_s" if column == "client_busy_s" else column].sum()
        assert math.isclose(last[column], total, rel_tol=1e-9, abs_tol=1e-9), column


def of(own: pd.DataFrame, activity: str, column: str) -> Any:
    """Return the sum of a column over one activity for each client."""
    return own[own["activity"] == activity].groupby("client")[column].sum()


@settings(RUNS, max_examples=24)
@given(scenarios())
def test_random_runs(content: dict[str, Any]) -> None:
    """Some dozens of scenarios; hundreds in the slow test below."""
    check(content, simulate(read(content), timing_only=True))


@pytest.mark.slow
@settings(RUNS, max_examples=200)
@given(scenarios())
def test_hundreds_of_random_runs(content: dict[str, Any]) -> None:
    """The same laws; of every fourth, the other tables are the same without spans."""
    run = simulate(read(content), timing_only=True)
    check(content, run)
    if content["seeds"][0] % 4:
        return
    lean = simulate(read(content), timing_only=True, keep_spans=False)
    for table in ("evaluations", "clients", "runs"):
        pd.testing.assert_frame_equal(getattr(run, table), getattr(lean, table))
