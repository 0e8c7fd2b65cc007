"""Why a run takes its time: the critical paths of its rounds, in tables and words, and what would help."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import pandas as pd

from sflsim.errors import RunError, ScenarioError
from sflsim.experiment.run import Run
from sflsim.explainer.bottleneck import describe, headline, of_path
from sflsim.explainer.what_if import WHAT_IF, changed_activities
from sflsim.explainer.what_if import what_if as simulated
from sflsim.metrics.critical_path import critical_path, shares, slowest
from sflsim.metrics.tables import first_at_target
from sflsim.scenario.files import contents, reread
from sflsim.scenario.plan_rules import chosen_by_learning
from sflsim.scenario.schema import Scenario
from sflsim.session import has_rounds
from sflsim.workers.calls import Workers
from sflsim.workers.pool import check_workers

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
    workers: int = 1,
) -> Explanation:
    """Return where the time of a run's rounds goes; `variant` chooses one, `what_if` simulates changes too.

    `progress` is told of each change that has been simulated; up to so many `workers`, processes of their
    own, simulate them (a script must then guard its main part with `if __name__ == "__main__"`).

    Raises:
        RunError: there is no such variant, no spans, or no finished round; or the what-ifs of a scenario
            that cannot be simulated here, or whose files have changed.
        SflsimError: no number of workers is given, or a worker died.
    """
    check_workers(workers)
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
    table = empty
    if what_if:
        with closing(Workers(workers)) as processes:
            table = _what_if(run, runs, time_shares, progress or (lambda step: None), processes)
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
    run: Run,
    runs: pd.DataFrame,
    time_shares: pd.DataFrame,
    progress: Callable[[ExplainProgress], None],
    workers: Workers,
) -> pd.DataFrame:
    """Return what changes would save, by variant; those without a finished round have no rows."""
    scenario, finished = run.scenario, runs[runs["rounds"] > 0]
    names = {index: config.name for index, config in enumerate(scenario.variants)}
    rounds = {
        index: _by_seed(finished[finished["variant"] == name], "rounds")
        for index, name in names.items()
        if name in set(finished["variant"])
    }
    targets = {index: _targets(run, names[index]) for index in rounds}
    table = simulated(scenario, rounds, targets, workers, lambda *step: progress(ExplainProgress(*step)))
    return table.assign(share=_shares(scenario, time_shares, table))


def _targets(run: Run, variant: str) -> dict[int, int]:
    """Return the round in which a variant reached the target, by seed, where it did."""
    target = run.scenario.target_accuracy
    if target is None:
        return {}
    reached = first_at_target(run.evaluations, target)
    by_seed = _by_seed(reached[reached["variant"] == variant], "round")
    return {seed: round for seed, round in by_seed.items() if round > 0}


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


def _shares(scenario: Scenario, time_shares: pd.DataFrame, what_if: pd.DataFrame) -> list[float]:
    """Return the share of the time that each change makes faster; NaN if it is not one activity."""
    faster, sums = changed_activities(scenario), []
    for variant, change in zip(what_if["variant"], what_if["change"], strict=True):
        where, activities = faster.get(str(change), ((), ()))
        rows = time_shares["where"].isin(where) & time_shares["activity"].isin(activities)
        rows &= time_shares["variant"] == variant
        sums.append(float(time_shares.loc[rows, "share"].sum()) if where else math.nan)
    return sums


def _by_seed(table: pd.DataFrame, column: str) -> dict[int, int]:
    return {int(seed): int(value) for seed, value in zip(table["seed"], table[column], strict=True)}
