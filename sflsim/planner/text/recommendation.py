"""The plan in plain words: what is recommended, why, what else there is, what is in the way."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from sflsim.explainer.bottleneck import bottleneck, describe
from sflsim.formatting import counted, mean_text, target_text
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.selection import Selection
from sflsim.planner.space import VARIANT, Point, Space
from sflsim.planner.spread import chance_better, chance_kept, deviation
from sflsim.planner.text.alternatives import SAME, Alternatives
from sflsim.planner.text.infeasible import explained
from sflsim.planner.text.wording import (
    amounts,
    change_text,
    diverged_remedy,
    diverged_text,
    limit_text,
    limit_words,
    listed,
)
from sflsim.planner.values import text_of
from sflsim.retime.scaling import less_is_better
from sflsim.scenario.plan_criteria import OBJECTIVES, constraint

DOUBT = 0.05
"""From which probability on another point is named as the better choice."""
SHOWN = 3
"""Of several such points, or of trainings that diverged, so many are named."""
NO_TARGET = "No target accuracy: points are compared for equal numbers of rounds, whatever these learn."


def explain(
    space: Space, evaluator: Evaluator, selection: Selection, table: pd.DataFrame, nearest: Point | None
) -> str:
    """Return the whole explanation; `nearest` is the point to speak of where nothing is feasible."""
    chosen = selection.recommended
    lines = [NO_TARGET, ""] if evaluator.target is None else []
    lines += explained(evaluator, nearest) if chosen is None else _recommended(evaluator, selection)
    about = chosen or nearest
    if about is not None:
        cause = bottleneck(about.scenario, evaluator.timer.with_outcomes(about.scenario, evaluator.target))
        binding = ([describe(cause)] if cause else []) + list(_helps(table))
        lines += _section("What binds there:", binding)
    if chosen is not None:
        decisions = Alternatives(space, evaluator, chosen).lines()
        lines += _section("Each decision, all else as recommended:", decisions)
        lines += _section("Margin to each limit:", list(_margins(evaluator, chosen)))
        lines += _section("How sure that is:", list(_sure(table, selection, evaluator)))
    lines += _section("Trainings that diverged:", list(_diverged(evaluator)))
    return "\n".join([*lines, "", _effort(space, evaluator)])


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  - {line}" for line in lines)] if lines else []


def _diverged(evaluator: Evaluator) -> Iterator[str]:
    """Yield for each training that diverged in which round it did, and which setting to change."""
    trainings = [training.points[0] for training in evaluator.shared_trainings()]
    reasons = [(point, diverged) for point in trainings if (diverged := evaluator.diverged(point))]
    for point, diverged in reasons[:SHOWN]:
        yield f"{point.label} diverged {diverged_text(diverged)}; {diverged_remedy(diverged)}."
    if len(reasons) > SHOWN:
        yield f"So did {counted(len(reasons) - SHOWN, 'other')} (column diverged)."


def _effort(space: Space, evaluator: Evaluator) -> str:
    counts = evaluator.counts
    errors = [*space.refused.values(), *evaluator.impossible.values()]
    text = f"{counts.timed} of {counted(space.combinations, 'combination')} timed"
    if space.repeated:
        text += f", {space.repeated} are the same {'point' if space.repeated == 1 else 'points'} as others"
    if errors:
        reason = errors[0].problems[0]
        text += (
            f", {len(errors)} impossible (such as {reason.path} {reason.found}; allowed: {reason.allowed})"
        )
    return f"{text}; {counted(counts.trainings, 'training')}, {counted(counts.rounds, 'round')} in all."


def _recommended(evaluator: Evaluator, selection: Selection) -> list[str]:
    point, target = selection.pareto[0], evaluator.target
    estimate = evaluator.estimate(point)
    minimised = evaluator.objectives.minimised
    named = dict.fromkeys([*minimised, OBJECTIVES["time"]])
    what = "Its rounds take" if target is None else f"To {target_text(target)} accuracy it takes"
    seeds = f"means over {len(evaluator.seeds)} seeds" if len(evaluator.seeds) > 1 else "one seed"
    rounds = mean_text(estimate.facts["rounds"])
    lines = [
        f"Recommended: {point.label}",
        f"  {what} {amounts(estimate.facts, named, evaluator.plan.prices.currency)}, "
        f"in {rounds} {'round' if rounds == '1' else 'rounds'} ({seeds}).",
    ]
    if len(selection.pareto) == 1:
        return [*lines, "  No other feasible point is better in anything that counts."]
    ratios = []
    for column, objective in enumerate(minimised):
        best = min(evaluator.estimate(other).values[column] for other in selection.pareto)
        ratios.append(f"{objective.words} {change_text(estimate.values[column] / best if best else 1.0)}")
    balance = f"It is the best balance of {len(selection.pareto)} points that no other point beats."
    return [*lines, f"  {balance} Compared with the least of each objective: {', '.join(ratios)}."]


def _helps(table: pd.DataFrame) -> Iterator[str]:
    """Yield which better device or link would shorten the time of the recommended point most."""
    better = table["change"].str.startswith("+") != table["assumption"].map(less_is_better).astype(bool)
    rows = table[(table["kind"] == "fleet") & better]
    if rows.empty:
        return
    best = rows.sort_values("time_ratio", kind="stable").iloc[0]
    if best["time_ratio"] > 1 - SAME:
        yield "No rate raised by 25 % and no delay shortened by 20 % saves 2 % of the time."
        return
    saved = change_text(float(best["time_ratio"]))
    yield f"What helps most: {best['assumption']} {best['change']} makes the time {saved}."
    names = [str(name) for name in rows.loc[(rows["time_ratio"] - 1).abs() < 0.005, "assumption"]]
    nothing = [f"{'less' if less_is_better(name) else 'more'} {name}" for name in names]
    if nothing:
        yield f"What would not help: {listed(nothing, 'or')}."


def _other(evaluator: Evaluator, chosen: Point, number: int) -> str:
    """Return what the answer would be in place of the recommended point: only what is different."""
    if number < 0:
        return "Nothing would be feasible"
    other = evaluator.points[number]
    if other.choices[VARIANT] != chosen.choices[VARIANT]:
        return f"The answer would be {other.label}"
    differing = [name for name in chosen.choices if chosen.choices[name] != other.choices[name]]
    parts = (
        f"{name} {text_of(other.choices[name])} instead of {text_of(chosen.choices[name])}"
        for name in differing
    )
    return f"The answer would be {listed(parts)}"


def _margins(evaluator: Evaluator, chosen: Point) -> Iterator[str]:
    """Yield how far the recommended point is below each limit."""
    estimate, currency = evaluator.estimate(chosen), evaluator.plan.prices.currency
    for name, (taken, limit) in estimate.limited.items():
        if name == "device_memory" and not taken:  # no device's memory is known
            continue
        takes, allowed = (limit_text(name, amount, currency) for amount in (taken, limit))
        chance = chance_kept(estimate.times_s, limit) if name == "deadline" else math.nan
        further = f"; a further seed would keep it with a probability of {percent(chance)}"
        further = "" if math.isnan(chance) else further
        spare = percent(estimate.margins[name])
        used = "used" if constraint(name)[0].unit == "share" else f"of {allowed}"
        yield f"{limit_words(name)}: {takes} {used}, {spare} to spare{further}."


def _spread(evaluator: Evaluator, chosen: Point) -> Iterator[str]:
    """Yield what the seeds' spread leaves open."""
    seeds, mine = len(evaluator.seeds), evaluator.estimate(chosen)
    if seeds == 1:
        yield "One seed does not tell how far the answer rests on chance: give more 'seeds'."
        return
    spread = deviation(mine.times_s)
    if not math.isnan(spread):
        mean_s = mine.facts[OBJECTIVES["time"].column]
        share = percent(spread / mean_s) if mean_s else percent(0.0)
        yield f"Its time has a standard deviation of {share} over {seeds} seeds."
    others = [
        (point, evaluator.estimate(point)) for point in evaluator.timed if point.number != chosen.number
    ]
    chances = [
        (chance_better(mine, estimate, evaluator.objectives.weights), point)
        for point, estimate in others
        if estimate.surely_feasible
    ]
    rivals = sorted((one for one in chances if one[0] >= DOUBT), key=lambda one: -one[0])
    for chance, point in rivals[:SHOWN]:
        yield f"By the seeds' spread {point.label} is better with a probability of {percent(chance)}."
    if len(rivals) > SHOWN:
        more = counted(len(rivals) - SHOWN, "other point")
        yield f"So are {more} with {percent(DOUBT)} or more (column chance_better)."
    if chances and not rivals:
        least = f"a probability of {percent(DOUBT)} or more"
        yield f"By the seeds' spread no other point that was trained to the end is better with {least}."


