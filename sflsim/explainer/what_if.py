"""What if this link, these devices or the server were twice as fast: simulated again, not guessed.

The clock alone runs, on the scenario with one thing changed, for as many rounds as the run made. What
would be learned is named on the way, so it is known whether a change of timing changes the learning
(order of arrival, an adaptive tau, a deadline): then the time to the target cannot be told without
training, and only that of the same number of rounds is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import BaseModel

from sflsim.clock.spans import NullSink, Recorder
from sflsim.errors import ScenarioError
from sflsim.learning.graph.timing_only import NamingLearner
from sflsim.retime.scaling import (
    COMPUTING,
    LATENCY,
    Change,
    described,
    has_delays,
    has_latency,
    scale,
    scale_stragglers,
    scaling,
    scaling_access_point,
    scaling_server_link,
    varied,
)
from sflsim.scenario.schema import Evaluate, Scenario, Stop
from sflsim.session import Options, Session, SessionCache

WHAT_IF = {
    "variant": "str",
    "change": "str",
    "time_s": "float64",
    "changed_s": "float64",
    "gain": "float64",
    "target_s": "float64",
    "changed_target_s": "float64",
    "target_gain": "float64",
    "same_learning": "bool",
    "share": "float64",
}
"""Means over the seeds: time of the run's rounds as it was and changed, the share of it that is saved, the
same up to the target (NaN where that was not reached or is not known), whether all is learned alike; the
share of the time that goes to what is changed (NaN where that is not one activity, or where nobody told)."""


@dataclass(frozen=True)
class Clocked:
    """When each round of one seed ended, and the name of the model then."""

    time_s: Mapping[int, float]
    key: Mapping[int, str]


def what_if(
    scenario: Scenario, number: int, rounds: Mapping[int, int], targets: Mapping[int, int]
) -> pd.DataFrame:
    """Return one row for each change of `changes`, the largest gain first, in the columns of `WHAT_IF`.

    `rounds` is what variant `number` made under each seed; `targets` the round in which it came to the
    target, for the seeds that did.
    """
    alone = _alone(scenario, number, rounds)
    cache = SessionCache()
    before = _clocked(alone, rounds, cache)
    name, rows = scenario.variants[number].name, []
    for change, (how, factor) in changes(scenario).items():
        try:
            other = varied(alone, how, factor)
        except ScenarioError:
            continue
        if other.to_yaml() == varied(alone, how, 1.0).to_yaml():
            continue  # nothing that can be scaled: rates from a file
        after = _clocked(other, rounds, cache)
        rows.append((name, change, *_compared(before, after, rounds, targets)))
    table = pd.DataFrame(rows, columns=list(WHAT_IF)).astype(WHAT_IF)
    return table.sort_values("gain", ascending=False, kind="stable").reset_index(drop=True)


def _alone(scenario: Scenario, number: int, rounds: Mapping[int, int]) -> Scenario:
    update = {
        "variants": [scenario.variants[number]],
        "seeds": list(rounds),
        "stop": Stop(rounds=max(rounds.values())),
        "evaluate": Evaluate(every="1 round"),
        "target_accuracy": None,
        "sweep": None,
        "plan": None,
    }
    return scenario.model_copy(update=update)


def _clocked(scenario: Scenario, seeds: Iterable[int], cache: SessionCache) -> dict[int, Clocked]:
    """Return when each round of the first variant ended under each seed."""
    keys: list[str] = []
    session = Session(
        scenario,
        Options(timing_only=True),
        learning=lambda variant, cut, seed: NamingLearner(keys),
        recorder=lambda: Recorder(NullSink()),
        cache=cache,
    )
    session.check()
    found = {}
    for seed in seeds:
        keys.clear()
        rows = session.run(0, seed, lambda row: None).evaluations
        times = dict(reversed([(row.round, row.time_s) for row in rows]))
        found[seed] = Clocked(times, dict(zip([row.round for row in rows], keys, strict=True)))
    return found


def _compared(
    before: Mapping[int, Clocked],
    after: Mapping[int, Clocked],
    rounds: Mapping[int, int],
    targets: Mapping[int, int],
) -> tuple[Any, ...]:
    """Return the figures of one change."""
    same = all(
        before[seed].key.get(round) == after[seed].key.get(round)
        for seed, last in rounds.items()
        for round in {last, targets.get(seed, last)}
    )
    times = [_mean(one, rounds) for one in (before, after)]
    to_target = [_mean(one, targets) if same else math.nan for one in (before, after)]
    return (*times, _gain(*times), *to_target, _gain(*to_target), same, math.nan)


def _mean(clocked: Mapping[int, Clocked], rounds: Mapping[int, int]) -> float:
    times = [clocked[seed].time_s.get(round, math.nan) for seed, round in rounds.items()]
    return sum(times) / len(times) if times else math.nan


def _gain(before_s: float, after_s: float) -> float:
    return 1 - after_s / before_s if before_s else 0.0


def changed_activities(scenario: Scenario) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
    """Return by change, as `changes` names them, whose activities it makes faster: groups or "server"; which.

    Those that many share, and what is part of a longer activity only, have no entry.
    """
    names = scenario.fleet.group_names()
    found: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        "stragglers' delays half as long": (names, ["slowdown"]),
        "server twice as fast": (["server"], ["serve", "queue"]),
    }
    servers = [scenario.server.link, *([scenario.server.fed.link] if scenario.server.fed else [])]
    for name in names:
        whose = f" of group {name}" if len(names) > 1 else ""
        found[f"devices{whose} twice as fast"] = [name], ["compute"]
        found[f"uplink{whose} twice as fast"] = [name], ["uplink"]
        found[f"downlink{whose} twice as fast"] = [name], ["downlink"]
        found[f"link{whose} twice as fast"] = [name], ["uplink", "downlink"]
        if not any(has_latency(_link(scenario, link)) for link in servers):
            found[f"latency{whose} half as long"] = [name], ["latency"]
    return found


def changes(scenario: Scenario) -> dict[str, tuple[Change, float]]:
    """Return what may be twice as fast: each group's devices, link and stragglers, the server's parts."""
    names = scenario.fleet.group_names()
    found: dict[str, tuple[Change, float]] = {}
    for place, name in enumerate(names):
        whose = f" of group {name}" if len(names) > 1 else ""
        found[f"devices{whose} twice as fast"] = scaling(place, "device", "devices", *COMPUTING), 2.0
        found |= {
            f"{part}{whose} twice as fast": (scaling(place, "link", "links", *keys), 2.0)
            for part, keys in _parts(scenario, scenario.fleet.groups[place].link)
        }
        if has_latency(_link(scenario, scenario.fleet.groups[place].link)):
            found[f"latency{whose} half as long"] = scaling(place, "link", "links", *LATENCY), 0.5
    if has_delays(scenario.fleet):
        found["stragglers' delays half as long"] = scale_stragglers, 0.5
    if math.isfinite(scenario.server.compute):
        found["server twice as fast"] = (lambda data, factor: scale(data["server"], "compute", factor)), 2.0
        found["twice the server slots"] = (lambda data, factor: scale(data["server"], "slots", factor)), 2.0
    if _parts(scenario, scenario.server.link):
        found["server link twice as fast"] = scaling_server_link(), 2.0
    if has_latency(_link(scenario, scenario.server.link)):
        found["server link's latency half as long"] = scaling_server_link(keys=LATENCY), 0.5
    if scenario.server.fed and _parts(scenario, scenario.server.fed.link):
        found["Fed Server link twice as fast"] = scaling_server_link("fed"), 2.0
    if scenario.server.fed and has_latency(_link(scenario, scenario.server.fed.link)):
        found["Fed Server link's latency half as long"] = scaling_server_link("fed", keys=LATENCY), 0.5
    if scenario.server.memory is not None:
        found["twice the server memory"] = (lambda data, factor: scale(data["server"], "memory", factor)), 2.0
    for name in scenario.fleet.access_points:
        found[f"access point {name} twice as fast"] = scaling_access_point(name), 2.0
    return found


def _link(scenario: Scenario, config: BaseModel) -> dict[str, Any]:
    """Return a link as a mapping."""
    link: dict[str, Any] = described(config.model_dump(mode="json"), "links", scenario.catalog)
    return link


def _parts(scenario: Scenario, config: BaseModel) -> Sequence[tuple[str, Sequence[str]]]:
    """Return what of a link can be scaled: each limited direction, or a radio channel as a whole."""
    link = _link(scenario, config)
    if link.get("kind") == "shannon":
        return [("link", ("bandwidth", "power"))]  # both doubled double W log2(1 + P h / (W N0))
    return [(f"{key}link", (key,)) for key in ("up", "down") if link.get(key) not in (None, "unlimited")]
