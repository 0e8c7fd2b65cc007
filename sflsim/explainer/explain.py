"""Why a run takes as long as it does: critical paths of its rounds, in words, and what would help."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from sflsim.errors import RunError
from sflsim.experiment.run import Run
from sflsim.explainer.bottleneck import describe, headline, of_path
from sflsim.explainer.what_if import WHAT_IF, changed_activities
from sflsim.explainer.what_if import what_if as simulated
from sflsim.metrics.critical_path import critical_path, shares, slowest
from sflsim.metrics.tables import first_at_target
from sflsim.scenario.files import contents, reread
from sflsim.scenario.schema import Scenario
from sflsim.session import has_rounds

AGREE = 0.05
"""How far apart half of a share and what twice as fast saves may be without a word."""
MOST_APART = 3
WHY = {
    (True, False): "then a round waits for another client, or for what goes on beside it",
    (True, True): "those whom a round waits for also wait less for others, in a queue or on a shared link",
    (False, False): "then it waits for what goes on beside it, in a queue or for a shared link",
    (False, True): "who is faster contributes more often, and queues get shorter",
}
"""By whether rounds wait for the last, and whether more is saved than half."""


@dataclass(frozen=True)
class Explanation:
    """Tables of where the time of the rounds goes; each has a column `variant`."""

    path: pd.DataFrame
    """Every piece of the critical path of every finished round (`sflsim.metrics.critical_path.PATH`)."""
    shares: pd.DataFrame
    """variant, where (a group, or "server"), activity, seconds (all seeds), share of the variant's time."""
    slowest: pd.DataFrame
    """variant, client, group, rounds that it was the last of, their seconds; or contributions it made."""
    what_if: pd.DataFrame
    """What twice as fast would save, by simulating again; empty where that was not asked for."""
    words: Mapping[str, str]
    """By variant, what the tables say in a few sentences."""
    has_rounds: Mapping[str, bool]
    """By variant, whether its rounds wait for the last; else nobody waits for others."""


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
    table = _what_if(run, runs, told, what_if)
    for name, own in table.groupby("variant", sort=False):
        words[str(name)] = " ".join([words[str(name)], *_apart(own, barriers[str(name)])])
    return Explanation(path, told, slowest(path, groups), table, words, barriers)


def _apart(what_if: pd.DataFrame, barrier: bool) -> Iterator[str]:
    """Yield why a change saves more or less than half of the share that goes to what it makes faster."""
    apart = what_if.assign(more=what_if["gain"] - what_if["share"] / 2)
    apart = apart[apart["more"].abs() > AGREE].sort_values("more", key=abs, ascending=False, kind="stable")
    for row in apart.head(MOST_APART).to_dict("records"):
        why = WHY[barrier, row["more"] > 0]
        saved, share = (round(100 * row[name]) for name in ("gain", "share"))
        than = "more" if row["more"] > 0 else "less"
        yield f"{_capital(row['change'])} saves {saved} %, {than} than half of its share of {share} %: {why}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _chosen(run: Run, variant: str | None) -> pd.DataFrame:
    known = run.runs["variant"].unique().tolist()
    if variant is not None and variant not in known:
        raise RunError(f"--variant: found {variant!r}; allowed: {', '.join(known) or 'nothing'}")
    run.need_spans("an explanation")
    if run.spans.empty:
        raise RunError("no spans were recorded, so there is nothing to explain")
    return run.runs if variant is None else run.runs[run.runs["variant"] == variant]


def _what_if(run: Run, runs: pd.DataFrame, told: pd.DataFrame, wanted: bool) -> pd.DataFrame:
    """Return what changes would save, variant by variant; those that finished no round have no rows."""
    if wanted:
        _refuse_changed(run)
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
        table = simulated(run.scenario, number, _by_seed(own, "rounds"), targets)
        table["share"] = _shares(run.scenario, told[told["variant"] == config.name], table["change"])
        tables.append(table)
    empty = pd.DataFrame(columns=list(WHAT_IF)).astype(WHAT_IF)
    return pd.concat(tables, ignore_index=True) if tables else empty


def _refuse_changed(run: Run) -> None:
    """Refuse to compare a run with what its scenario's files say now, where that is something else."""
    known, now = run.manifest.get("files") or {}, contents(reread(run.scenario))
    changed = [str(file) for file, content in known.items() if now.get(str(file)) != content]
    if changed:
        raise RunError(
            f"what twice as fast would save cannot be simulated: since the run, {', '.join(changed)} has "
            "changed; run the scenario again, or leave the what-ifs out (--no-what-if)"
        )


def _shares(scenario: Scenario, told: pd.DataFrame, names: pd.Series) -> list[float]:
    """Return the share of the time that goes to what each change makes faster; NaN where that is not told."""
    known, found = changed_activities(scenario), []
    for name in names:
        where, activities = known.get(str(name), ((), ()))
        own = told["where"].isin(where) & told["activity"].isin(activities)
        found.append(float(told.loc[own, "share"].sum()) if where else math.nan)
    return found


def _by_seed(table: pd.DataFrame, column: str) -> dict[int, int]:
    return {int(seed): int(value) for seed, value in zip(table["seed"], table[column], strict=True)}