def percent(share: float) -> str:
    """Return 0.123 as "12 %"."""
    return f"{100 * share:.0f} %"


def _sure(table: pd.DataFrame, selection: Selection, evaluator: Evaluator) -> Iterator[str]:
    changes = table[table["changes"]]
    for number, rows in changes.groupby("recommended", sort=False):
        causes = listed((f"{row.assumption} {row.change}" for row in rows.itertuples()), "or")
        doubt = "" if rows["certain"].all() else " (partly an estimate, without more training)"
        yield f"{_other(evaluator, selection.pareto[0], int(str(number)))} with {causes}{doubt}."
    doubtful = int((~table["certain"] & ~table["changes"]).sum())
    kept = f"{len(table) - len(changes)} of {counted(len(table), 'small change')} of an assumption"
    doubt = f"; for {doubtful} of them this is an estimate, without more training" if doubtful else ""
    yield f"{kept} leave the recommendation as it is{doubt}."
    yield from _spread(evaluator, selection.pareto[0])
    if selection.open:
        might = f"{counted(len(selection.open), 'point')} might still be better"
        yield f"{might}; only what was expected to win was trained to the end."
    probability, seeds = evaluator.plan.constraints.probability, len(evaluator.seeds)
    if probability < 1 and seeds * (1 - probability) < 1 - 1e-9:
        share = target_text(probability)
        yield f"With {counted(seeds, 'seed')}, {share} means every seed: more 'seeds' give a finer estimate."
