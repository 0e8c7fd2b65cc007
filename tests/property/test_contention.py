"""Server links that never bind, sometimes or always: a message takes what the fluid model says.

Behind an access point that is wider than all links together, every message is a transfer of the fluid
model and no time changes. So a run must be the same with such an access point and without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from property.random_scenarios import ABSENT, BASE, POWER, product_of, variants
from support import UNLIMITED, data, read

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

KEYS = ["client", "actor", "activity", "round", "start_s"]
WIDE = {"shared": "8 Tbit/s"}


def drawn(median: float, unit: str, **keys: Any) -> dict[str, Any]:
    """Return a distribution, so that no two times are equal by chance."""
    return {"kind": "lognormal", "median": f"{median} {unit}", "sigma": 0.6, **keys}


GROUPS = product_of(
    count=[2, 5],
    up=[drawn(800, "byte/s"), drawn(200, "byte/s"), "777 byte/s"],
    down=[drawn(800, "byte/s"), drawn(3000, "byte/s"), "1234 byte/s"],
    latency=[ABSENT, drawn(0.5, "s", redraw="client")],
    jitter=[ABSENT, ABSENT, {"kind": "exponential", "mean": "1 s"}],
    loss=[ABSENT, "20%"],
)
CAPACITIES = ["150 byte/s", "900 byte/s", "2 kB/s", "5 kB/s", "1 MB/s"]
SERVERS = product_of(
    compute=["60 FLOP/s", "unlimited"],
    slots=[1, 3],
    up=[*CAPACITIES, "unlimited"],
    down=CAPACITIES,
    fed=[ABSENT, ABSENT, UNLIMITED, {"up": "700 byte/s", "down": "3 kB/s"}],
)
MOVES = st.sampled_from(
    [
        *[[]] * 4,
        [{"at": "7.7 s", "group": "g0", "leave": True}, {"at": "9.9 s", "group": "g0", "join": True}],
        [{"at": "6.1 s", "set": {"device.speed": 0.5}}],
        [{"at": "5.3 s", "group": "g0", "leave": True}],
    ]
)
PRESENCES = st.sampled_from([*[ABSENT] * 4, {"kind": "markov", "on": "9 s", "off": "5 s"}])
EVERY = st.sampled_from(["1 round", "3.1 s"])


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a fleet of constant rates before a limited server link."""
    groups = []
    for place, group in enumerate(draw(st.lists(GROUPS, min_size=1, max_size=3))):
        device = {"compute": drawn(40, "FLOP/s"), "power": POWER}
        link = {key: value for key, value in group.items() if key != "count"}
        groups.append({"name": f"g{place}", "count": group["count"], "device": device, "link": link})
    fleet: dict[str, Any] = {"clients": sum(group["count"] for group in groups), "groups": groups}
    fleet["participants"] = draw(st.integers(1, fleet["clients"]))
    fleet["straggler"] = {"kind": "exponential", "mean": "2 s", "redraw": "exchange"}
    if moves := draw(MOVES):
        fleet["events"] = moves
    if presence := draw(PRESENCES):
        fleet["availability"] = presence
    server = draw(SERVERS)
    server["link"] = {"up": server.pop("up"), "down": server.pop("down"), "latency": "20 ms"}
    if fed := server.pop("fed", ABSENT):
        server["fed"] = {"link": fed}
    variant = draw(variants())
    model: dict[str, Any] = {"kind": "mlp", "hidden": [8]}
    if variant["algorithm"] == "fedlora":
        model["adapters"] = {"rank": 2, "alpha": 2}
    return data(
        seeds=[draw(st.integers(0, 2**31))],
        workload={"model": model, "cut": 1, "batch_size": 8, "costs": BASE},
        fleet=fleet,
        server=server,
        variants=[variant],
        stop={"rounds": draw(st.integers(1, 4)), "time": "200 s"},
        evaluate={"every": draw(EVERY)},
    )


def behind_a_wide_access_point(content: dict[str, Any]) -> dict[str, Any]:
    fleet = content["fleet"]
    groups = [{**group, "access_point": "wide"} for group in fleet["groups"]]
    return {**content, "fleet": {**fleet, "groups": groups, "access_points": {"wide": WIDE}}}


def ordered(run: Run) -> pd.DataFrame:
    """Return the spans that take time, in an order that does not depend on that of the events."""
    spans = run.spans[run.spans["end_s"] - run.spans["start_s"] > 1e-10]
    return spans.sort_values(KEYS, kind="stable").reset_index(drop=True)


def throughput_at(run: Run, link: str, times_s: np.ndarray) -> np.ndarray:
    rows = run.link_throughput[run.link_throughput["link"] == link]
    assert rows["time_s"].is_monotonic_increasing
    steps = np.concatenate([[0.0], rows["bytes_per_s"]])
    return steps[np.searchsorted(rows["time_s"], times_s, side="right")]


def assert_same(run: Run, other: Run) -> None:
    """Assert that two runs have the same spans, evaluations and throughput of the servers' links."""
    for found, expected in ((ordered(run), ordered(other)), (run.evaluations, other.evaluations)):
        pd.testing.assert_frame_equal(found, expected, rtol=1e-10, atol=1e-6)  # of bytes, FLOP and J
        times_s = [name for name in ("start_s", "end_s", "time_s") if name in found]
        np.testing.assert_allclose(found[times_s], expected[times_s], rtol=0.0, atol=1e-10)
    for link in {*run.link_throughput["link"], *other.link_throughput["link"]} - {"access point wide"}:
        changes_s = np.unique(
            np.concatenate([run.link_throughput["time_s"], other.link_throughput["time_s"]])
        )
        middles_s = (changes_s[1:] + changes_s[:-1])[np.diff(changes_s) > 1e-8] / 2
        found, expected = (throughput_at(one, link, middles_s) for one in (run, other))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(scenarios())
def test_it_is_the_fluid_model(content: dict[str, Any]) -> None:
    """Any algorithm, losses, jitter, drop-outs, with capacities that bind never, sometimes or always."""
    run = simulate(read(content), timing_only=True)
    assert_same(run, simulate(read(behind_a_wide_access_point(content)), timing_only=True))


@settings(max_examples=10, deadline=None)
@given(scenarios())
def test_a_capacity_that_never_binds_changes_no_bit(content: dict[str, Any]) -> None:
    """A server link of 1 GB/s gives the tables of an unlimited one."""
    server = {key: value for key, value in content["server"].items() if key != "fed"}
    runs = [
        simulate(
            read({**content, "server": {**server, "link": {"up": rate, "down": rate}}}), timing_only=True
        )
        for rate in ("1 GB/s", "unlimited")
    ]
    for table in ("spans", "evaluations", "clients", "runs"):
        pd.testing.assert_frame_equal(*(getattr(run, table) for run in runs), check_exact=True)
