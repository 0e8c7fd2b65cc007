"""The bottleneck of a run: where the time on the critical paths of its rounds goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from sflsim.formatting import counted
from sflsim.metrics.critical_path import critical_path
from sflsim.record import tables
from sflsim.retime.timing import Timing
from sflsim.scenario.schema import Scenario
from sflsim.session import has_rounds

CAUSES = {
    "compute": "the computing",
    "slowdown": "the straggler slowdown",
    "uplink": "the uplink",
    "downlink": "the downlink",
    "latency": "the latency",
    "absence": "the absence",
    "server": "the server",
    "queue": "the wait for a server slot",
    "wait": "the wait for the deadline",
    "other": "time without any activity",
}
OF_DEVICES = ("compute", "slowdown", "uplink", "downlink", "latency", "absence")
CLEAR = 0.45
"""The smallest share of the time with which a cause is called the bottleneck."""
CERTAIN = 3.0
"""Standard deviations beyond which a difference is not put down to chance."""


@dataclass(frozen=True)
class Bottleneck:
    """Shares of the time on the critical paths of rounds or, in asynchronous algorithms, of contributions."""

    shares: pd.Series
    """By cause of `CAUSES`, largest first; they sum to 1."""
    groups: pd.Series
    """By group, the share of rounds whose last participant is of that group, or of contributions."""
    fleet: dict[str, float]
    """By group, its share of the fleet."""
    last_alone: bool
    """Whether the algorithm has a barrier, so that only the last participant of each round counts."""
    rounds: int
    """Number of rounds, or of contributions."""

    @property
    def cause(self) -> str:
        """The largest cause."""
        return str(self.shares.index[0])

    @property
    def stands_out(self) -> bool:
        """Whether the first group has the last participant in most rounds, beyond chance."""
        return float(self.groups.iloc[0]) >= 0.5 and self.excess(str(self.groups.index[0])) > CERTAIN

    def excess(self, group: str) -> float:
        """Return by how many standard deviations a group is waited for more than its share of the fleet."""
        share, fleet = float(self.groups.get(group, 0.0)), self.fleet[group]
        spread = math.sqrt(fleet * (1 - fleet) / self.rounds)
        return (share - fleet) / spread if spread else 0.0


def bottleneck(scenario: Scenario, timings: Sequence[Timing]) -> Bottleneck | None:
    """Return the bottleneck in the timed runs of a point, whose spans were kept; None without spans."""
    config = scenario.variants[0]
    spans = []
    rounds, groups = [], dict[str, str]()
    for timing in timings:
        assert timing.outcome is not None
        outcome = timing.outcome
        spans.append(
            tables.of_rows("spans", config.name, timing.seed, outcome.spans, round=outcome.rounds_of_spans())
        )
        rounds.append((config.name, timing.seed, outcome.rounds))
        groups |= {client.client: client.group for client in outcome.clients}
    barrier = has_rounds(config)
    runs = pd.DataFrame(rounds, columns=["variant", "seed", "rounds"])
    path = critical_path(tables.joined("spans", spans), runs, {config.name: barrier})
    fleet = dict(zip(scenario.fleet.group_names(), scenario.fleet.group_counts(), strict=True))
    return of_path(path, groups, fleet, barrier)


def of_path(
    path: pd.DataFrame, groups: Mapping[str, str], fleet: Mapping[str, int], barrier: bool
) -> Bottleneck | None:
    """Return the bottleneck on the critical paths of one variant; None if they take no time.

    `groups` holds the group of each client, `fleet` the number of devices of each group.
    """
    length_s = (path["end_s"] - path["start_s"]) * path["weight"]
    sums = length_s.groupby(path["activity"].replace("serve", "server")).sum()
    total = float(sums.sum())
    if total <= 0:
        return None
    shares = (sums / total).sort_values(ascending=False, kind="stable")
    last = path.drop_duplicates(["seed", "round", "contribution"])["last"]
    of_group = last.map(groups).value_counts(normalize=True, sort=True)
    devices = sum(fleet.values())
    parts = {name: count / devices for name, count in fleet.items()}
    return Bottleneck(shares, of_group, parts, barrier, len(last))


def headline(shares: pd.DataFrame) -> str:
    """Return "41 % of the time is uplink of group phones." for the largest part of one variant's shares."""
    largest = shares.iloc[0]
    whose = "" if largest["where"] == "server" else f" of group {largest['where']}"
    what = _named(CAUSES.get("server" if largest["activity"] == "serve" else largest["activity"], ""))
    return f"{100 * largest['share']:.0f} % of the time is {what or largest['activity']}{whose}."


def describe(bottleneck: Bottleneck) -> str:
    """Return the bottleneck in a sentence or two."""
    group, share = str(bottleneck.groups.index[0]), float(bottleneck.groups.iloc[0])
    often = len(bottleneck.fleet) > 1 and bottleneck.stands_out
    whose = f" of group {group}" if bottleneck.cause in OF_DEVICES and often else ""
    parts = [
        f"{_named(str(cause))} {100 * part:.0f} %"
        for cause, part in bottleneck.shares.items()
        if part >= 0.05
    ]
    if not bottleneck.last_alone:
        return f"No client waits for others. The time of a contribution goes to: {', '.join(parts)}."
    clear = float(bottleneck.shares.iloc[0]) >= CLEAR
    named = CAUSES.get(bottleneck.cause, bottleneck.cause)
    text = f"{named.capitalize()}{whose} binds." if clear else "No activity binds."
    text += f" The time of a round's last client goes to: {', '.join(parts)}."
    if often:
        most = f"{100 * share:.0f} % of the rounds" if share < 0.995 else "nearly every round"
        rounds = most if share < 1 else "every round"
        part = f"{100 * bottleneck.fleet[group]:.0f} % of the fleet"
        text += f" In {rounds} that client is of group {group}, {part}."
    elif len(bottleneck.fleet) > 1:
        text += f" {_not_clear(bottleneck)}"
    return text


def _not_clear(bottleneck: Bottleneck) -> str:
    """Return whose devices the rounds wait for if no group stands out."""
    group = max(bottleneck.fleet, key=bottleneck.excess)
    those = round(float(bottleneck.groups.get(group, 0.0)) * bottleneck.rounds)
    rounds = f"{those} of {counted(bottleneck.rounds, 'round')}"
    text = f"In {rounds} that client is of group {group}, {100 * bottleneck.fleet[group]:.0f} % of the fleet"
    if bottleneck.excess(group) > CERTAIN:
        return f"{text}."
    if bottleneck.excess(group) > 1:
        return f"{text}: too few rounds to rule out chance."
    return "No group has the last client more often than by chance."


def _named(cause: str) -> str:
    return CAUSES.get(cause, cause).removeprefix("the ")
