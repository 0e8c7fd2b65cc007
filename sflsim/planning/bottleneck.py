"""What binds: where the time of those whom a round waits for goes.

Imports record, report's attribution and algorithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sflsim.algorithms.synchronous import Synchronous
from sflsim.planning.timing import Timing
from sflsim.record import tables
from sflsim.registry import algorithms
from sflsim.report.attribution import CATEGORIES, attribute
from sflsim.scenario.schema import Scenario

CAUSES = {
    "compute": "the computing",
    "slowdown": "the straggler slowdown",
    "uplink": "the uplink",
    "downlink": "the downlink",
    "server": "the server",
    "queue": "the wait for a server slot",
    "other": "the latency of the link",
}
OF_DEVICES = ("compute", "slowdown", "uplink", "downlink", "other")
CLEAR = 0.45
"""From this share of its time on, one cause is said to bind."""


@dataclass(frozen=True)
class Bottleneck:
    """Shares of the time of the last participant of each round (of all, where nobody waits for anybody)."""

    shares: pd.Series
    """By cause of `CAUSES`, largest first; they sum to 1."""
    groups: pd.Series
    """By group, the share of rounds whose last participant is of that group, largest first."""
    fleet: dict[str, float]
    """By group, its share of the fleet."""
    last_alone: bool
    """Whether only the last of each round counts: the algorithm has a barrier."""
    rounds: int
    """How many were looked at."""

    @property
    def cause(self) -> str:
        """The largest cause."""
        return str(self.shares.index[0])

    @property
    def stands_out(self) -> bool:
        """Whether the first group has the last participant in most rounds, and not by chance alone."""
        share, fleet = float(self.groups.iloc[0]), self.fleet[str(self.groups.index[0])]
        spread = math.sqrt(fleet * (1 - fleet) / self.rounds)
        return share >= 0.5 and share > fleet + 3 * spread


def bottleneck(scenario: Scenario, timings: Sequence[Timing]) -> Bottleneck | None:
    """Return what binds in the timed runs of a point, whose spans were kept; None without spans."""
    config = scenario.variants[0]
    rows = []
    groups: dict[str, str] = {}
    for timing in timings:
        assert timing.outcome is not None
        spans = tables.table("spans", [(config.name, timing.seed, *span) for span in timing.outcome.spans])
        shared = attribute(spans[spans["outcome"] != "wasted"])
        queue = spans[spans["activity"] == "queue"]
        waited = (
            queue.assign(queue=queue["end_s"] - queue["start_s"]).groupby(["round", "client"])["queue"].sum()
        )
        rows.append(shared.join(waited, on=["round", "client"]).fillna({"queue": 0.0}))
        groups |= {client[0]: client[1] for client in timing.outcome.clients}
    table = pd.concat(rows, ignore_index=True)
    if table.empty:
        return None
    barrier = issubclass(algorithms()[config.algorithm], Synchronous)
    if barrier:  # whoever waits least is whom the others wait for
        table = table.loc[table.groupby(["seed", "round"])["wait"].idxmin()]
    table["queue"] = table[["queue", "server"]].min(axis=1)
    table["server"] -= table["queue"]
    causes = [name for name in (*CATEGORIES, "queue") if name != "wait"]
    sums = table[causes].sum()
    total = float(sums.sum())
    if total <= 0:
        return None
    shares = (sums / total).sort_values(ascending=False, kind="stable")
    of_group = table["client"].map(groups).value_counts(normalize=True, sort=True)
    names, counts = scenario.fleet.group_names(), scenario.fleet.group_counts()
    fleet = {name: count / sum(counts) for name, count in zip(names, counts, strict=True)}
    return Bottleneck(shares, of_group, fleet, barrier, len(table))


def describe(found: Bottleneck) -> str:
    """Return in a sentence or two what binds."""
    group, share = str(found.groups.index[0]), float(found.groups.iloc[0])
    often = len(found.fleet) > 1 and found.stands_out
    whose = f" of group {group}" if found.cause in OF_DEVICES and often else ""
    parts = [
        f"{_named(str(cause))} {100 * part:.0f} %" for cause, part in found.shares.items() if part >= 0.05
    ]
    if not found.last_alone:
        return f"Nobody waits for others. A participant's time goes to: {', '.join(parts)}."
    clear = float(found.shares.iloc[0]) >= CLEAR
    text = f"{CAUSES[found.cause].capitalize()}{whose} binds." if clear else "Nothing binds alone."
    text += f" The time of the one whom a round waits for goes to: {', '.join(parts)}."
    if often:
        rounds = f"{100 * share:.0f} % of the rounds" if share < 1 else "every round"
        text += f" In {rounds} it is one of group {group}, {100 * found.fleet[group]:.0f} % of the fleet."
    elif len(found.fleet) > 1:
        text += " It is of no group more often than chance has it."
    return text


def _named(cause: str) -> str:
    return CAUSES[cause].removeprefix("the ")
