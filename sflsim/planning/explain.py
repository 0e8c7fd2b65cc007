"""Why a run takes as long as it does: critical paths of its rounds, in words, and what would help.

Imports run, report's critical path, bottleneck and what_if.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from sflsim.errors import RunError
from sflsim.planning.bottleneck import describe, has_rounds, headline, of_path
from sflsim.planning.what_if import WHAT_IF
from sflsim.planning.what_if import what_if as simulated
from sflsim.report.critical_path import critical_path, shares, slowest
from sflsim.report.tables import first_at_target
from sflsim.run import Run


@dataclass(frozen=True)
class Explanation:
    """Tables of where the time of the rounds goes; each has a column `variant`."""

    path: pd.DataFrame
    """Every piece of the critical path of every finished round (`sflsim.report.critical_path.PATH`)."""
    shares: pd.DataFrame
    """variant, where (a group, or "server"), activity, seconds (all seeds), share of the variant's time."""
    slowest: pd.DataFrame
    """variant, client, group, rounds that it was the last of, their seconds."""
    what_if: pd.DataFrame
    """What twice as fast would save, by simulating again; empty where that was not asked for."""
    words: Mapping[str, str]
    """By variant, what the tables say in a few sentences."""


def explain(run: Run, *, variant: str | None = None, what_if: bool = True) -> Explanation:
    """Return where the time of a run's rounds goes; `variant` chooses one, `what_if` simulates changes too.

    Raises:
        RunError: no such variant, no spans, or no round that was finished.
    """
    runs = _chosen(run, variant)
    spans = run.spans[run.spans["variant"].isin(runs["variant"])]
    configs = {config.name: config for config in run.scenario.variants}
    barriers = {str(name): has_rounds(configs[str(name)]) for name in runs["variant"].unique()}
    path = critical_path(spans, runs, barriers)
    if path.empty:
        raise RunError("no round was finished, so there is nothing to explain")
    groups = dict(zip(run.clients["client"], run.clients["group"], strict=True))
    told = shares(path, groups)
    words = {}
    for name in path["variant"].unique():
        found = of_path(path[path["variant"] == name], groups, run.scenario.fleet, barriers[name])
        if found is not None:
            words[name] = f"{headline(told[told['variant'] == name])} {describe(found)}"
    return Explanation(path, told, slowest(path, groups), _what_if(run, runs, what_if), words)


def _chosen(run: Run, variant: str | None) -> pd.DataFrame:
    known = run.runs["variant"].unique().tolist()
    if variant is not None and variant not in known:
        raise RunError(f"--variant: found {variant!r}; allowed: {', '.join(known) or 'nothing'}")
    run.need_spans("an explanation")
    if run.spans.empty:
        raise RunError("no spans were recorded, so there is nothing to explain")
    return run.runs if variant is None else run.runs[run.runs["variant"] == variant]


def _what_if(run: Run, runs: pd.DataFrame, wanted: bool) -> pd.DataFrame:
    """Return what changes would save, variant by variant; those that finished no round have no rows."""
    target = run.scenario.target_accuracy
    reached = None if target is None else first_at_target(run.evaluations, target)
    tables = []
    for number, config in enumerate(run.scenario.variants):
        own = runs[(runs["variant"] == config.name) & (runs["rounds"] > 0)]
        if not wanted or own.empty:
            continue
        there = None if reached is None else reached[reached["variant"] == config.name]
        targets = {} if there is None else _by_seed(there, "round")
        targets = {seed: round for seed, round in targets.items() if round > 0}
        tables.append(simulated(run.scenario, number, _by_seed(own, "rounds"), targets))
    empty = pd.DataFrame(columns=list(WHAT_IF)).astype(WHAT_IF)
    return pd.concat(tables, ignore_index=True) if tables else empty


def _by_seed(table: pd.DataFrame, column: str) -> dict[int, int]:
    return {int(seed): int(value) for seed, value in zip(table["seed"], table[column], strict=True)}
