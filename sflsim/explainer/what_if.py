"""What if a link, the devices of a group or the server were twice as fast, or messages had half the bits.

Simulated again: only the clock runs, on the scenario with one change, for as many rounds as the run made. The
calls of the math are recorded, which shows whether a change changes the learning (order of arrival, an
adaptive tau, a deadline, other bits). If so, the time to the target is unknown without training, and only the
time of the same index of rounds is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from pydantic import BaseModel

from sflsim.clock.spans import NullSink, Recorder
from sflsim.errors import ScenarioError
from sflsim.fleet.selection.policy import SelectionConfig
from sflsim.learning.codecs.cast import Fp16
from sflsim.learning.graph.timing_only import NamingLearner
from sflsim.registry import algorithm_of
from sflsim.retime.scaling import (
    COMPUTING,
    LATENCY,
    Change,
    described,
    has_delays,
    has_latency,
    link_parts,
    scale,
    scale_stragglers,
    scaling,
    scaling_access_point,
    scaling_server_link,
    varied,
)
from sflsim.scenario.schema import Scenario
from sflsim.scenario.stop import Evaluate, Stop
from sflsim.session import Options, Session, SessionCache
from sflsim.simulation.base import AlgorithmConfig
from sflsim.units import RANGES
from sflsim.workers.calls import Workers

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
"""Means over the seeds: time of the run's rounds before and after the change, the share of it that is saved;
the same up to the target (NaN if not reached or unknown); whether the learning is the same; the share of the
time that the change makes faster (NaN if it is not one activity)."""


UNIFORM, FASTEST = {"kind": "uniform"}, {"kind": "fedcs", "within": f"{RANGES['s'][1]:g} s"}


_cache = SessionCache()  # of a worker process; filled there alone


@dataclass(frozen=True)
class RoundEnds:
    """When each round of one seed ended, and the key of the model then."""

    time_s: Mapping[int, float]
    key: Mapping[int, str]


def what_if(
    scenario: Scenario,
    rounds: Mapping[int, Mapping[int, int]],
    targets: Mapping[int, Mapping[int, int]],
    workers: Workers | None = None,
    tell: Callable[[str, int, int], None] = lambda variant, done, total: None,
) -> pd.DataFrame:
    """Return one row for each change of each variant, the largest gain first, in the columns of `WHAT_IF`.

    `rounds` is the index of rounds by seed of each variant, by the variant's index; `targets` the round in
    which it reached the target, for the seeds that did. `tell` is told the variant, and how many
    simulations of all are done.
    """
    workers = Workers() if workers is None else workers
    asked = [(index, change) for index in rounds for change in ("", *changes(scenario, index))]
    jobs = [(scenario, index, rounds[index], change, scenario.trusted) for index, change in asked]
    before: Mapping[int, RoundEnds] = {}
    rows = []
    results = workers.map(simulated, jobs, SessionCache())
    for done, ((index, change), after) in enumerate(zip(asked, results, strict=True), 1):
        name = scenario.variants[index].name
        tell(name, done, len(jobs))
        if not change:
            before = after
        elif after is not None:
            rows.append((name, change, *_compared(before, after, rounds[index], targets[index])))
    table = pd.DataFrame(rows, columns=list(WHAT_IF)).astype(WHAT_IF)
    by_variant = [own for _, own in table.groupby("variant", sort=False)]
    in_order = [own.sort_values("gain", ascending=False, kind="stable") for own in by_variant]
    return pd.concat(in_order, ignore_index=True) if in_order else table


def simulated(
    scenario: Scenario,
    index: int,
    rounds: Mapping[int, int],
    change: str,
    trusted: bool,
    cache: SessionCache | None = None,
) -> dict[int, RoundEnds] | None:
    """Return when each round of variant `index` ended with one of `changes`; with "", as it is.

    None where there is nothing to scale (rates from a file), or where the algorithm does not report what
    another policy reads. Trust is an argument, since a scenario loses it on its way to a process.
    """
    alone = _alone(scenario.with_trust() if trusted else scenario, index, rounds)
    cache = _cache if cache is None else cache
    if not change:
        return _round_ends(alone, rounds, cache)
    how, factor = changes(scenario, index)[change]
    try:
        other = varied(alone, how, factor)
        if other.to_data() == varied(alone, how, 1.0).to_data():
            return None
        return _round_ends(other, rounds, cache)
    except ScenarioError:
        return None


def _alone(scenario: Scenario, index: int, rounds: Mapping[int, int]) -> Scenario:
    update = {
        "variants": [scenario.variants[index]],
        "seeds": list(rounds),
        "stop": Stop(rounds=max(rounds.values())),
        "evaluate": Evaluate(every="1 round"),
        "target_accuracy": None,
        "sweep": None,
        "plan": None,
    }
    return scenario.model_copy(update=update)


def _round_ends(scenario: Scenario, seeds: Iterable[int], cache: SessionCache) -> dict[int, RoundEnds]:
    """Return when each round of the first variant ended under each seed."""
    keys: list[str] = []
    session = Session(
        scenario,
        Options(timing_only=True),
        learning=lambda variant, cut, seed: NamingLearner(
            keys,
            repr((variant.compression, session.requirements.batch_sizes(cut, seed, variant.compression))),
        ),
        recorder=lambda: Recorder(NullSink()),
        cache=cache,
    )
    session.check()
    ends = {}
    for seed in seeds:
        keys.clear()
        rows = session.run(0, seed, lambda row: None).evaluations
        times = dict(reversed([(row.round, row.time_s) for row in rows]))
        ends[seed] = RoundEnds(times, dict(zip([row.round for row in rows], keys, strict=True)))
    return ends


def _compared(
    before: Mapping[int, RoundEnds],
    after: Mapping[int, RoundEnds],
    rounds: Mapping[int, int],
    targets: Mapping[int, int],
) -> tuple[Any, ...]:
    """Return the columns of one change."""
    same = all(
        before[seed].key.get(round) == after[seed].key.get(round)
        for seed, last in rounds.items()
        for round in {last, targets.get(seed, last)}
    )
    times = [_mean(ends, rounds) for ends in (before, after)]
    to_target = [_mean(ends, targets) if same else math.nan for ends in (before, after)]
    return (*times, _gain(*times), *to_target, _gain(*to_target), same, math.nan)


def _mean(ends: Mapping[int, RoundEnds], rounds: Mapping[int, int]) -> float:
    times = [ends[seed].time_s.get(round, math.nan) for seed, round in rounds.items()]
    return sum(times) / len(times) if times else math.nan


def _gain(before_s: float, after_s: float) -> float:
    return 1 - after_s / before_s if before_s else 0.0


def changed_activities(scenario: Scenario) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
    """Return, by name of a change, the groups (or "server") and activities that it makes faster.

    Changes of shared links, and of only a part of an activity, have no entry.
    """
    names = scenario.fleet.group_names()
    faster: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        "stragglers' delays half as long": (names, ["slowdown"]),
        "server twice as fast": (["server"], ["serve", "queue"]),
    }
    servers = [scenario.server.link, *([scenario.server.fed.link] if scenario.server.fed else [])]
    for name in names:
        whose = f" of group {name}" if len(names) > 1 else ""
        faster[f"devices{whose} twice as fast"] = [name], ["compute"]
        faster[f"uplink{whose} twice as fast"] = [name], ["uplink"]
        faster[f"downlink{whose} twice as fast"] = [name], ["downlink"]
        faster[f"link{whose} twice as fast"] = [name], ["uplink", "downlink"]
        if not any(has_latency(_link(scenario, link)) for link in servers):
            faster[f"latency{whose} half as long"] = [name], ["latency"]
    return faster


def changes(scenario: Scenario, index: int) -> dict[str, tuple[Change, float]]:
    """Return the changes by name: each group's devices, link and stragglers, the server's parts, messages.

    Of a scenario with variant `index` alone.
    """
    names = scenario.fleet.group_names()
    by_name: dict[str, tuple[Change, float]] = {}
    for group, name in enumerate(names):
        whose = f" of group {name}" if len(names) > 1 else ""
        by_name[f"devices{whose} twice as fast"] = scaling(group, "device", "devices", *COMPUTING), 2.0
        by_name |= {
            f"{part}{whose} twice as fast": (scaling(group, "link", "links", *keys), 2.0)
            for part, keys in link_parts(_link(scenario, scenario.fleet.groups[group].link))
        }
        if has_latency(_link(scenario, scenario.fleet.groups[group].link)):
            by_name[f"latency{whose} half as long"] = scaling(group, "link", "links", *LATENCY), 0.5
    if has_delays(scenario.fleet):
        by_name["stragglers' delays half as long"] = scale_stragglers, 0.5
    if scenario.server.takes_time:
        by_name["server twice as fast"] = (lambda data, factor: scale(data["server"], "compute", factor)), 2.0
        by_name["twice the server slots"] = (lambda data, factor: scale(data["server"], "slots", factor)), 2.0
    if link_parts(_link(scenario, scenario.server.link)):
        by_name["server link twice as fast"] = scaling_server_link(), 2.0
    if has_latency(_link(scenario, scenario.server.link)):
        by_name["server link's latency half as long"] = scaling_server_link(keys=LATENCY), 0.5
    if scenario.server.fed and link_parts(_link(scenario, scenario.server.fed.link)):
        by_name["Fed Server link twice as fast"] = scaling_server_link("fed"), 2.0
    if scenario.server.fed and has_latency(_link(scenario, scenario.server.fed.link)):
        by_name["Fed Server link's latency half as long"] = scaling_server_link("fed", keys=LATENCY), 0.5
    if scenario.server.memory is not None:
        by_name["twice the server memory"] = (
            (lambda data, factor: scale(data["server"], "memory", factor)),
            2.0,
        )
    for name in scenario.fleet.access_points:
        by_name[f"access point {name} twice as fast"] = scaling_access_point(name), 2.0
    return by_name | _half_the_bits(scenario.variants[index]) | _other_policies(scenario.fleet.selection)


def _half_the_bits(variant: AlgorithmConfig) -> dict[str, tuple[Change, float]]:
    """Return the changes to half the bits of each kind of message, if the variant says `compression`."""
    compression = variant.compression
    if compression is None:
        return {}
    found: dict[str, tuple[Change, float]] = {}
    for kind in algorithm_of(variant).sends:
        codec = compression.codec(kind)
        half = Fp16() if codec is None else codec.halved()
        if half is not None:
            other = compression.model_copy(update={kind: half}).model_dump(mode="json")
            found[f"half the bits of each {kind}"] = partial(_compress, other), 0.5
    return found


def _other_policies(selection: SelectionConfig) -> dict[str, tuple[Change, float]]:
    """Return the changes to another policy of selection, if the scenario has one that is not uniform."""
    others = {"uniform selection": UNIFORM, "selection of the fastest clients": FASTEST}
    if selection.kind == UNIFORM["kind"]:
        return {}
    return {name: (partial(_select, other), 2.0) for name, other in others.items()}


def _select(selection: dict[str, Any], data: dict[str, Any], factor: float) -> None:
    if factor != 1.0:
        data["fleet"]["selection"] = selection


def _compress(compression: dict[str, Any], data: dict[str, Any], factor: float) -> None:
    if factor != 1.0:
        data["variants"][0]["compression"] = compression


def _link(scenario: Scenario, config: BaseModel) -> dict[str, Any]:
    """Return a link as a mapping."""
    link: dict[str, Any] = described(config.model_dump(mode="json"), "links", scenario.catalog)
    return link
