"""Valid scenarios at random: any algorithm on a fleet, links and a server as they come, few rounds.

Most choices are made by one draw for all of them (`product_of`), so that drawing a scenario is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from support import COSTS, UNLIMITED, data

from sflsim import registry
from sflsim.learning.costs import CostOverrides

ABSENT = None
RATES_CSV = Path(__file__).with_name("rates.csv")
PERIOD_S = 60.0  # after which the rates of that file repeat
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
ASYNCHRONOUS = ("sl", "gas", "zo-gas", "fedasync", "fedbuff")
SETTINGS: dict[str, dict[str, Sequence[Any]]] = {
    "sl": {"local_iterations": [1, 2]},
    "splitfed-v1": {"local_iterations": [1, 3]},
    "splitfed-v2": {"local_iterations": [1, 3]},
    "psl": {"local_iterations": [1, 3], "share_gradient": [ABSENT, "40%"]},
    "mu-splitfed": {"tau": [1, 3, "adaptive"], "tau_max": [8], "perturbations": [1, 2]},
    "ho-sfl": {"perturbations": [1, 3]},
    "gas": {"q_s": [2], "q_c": [2, 5], "local_iterations": [1, 2]},
    "zo-gas": {"q_s": [2], "q_c": [2, 5], "local_iterations": [1, 2]},
    "fedbuff": {"b": [1, 2], "local_iterations": [2]},
    "fedavg": {"local_iterations": [1, 2]},
    "cse-fsl": {"local_iterations": [2, 4], "q": [1, 2]},
    "fsl-sage": {"local_iterations": [2, 4], "q": [1, 2]},
    "heron-sfl": {"local_iterations": [2, 4], "q": [1, 2]},
    "frozen-client": {"local_iterations": [1, 3]},
}
AVERAGE_CLIENTS = [
    name
    for name, one in registry.algorithms().items()
    if "aggregate_clients_every" in registry.config_of(one).model_fields
]
ONE_SIZE = ("gas", "zo-gas")
"""Algorithms that refuse a batch size for each device."""
SIZES = [*[ABSENT] * 4, {"by": "compute", "mean": 8}, {"by": "exchange", "mean": 8, "min": 2, "max": 20}]
SELECTIONS = [*["uniform"] * 3, "by-samples"]
BY_TIMES = [
    *SELECTIONS,
    {"kind": "fedcs", "within": "40 s"},
    {"kind": "fedcs", "within": "40 s", "times": "observed"},
    {"kind": "tifl", "times": "observed"},
]
POWER = {"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "2 W"}  # 1 W above idle: J are s


@st.composite
def product_of(draw: st.DrawFn, /, **choices: Sequence[Any]) -> dict[str, Any]:
    """Draw one value for each key, in one draw for all of them; a key is left out where it is ABSENT."""
    place = draw(st.sampled_from(range(math.prod(map(len, choices.values())))))
    found = {}
    for key, values in choices.items():
        place, digit = divmod(place, len(values))
        found[key] = values[digit]
    return {key: value for key, value in found.items() if value is not ABSENT}


def around(median: float, unit: str, redraws: Sequence[str | None] = (ABSENT,)) -> list[Any]:
    """Return constants and distributions about `median`."""
    drawn = [
        {"kind": "lognormal", "median": f"{median} {unit}", "sigma": sigma}
        | ({"redraw": redraw} if redraw else {})
        for sigma in (0.2, 1.5)
        for redraw in redraws
    ]
    return [f"{median} {unit}", f"{median / 8} {unit}", *drawn]


def trace(column: str, unit: str = "byte/s") -> dict[str, Any]:
    """Return a rate over time from the file beside this one."""
    repeat = f"{PERIOD_S} s"
    return {"kind": "trace", "file": str(RATES_CSV), "column": column, "values_in": unit, "repeat": repeat}


RATES = [
    "unlimited",
    *around(800, "byte/s", ("client", "message")),
    trace("wavering"),
    trace("halting"),
]
LINKS = st.just(UNLIMITED) | product_of(
    up=RATES,
    down=RATES,
    latency=[ABSENT, *around(0.5, "s", ("client",))],
    jitter=[ABSENT, {"kind": "exponential", "mean": "1 s"}],
    in_order=[ABSENT, True],
    loss=[ABSENT, ABSENT, "1%", "40%"],
    packet=[ABSENT, "100 byte", "1500 byte"],
    duty_cycle=[ABSENT, "10%", "75%"],
)
DEVICES = product_of(
    compute=[*around(30, "FLOP/s"), trace("compute", "FLOP/s")], forward=[ABSENT, "50 FLOP/s"], power=[POWER]
)
STRAGGLERS = st.none() | product_of(
    kind=["exponential", "pareto"],
    redraw=["client", "round", "exchange"],
    correlation=[ABSENT, 0.5, 1],
    bursts=[ABSENT, {"slow": 3, "normal": 2}, {"slow": 2, "normal": 9}],
).map(
    lambda drawn: (
        drawn
        | (
            {"mean": "3 s"}
            if drawn["kind"] == "exponential"
            else {"scale": 1, "shape": 1.5, "effect": "multiplicative"}
        )
    )
)
POINTS = st.sampled_from(
    [
        {"shared": "700 byte/s"},
        {"up": "300 byte/s"},
        {"up": "500 byte/s", "down": "2 kB/s"},
        {"shared": trace("wavering")},
        {"up": trace("halting"), "down": trace("wavering")},
        {"down": trace("halting")},
    ]
)
TRUNKS = [
    UNLIMITED,
    {"up": "unlimited", "down": "600 byte/s"},
    {"up": "2 kB/s", "down": "900 byte/s"},
    {"up": trace("halting"), "down": trace("wavering")},
    {"up": trace("wavering"), "down": "unlimited"},
]
STOPS = product_of(rounds=[1, 2, 3, 4], every=["1 round", "3 rounds", "1 h"])
SERVERS = product_of(
    compute=["5 FLOP/s", "60 FLOP/s", "unlimited"],
    slots=[1, 2, 3],
    discipline=["fifo", "fair"],
    link=TRUNKS,
    fed=[ABSENT, *({"link": link} for link in TRUNKS)],
    replicas=[ABSENT, 0, 1, 2, 3],  # that fit beside the least that the server's memory must hold
)
COMING_AND_GOING = st.sampled_from(
    [*[ABSENT] * 6, *({"kind": "markov", "on": "60 s", "off": off} for off in ("5 s", "90 s"))]
)


@st.composite
def variants(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an algorithm with its settings; a late participant may be dropped or replaced."""
    name = draw(st.sampled_from(sorted(registry.algorithms())))
    choices = dict(SETTINGS.get(name, {}))
    if name in AVERAGE_CLIENTS:
        choices["aggregate_clients_every"] = [ABSENT, ABSENT, 2]
    if name not in ASYNCHRONOUS:
        choices |= {"over_selection": [ABSENT, 1, 2], "deadline": [ABSENT, ABSENT, "4 s", "60 s"]}
    chosen: dict[str, Any] = draw(product_of(algorithm=[name], **choices))
    if chosen.get("tau") == "adaptive" or name == "psl":
        chosen.pop("deadline", None)  # refused: each would wait for the other
    return chosen


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a fleet of some groups, some of them behind access points, some of them coming and going."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    groups: list[dict[str, Any]] = [
        {"name": f"g{place}", "count": size, "device": draw(DEVICES), "link": draw(LINKS)}
        for place, size in enumerate(sizes)
    ]
    fleet: dict[str, Any] = {"clients": sum(group["count"] for group in groups), "groups": groups}
    fleet["participants"] = draw(st.integers(1, fleet["clients"]))
    if straggler := draw(STRAGGLERS):
        fleet["straggler"] = straggler
    behind = draw(st.integers(0, 2 ** len(groups) - 1))  # a bit for each group
    if behind:
        fleet["access_points"] = {"cell": draw(POINTS)}
        size = draw(st.sampled_from([ABSENT, 1, 2]))
        for place, group in enumerate(groups):
            if behind & 1 << place:
                group["access_point"] = "cell"
                group |= {"clients_per_access_point": size} if size else {}
    if availability := draw(COMING_AND_GOING):
        fleet["availability"] = availability
    if draw(st.integers(0, 5)) == 0:
        fleet["events"] = [event for group in groups for event in draw(moves(group["name"]))]
    return fleet


