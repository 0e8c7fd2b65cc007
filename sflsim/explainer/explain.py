"""Why a run takes its time: the critical paths of its rounds, in tables and words, and what would help."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import pandas as pd

from sflsim.errors import RunError, ScenarioError
from sflsim.experiment.run import Run
from sflsim.explainer.bottleneck import describe, headline, of_path
from sflsim.explainer.what_if import WHAT_IF, changed_activities, changes
from sflsim.explainer.what_if import what_if as simulated
from sflsim.metrics.critical_path import critical_path, shares, slowest
from sflsim.metrics.tables import first_at_target
from sflsim.scenario.files import contents, reread
from sflsim.scenario.plan_rules import chosen_by_learning
from sflsim.scenario.schema import Scenario
from sflsim.session import has_rounds

AGREEMENT = 0.05
"""Largest difference between half of a share and the gain of twice as fast that needs no explanation."""
MAX_EXPLAINED = 3
CANNOT = "what twice as fast would save needs the scenario to be simulated again, which is not possible here"
WITHOUT = "All else is shown without: --no-what-if."
WHY = {
    (True, False): "then another client is the last, or a round waits for other work at the same time",
    (True, True): "the last clients also wait less, in a queue or on a shared link",
    (False, False): "then a contribution waits for other work, in a queue or for a shared link",
    (False, True): "faster clients contribute more often, and queues get shorter",
}
"""By (whether rounds wait for the last participant, whether the gain exceeds half of the share)."""


@dataclass(frozen=True)
class ExplainProgress:
    """How far an explanation is: a change of a variant has just been simulated; `str` says it in words."""

    variant: str
    done: int
    total: int

    def __str__(self) -> str:
        return f"changes simulated: {self.done} / {self.total}; {self.variant}"


@dataclass(frozen=True)
class Explanation:
    """Tables of where the time of the rounds goes, each with a column `variant`."""

    path: pd.DataFrame
    """Every piece of the critical path of every finished round (`sflsim.metrics.critical_path.PATH`)."""
    shares: pd.DataFrame
    """variant, where (a group, or "server"), activity, seconds (all seeds), share of the variant's time."""
    slowest: pd.DataFrame
    """variant, client, group, rounds whose last participant it was, their seconds; or its contributions."""
    what_if: pd.DataFrame
    """What twice as fast would save, by simulating again; empty without `what_if`."""
    words: Mapping[str, str]
    """By variant, the tables in a few sentences."""
    has_rounds: Mapping[str, bool]
    """By variant, whether its rounds wait for the last participant; else no client waits for others."""


def explain(
    run: Run,
    *,
    variant: str | None = None,
    what_if: bool = True,
    progress: Callable[[ExplainProgress], None] | None = None,
) -> Explanation:
    """Return where the time of a run's rounds goes; `variant` chooses one, `what_if` simulates changes too.

    `progress` is told of each change that has been simulated.

    Raises:
        RunError: there is no such variant, no spans, or no finished round; or the what-ifs of a scenario
            that cannot be simulated here, or whose files have changed.
    """
    runs = _chosen(run, variant)
    if what_if:
        _refuse_unrepeatable(run)
    spans = run.spans[run.spans["variant"].isin(runs["variant"])]
    fleet, asynchronous = _facts(run)
    barriers = {str(name): name not in asynchronous for name in runs["variant"].unique()}
    path = critical_path(spans, runs, barriers)
    if path.empty:
        raise RunError("no round was finished, so there is nothing to explain")
    groups = dict(zip(run.clients["client"], run.clients["group"], strict=True))
    if unknown := [*({*path["last"]} - {*groups}), *({*groups.values()} - {*fleet})]:
        raise RunError(
            f"{unknown[0]!r} is in the table of spans or clients, and not in that of clients or groups"
        )
    time_shares = shares(path, groups)
    words = {}
    for name in path["variant"].unique():
        bottleneck = of_path(path[path["variant"] == name], groups, fleet, barriers[name])
        if bottleneck is not None:
            words[name] = f"{headline(time_shares[time_shares['variant'] == name])} {describe(bottleneck)}"
    empty = pd.DataFrame(columns=list(WHAT_IF)).astype(WHAT_IF)
    table = _what_if(run, runs, time_shares, progress or (lambda step: None)) if what_if else empty
    for name, rows in table.groupby("variant", sort=False):
        words[str(name)] = " ".join([words[str(name)], *_disagreements(rows, barriers[str(name)])])
    return Explanation(path, time_shares, slowest(path, groups), table, words, barriers)


