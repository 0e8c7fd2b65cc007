"""Does another simulator give the same times?

Fleets of three link speeds run a synchronous and two asynchronous algorithms. Two simulators that share
no code with sflsim are then handed what happened: SimGrid (its fluid model CM02) the start, size and links
of every message, Ciw the arrival and service time of every job of the server. Each computes the ends anew.
The table holds the largest difference in seconds. A simulator that is not installed is left out.

SimGrid: the Debian and Ubuntu package python3-simgrid, or `pip install simgrid`. Ciw: `pip install ciw`.

    python analysis/independent_clocks.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import sflsim

ALGORITHMS = ("splitfed-v1", "gas", "fedbuff")
RATES_MBIT_S = {"slow": (1.0, 4.0), "middle": (8.0, 20.0), "fast": (40.0, 100.0)}  # up, down
SERVER_MBIT_S = 60.0
ACCESS_MBIT_S = 12.0
SLOTS = 2
ONE_SERVER_MODEL = {"gas"}  # its jobs follow each other, whatever the slots
BYTES_PER_MBIT = 125_000.0
SIMGRID_OPTIONS = {
    "network/model": "CM02",
    "network/TCP-gamma": "0",
    "network/bandwidth-factor": "1",
    "network/latency-factor": "1",
    "network/weight-S": "0",
    "network/crosstraffic": "0",
    "surf/precision": "1e-12",
    "maxmin/precision": "1e-12",
}
"""Plain max-min fairness: no model of TCP, and times as exact as SimGrid gives them."""
Message = tuple[str, str, float, float]  # client, activity, start in s, bytes
Job = tuple[float, float]  # arrival in s, service time in s


def scenario(algorithm: str, access_points: bool, rounds: int) -> sflsim.Scenario:
    """Return thirty devices of three link speeds, ten at a time, whose messages share the server's link."""
    groups = [
        {
            "name": name,
            "count": 10,
            "device": {"compute": f"{number} GFLOP/s"},
            "link": {"up": f"{up} Mbit/s", "down": f"{down} Mbit/s"},
            **({"access_point": "hall"} if access_points and name == "middle" else {}),
        }
        for number, (name, (up, down)) in enumerate(RATES_MBIT_S.items(), 1)
    ]
    hall = {"up": f"{ACCESS_MBIT_S} Mbit/s", "down": f"{ACCESS_MBIT_S} Mbit/s"}
    content = {
        "name": "independent-clocks",
        "workload": {"dataset": "digits", "model": {"kind": "mlp", "hidden": [64, 64]}, "cut": 1},
        "fleet": {
            "clients": 30,
            "participants": 10,
            "groups": groups,
            "straggler": {"kind": "exponential", "mean": "50 ms"},
            **({"access_points": {"hall": hall}} if access_points else {}),
        },
        "server": {
            "compute": "200 MFLOP/s",
            "slots": SLOTS,
            "link": {"up": f"{SERVER_MBIT_S} Mbit/s", "down": f"{SERVER_MBIT_S} Mbit/s"},
        },
        "variants": [{"algorithm": algorithm}],
        "stop": {"rounds": rounds},
    }
    return sflsim.parse_scenario(yaml.safe_dump(content))


def links_of(message: Message, access_points: bool) -> dict[str, float]:
    """Return the links that a message passes, with their capacities in byte/s."""
    client, activity, *_ = message
    group = client.rpartition("-")[0]
    direction = ("uplink", "downlink").index(activity)
    links = {f"{client} {activity}": RATES_MBIT_S[group][direction], f"server {activity}": SERVER_MBIT_S}
    if access_points and group == "middle":
        links[f"hall {activity}"] = ACCESS_MBIT_S
    return {name: rate * BYTES_PER_MBIT for name, rate in links.items()}


def ends_by_simgrid(messages: list[Message], access_points: bool) -> list[float]:
    """Return when each message has passed, by SimGrid; call it in a process of its own."""
    from simgrid import Actor, Engine, LinkInRoute, Mailbox, NetZone, this_actor

    options = [f"--cfg={name}:{value}" for name, value in SIMGRID_OPTIONS.items()]
    engine = Engine(["independent_clocks", "--log=root.thres:critical", *options])
    zone, links, ends = NetZone.create_full_zone("network"), {}, [0.0] * len(messages)
    server = zone.create_host("server", 1.0)

    def send(mine: list[tuple[int, Message]]) -> None:
        for number, (_, _, start_s, size_bytes) in mine:
            this_actor.sleep_until(start_s)
            Mailbox.by_name(this_actor.get_host().name).put(number, int(size_bytes))
            ends[number] = engine.clock

    def receive(name: str, count: int) -> None:
        for _ in range(count):
            Mailbox.by_name(name).get()

    sequences: dict[str, list[tuple[int, Message]]] = {}  # a channel sends one message at a time
    for number, message in enumerate(messages):
        sequences.setdefault(f"{message[0]} {message[1]}", []).append((number, message))
    for name, mine in sequences.items():
        host, passed = zone.create_host(name, 1.0), links_of(mine[0][1], access_points)
        for link, capacity in passed.items():
            if link not in links:
                links[link] = zone.create_link(link, capacity)
        route = [LinkInRoute(links[link]) for link in passed]
        zone.add_route(host.netpoint, server.netpoint, None, None, route, False)
        Actor.create(f"send {name}", host, send, mine)
        Actor.create(f"receive {name}", server, receive, name, len(mine))
    zone.seal()
    engine.run()
    return ends