@st.composite
def moves(draw: st.DrawFn, group: str) -> list[dict[str, Any]]:
    """Draw when a group leaves, comes back and leaves again."""
    times_s = sorted(draw(st.lists(st.integers(0, 300), max_size=3, unique=True)))
    kinds = ("leave", "join", "leave")
    return [
        {"at": f"{time_s} s", "group": group, kind: True}
        for time_s, kind in zip(times_s, kinds, strict=False)
    ]


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid scenario of a few clients and rounds; no run is to come near its stop's time."""
    variant = draw(variants())
    fleet = draw(fleets())
    model: dict[str, Any] = {"kind": "mlp", "hidden": [8]}
    if variant["algorithm"] == "fedlora":
        model["adapters"] = {"rank": 2, "alpha": 2}
    server, stop = draw(SERVERS), draw(STOPS)
    asynchronous = variant["algorithm"] in ASYNCHRONOUS
    levers = draw(product_of(selection=SELECTIONS if asynchronous else BY_TIMES, batch_size=SIZES))
    fleet["selection"] = levers["selection"]
    if "tifl" in str(fleet["selection"]):
        fleet["selection"] = {
            **fleet["selection"],
            "tiers": min(3, fleet["clients"] // fleet["participants"]),
        }
    one_size = variant["algorithm"] in ONE_SIZE
    batch_size = 8 if one_size else levers.get("batch_size", 8)
    if (replicas := server.pop("replicas", ABSENT)) is not ABSENT:
        least_bytes = least_memory_bytes(variant, fleet["participants"])
        server["memory"] = f"{least_bytes + MESSAGES['server_model'] * replicas} byte"
    return data(
        seeds=[draw(st.integers(0, 2**63 - 1))],
        workload={"model": model, "cut": 1, "batch_size": batch_size, "costs": BASE},
        fleet=fleet,
        server=server,
        variants=[variant],
        stop={"rounds": stop["rounds"], "time": "300 days"},
        evaluate={"every": stop["every"]},
    )


def least_memory_bytes(variant: dict[str, Any], participants: int) -> float:
    """Return the least memory with which a server can serve an algorithm."""
    kind = registry.algorithms()[variant["algorithm"]]
    costs = CostOverrides.model_validate(BASE).complete()
    assert costs is not None
    everybody = participants + variant.get("over_selection", 0)
    return float(kind(kind.Config(**variant)).server_least_bytes(costs, everybody))