def _disagreements(what_if: pd.DataFrame, barrier: bool) -> Iterator[str]:
    """Yield why a change saves more or less than half of the share of the time that it makes faster."""
    apart = what_if.assign(more=what_if["gain"] - what_if["share"] / 2)
    apart = apart[apart["more"].abs() > AGREEMENT].sort_values(
        "more", key=abs, ascending=False, kind="stable"
    )
    for row in apart.head(MAX_EXPLAINED).to_dict("records"):
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


def _facts(run: Run) -> tuple[Mapping[str, int], Sequence[str]]:
    """Return the number of devices of each group, and the variants without rounds, from the manifest."""
    if {"groups", "without_rounds"} <= set(run.manifest):
        return run.manifest["groups"], run.manifest["without_rounds"]
    scenario = run.scenario  # the folder of an earlier version
    groups = dict(zip(scenario.fleet.group_names(), scenario.fleet.group_counts(), strict=True))
    return groups, [config.name for config in scenario.variants if not has_rounds(config)]


def _what_if(
    run: Run, runs: pd.DataFrame, time_shares: pd.DataFrame, progress: Callable[[ExplainProgress], None]
) -> pd.DataFrame:
    """Return what changes would save, by variant; those without a finished round have no rows."""
    names = set(runs.loc[runs["rounds"] > 0, "variant"])
    indices = [index for index, config in enumerate(run.scenario.variants) if config.name in names]
    steps, done = sum(len(changes(run.scenario, index)) for index in indices), count(1)
    target = run.scenario.target_accuracy
    reached = None if target is None else first_at_target(run.evaluations, target)
    tables = []
    for index in indices:
        config = run.scenario.variants[index]
        finished = runs[(runs["variant"] == config.name) & (runs["rounds"] > 0)]
        at_target = None if reached is None else reached[reached["variant"] == config.name]
        targets = {} if at_target is None else _by_seed(at_target, "round")
        targets = {seed: round for seed, round in targets.items() if round > 0}
        tell = partial(_tell, progress, config.name, done, steps)
        table = simulated(run.scenario, index, _by_seed(finished, "rounds"), targets, tell)
        table["share"] = _shares(
            run.scenario, time_shares[time_shares["variant"] == config.name], table["change"]
        )
        tables.append(table)
    empty = pd.DataFrame(columns=list(WHAT_IF)).astype(WHAT_IF)
    return pd.concat(tables, ignore_index=True) if tables else empty


def _tell(progress: Callable[[ExplainProgress], None], name: str, done: Iterator[int], steps: int) -> None:
    """Tell of one more change of a variant."""
    progress(ExplainProgress(name, next(done), steps))


def _refuse_unrepeatable(run: Run) -> None:
    """Refuse what-ifs of a scenario that needs training, cannot be read here, or has other files now."""
    try:
        known, now = run.manifest.get("files") or {}, contents(reread(run.scenario))
        chosen = list(chosen_by_learning(run.scenario))
    except ScenarioError as error:
        raise RunError(f"{CANNOT}.\n{error}\n{WITHOUT}") from error
    for _, problem in chosen:
        raise RunError(f"{CANNOT}.\n{problem}\n{WITHOUT}")
    changed = [str(file) for file, content in known.items() if content not in now.values()]
    if changed:
        raise RunError(f"{CANNOT}: since the run, {', '.join(changed)} has changed.\n{WITHOUT}")


def _shares(scenario: Scenario, time_shares: pd.DataFrame, names: pd.Series) -> list[float]:
    """Return the share of the time that each change makes faster; NaN if it is not one activity."""
    faster, sums = changed_activities(scenario), []
    for name in names:
        where, activities = faster.get(str(name), ((), ()))
        rows = time_shares["where"].isin(where) & time_shares["activity"].isin(activities)
        sums.append(float(time_shares.loc[rows, "share"].sum()) if where else math.nan)
    return sums


def _by_seed(table: pd.DataFrame, column: str) -> dict[int, int]:
    return {int(seed): int(value) for seed, value in zip(table["seed"], table[column], strict=True)}