def ends_by_ciw(jobs: list[Job], slots: int) -> list[float]:
    """Return when each job has been served, first come, first served, by Ciw; jobs by their arrival."""
    import ciw

    arrivals, services = zip(*jobs, strict=True)
    gaps = [after - before for before, after in zip((0.0, *arrivals), arrivals, strict=False)]
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*gaps, float("inf")])],
        service_distributions=[ciw.dists.Sequential(list(services))],
        number_of_servers=[slots],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(len(jobs), method="Finish")
    records = sorted(simulation.get_all_records(), key=lambda record: record.id_number)
    return [float(record.service_end_date) for record in records]


def in_own_process(compute: Callable[..., list[float]], *arguments: Any) -> list[float]:
    """Return what a function computes in a new process: SimGrid runs once in each."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(compute, arguments)


def jobs_of(spans: pd.DataFrame) -> pd.DataFrame:
    """Return the jobs of the server by arrival: arrival_s, seconds and end_s."""
    served = spans[spans["activity"] == "serve"]
    queued = spans[spans["activity"] == "queue"].set_index(["client", "end_s"])["start_s"]
    keys = pd.MultiIndex.from_frame(served[["client", "start_s"]])
    arrival_s = queued.reindex(keys).fillna(pd.Series(served["start_s"].to_numpy(), index=keys))
    table = served.assign(arrival_s=arrival_s.to_numpy(), seconds=served["end_s"] - served["start_s"])
    return table.sort_values(["arrival_s", "start_s"], kind="stable")


def compared(algorithm: str, access_points: bool, rounds: int) -> Iterable[dict[str, Any]]:
    """Yield a row for each simulator: how many ends it computed, and the largest difference.

    What is under way when a run stops is in no table, but has slowed others: so ends of the first half
    are compared.
    """
    spans = sflsim.simulate(scenario(algorithm, access_points, rounds), timing_only=True).spans
    until_s = spans["end_s"].max() / 2
    facts = {"algorithm": algorithm, "shared": "server and access point" if access_points else "server"}
    sent = spans[spans["activity"].isin(["uplink", "downlink"]) & (spans["bytes"] > 0)]
    if find_spec("simgrid"):
        messages = list(sent[["client", "activity", "start_s", "bytes"]].itertuples(index=False, name=None))
        alone_s = [message[3] / min(links_of(message, access_points).values()) for message in messages]
        table = sent.assign(
            other_end_s=in_own_process(ends_by_simgrid, messages, access_points),
            slowed=sent["end_s"] - sent["start_s"] > pd.Series(alone_s, sent.index) * 1.001,
        )
        yield {**facts, "simulator": "SimGrid", "compared": "messages", **difference(table, until_s)}
    jobs = jobs_of(spans)
    if find_spec("ciw") and len(jobs):  # the server only averages in FedBuff, which takes no time
        sequence = list(jobs[["arrival_s", "seconds"]].itertuples(index=False, name=None))
        at_once = 1 if algorithm in ONE_SERVER_MODEL else SLOTS
        table = jobs.assign(
            other_end_s=ends_by_ciw(sequence, at_once), slowed=jobs["arrival_s"] < jobs["start_s"]
        )
        yield {**facts, "simulator": "Ciw", "compared": "jobs", **difference(table, until_s)}


def difference(table: pd.DataFrame, until_s: float) -> dict[str, Any]:
    """Return the part of a row that compares `end_s` with `other_end_s`, up to a time."""
    part = table[table["end_s"] <= until_s]
    return {
        "number": len(part),
        "slowed_by_others": int(part["slowed"].sum()),
        "until_s": until_s,
        "largest_difference_s": (part["end_s"] - part["other_end_s"]).abs().max(),
    }


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="four rounds of one algorithm")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    algorithms, rounds = (ALGORITHMS[:1], 4) if arguments.quick else (ALGORITHMS, 12)
    rows = [
        row
        for algorithm in algorithms
        for access_points in (False, True)
        for row in compared(algorithm, access_points, rounds)
    ]
    table = pd.DataFrame(rows)
    table.to_csv(arguments.out / "independent_clocks.csv", index=False)
    print(
        table.to_string(index=False, float_format="{:.3g}".format)
        if rows
        else "no other simulator is installed"
    )


if __name__ == "__main__":
    main()
