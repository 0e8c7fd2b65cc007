"""The law of a run that has stalled, for every property that lets clients come and go.

It is judged by the availability timelines, the spans and the batteries, not by what the simulation
kept count of.
"""

from __future__ import annotations

import math
import re
from typing import Any

from sflsim.experiment.run import Run
from sflsim.fleet.availability.on_off import Timeline
from sflsim.fleet.population import build_fleet
from sflsim.fleet.sampling import fleet_availability

LEAST_LOST = 1000  # parts in a row before a run is given up


def check_stall(run: Run) -> None:
    """A stalled run says when: nobody was left then, but just before; or parts were lost in a row."""
    (row,) = run.runs.to_dict("records")
    told = re.fullmatch(r"at (\S+) s: (.*)", row["reason"])
    assert told is not None
    stalled_s = float(row["time_s"])
    assert math.isclose(float(told[1]), stalled_s, rel_tol=1e-5, abs_tol=1e-9)
    fleet_config = run.scenario.fleet
    fleet = build_fleet(fleet_config, int(row["seed"]))
    availability = fleet_availability(fleet_config, fleet)
    assert availability is not None
    timelines = {fleet.named(index)[1]: availability.timeline(index) for index in range(len(fleet))}
    left_s = {name: departures_s(timeline, stalled_s) for name, timeline in timelines.items()}
    drained = empty_batteries(run)
    if lost := re.match(r"(\d+) parts in a row were lost: clients do not stay", told[2]):
        assert sum(map(len, left_s.values())) + len(drained) >= int(lost[1]) >= LEAST_LOST
        return
    assert told[2].startswith("no client is left that could go on")
    for name in timelines.keys() - drained:
        assert not timelines[name].available_at(stalled_s), name
        assert timelines[name].until(stalled_s) == math.inf, name
    if not drained:
        latest_s = max([0.0, *(own[-1] for own in left_s.values() if own), *run.spans["end_s"]])
        opened_s = [event.at for event in fleet_config.events if event.join and event.at <= stalled_s]
        assert stalled_s <= max(latest_s, *opened_s, 0.0) * (1 + 1e-9) + 1e-9


def departures_s(timeline: Timeline, last_s: float) -> list[float]:
    """Return when a client left, up to `last_s`."""
    found, now_s = [], 0.0
    while (change_s := timeline.until(now_s)) <= last_s * (1 + 1e-12):
        if timeline.available_at(now_s):
            found.append(change_s)
        now_s = change_s
    return found


def empty_batteries(run: Run) -> set[str]:
    """Return the clients that have drawn all that their batteries held."""
    capacity_j: dict[Any, float | None] = {
        name: group.device.battery
        for name, group in zip(run.scenario.fleet.group_names(), run.scenario.fleet.groups, strict=True)
    }
    clients = run.clients
    columns = zip(clients["client"], clients["group"], clients["energy_j"], strict=True)
    return {
        name
        for name, group, energy_j in columns
        if (held_j := capacity_j[group]) is not None and energy_j >= held_j - 1e-9
    }
