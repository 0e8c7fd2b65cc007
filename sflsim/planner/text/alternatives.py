"""What each decision buys: the recommended point beside those that differ from it in one thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sflsim.formatting import counted
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.pareto import scalarize, stacked
from sflsim.planner.space import Point, Space
from sflsim.planner.text.wording import amounts, change_text, diverged_text, limit_words, listed
from sflsim.planner.values import size_of, text_of

SAME = 0.02
"""A change of less than this share is nothing."""


class Alternatives:
    """Says of one point what other choices would do to its objectives."""

    def __init__(self, space: Space, evaluator: Evaluator, point: Point) -> None:
        self.space = space
        self.evaluator = evaluator
        self.point = point

    def lines(self) -> list[str]:
        """Return a line or two for each decision, then one for each other algorithm."""
        return [*self._by_path(), *self._by_field(), *self._by_algorithm()]

    def _by_path(self) -> list[str]:
        lines: list[str] = []
        timed = {other.number for other in self.evaluator.timed}
        for axis in self.space.axes[1:]:
            others = [
                (other.choices[axis.name], other)
                for along, other in self.space.neighbours(self.point)
                if along is axis and other.number in timed
            ]
            if others:
                lines += self._along(axis.name, axis.ordered, self.point.choices[axis.name], others)
        return lines

    def _by_field(self) -> list[str]:
        """Go through the fields in which variants of one algorithm differ."""
        lines: list[str] = []
        for name in self.space.differing:
            others = [
                (other.fields[name], other)
                for other in self.evaluator.timed
                if other.indices[1:] == self.point.indices[1:] and self._differ(other) == {name}
            ]
            if others:
                chosen = self.point.fields[name]
                ordered = all(size_of(value) is not None for value in [chosen, *(one for one, _ in others)])
                lines += self._along(name, ordered, chosen, others)
        return lines

    def _by_algorithm(self) -> list[str]:
        """Set the best point of each other algorithm beside this one."""
        chosen = self.point.fields["algorithm"]
        names = dict.fromkeys(other.fields["algorithm"] for other in self.evaluator.timed)
        return [self._other_algorithm(name) for name in names if name != chosen]

    def _other_algorithm(self, name: str) -> str:
        estimate = self.evaluator.estimate
        points = [point for point in self.evaluator.timed if point.fields["algorithm"] == name]
        feasible = [point for point in points if estimate(point).feasible]
        exact = [point for point in feasible if estimate(point).exact]
        if not feasible:
            violated = dict.fromkeys(
                limit_words(reason) for point in points for reason in estimate(point).violations
            )
            return f"{name}: always violates {listed(violated, 'or')}{self._diverged(points)}."
        if not exact:
            return self._given_up(name, feasible)
        columns = len(self.evaluator.plan.objectives)
        values = stacked([estimate(point).values for point in exact], columns)
        score = scalarize(values, self.evaluator.objectives.weights, best=estimate(self.point).values)
        best = exact[int(score.argmin())]
        chosen = self.point.fields["algorithm"]
        return f"{name} instead of {chosen}, at its best with {best.label}: {self._effect(best)}."

    def _diverged(self, points: Sequence[Point]) -> str:
        """Say how many of some points diverged, and where one of them did."""
        reasons = [(point, diverged) for point in points if (diverged := self.evaluator.diverged(point))]
        if not reasons:
            return ""
        point, diverged = reasons[0]
        share = f"{len(reasons)} of {counted(len(points), 'point')}"
        return f"; {share} diverged, {point.label} {diverged_text(diverged)}"

    def _given_up(self, name: str, points: Sequence[Point]) -> str:
        """Say what the best of some inexact points takes at least, beside the recommended one."""
        plan, estimate = self.evaluator.plan, self.evaluator.estimate
        bounds = stacked([estimate(point).values for point in points], len(plan.objectives))
        score = scalarize(bounds, self.evaluator.objectives.weights, best=estimate(self.point).values)
        best = points[int(score.argmin())]
        needs, takes = (
            amounts(estimate(point).facts, self.evaluator.objectives.minimised, plan.prices.currency)
            for point in (best, self.point)
        )
        front = self.evaluator.front
        open_ = any(self.evaluator.can_win(point, front) for point in points)
        verdict = (
            "might win, but was not trained to the end"
            if open_
            else "no point can win, so none was trained to the end"
        )
        return f"{name}: {verdict}; {best.label} needs at least {needs}, the recommended point takes {takes}."

    def _differ(self, other: Point) -> set[str]:
        return {name for name in other.fields if other.fields[name] != self.point.fields[name]}

    def _along(self, name: str, ordered: bool, chosen: Any, others: Sequence[tuple[Any, Point]]) -> list[str]:
        """Return what the other values of one decision would bring."""
        if not ordered:
            return [self._instead(name, chosen, value, other) for value, other in others]
        here = size_of(chosen) or 0.0
        sized = sorted(
            ((size_of(value) or 0.0, value, other) for value, other in others), key=lambda other: other[0]
        )
        below = [one[1:] for one in sized if one[0] < here]
        above = [one[1:] for one in sized if one[0] > here]
        lines = []
        enough = [one for one in below if self._as_good(one[1])]
        if enough:
            lines.append(f"{name} {text_of(enough[0][0])} would do as well: {self._effect(enough[0][1])}.")
        elif below:
            lines.append(self._instead(name, chosen, *below[-1]))
        if above and all(self._buys_nothing(other) for _, other in above):
            value, other = above[0]
            lines.append(
                f"{name} beyond {text_of(chosen)} buys nothing; {text_of(value)}: {self._effect(other)}."
            )
        elif above:
            lines.append(self._instead(name, chosen, *above[0]))
        return lines

    def _instead(self, name: str, chosen: Any, value: Any, other: Point) -> str:
        return f"{name} {text_of(value)} instead of {text_of(chosen)}: {self._effect(other)}."

    def _buys_nothing(self, other: Point) -> bool:
        """Tell whether another point is better in nothing by more than SAME, whatever training would show."""
        mine, theirs = self.evaluator.estimate(self.point), self.evaluator.estimate(other)
        return bool((theirs.values >= mine.values * (1 - SAME)).all())

    def _as_good(self, other: Point) -> bool:
        """Tell whether another point is feasible, and worse in nothing by more than SAME."""
        mine, theirs = self.evaluator.estimate(self.point), self.evaluator.estimate(other)
        return theirs.exact and theirs.feasible and bool((theirs.values <= mine.values * (1 + SAME)).all())

    def _effect(self, other: Point) -> str:
        """Return what becomes of the objectives: "time +30 %, cost -5 %"."""
        mine, theirs = self.evaluator.estimate(self.point), self.evaluator.estimate(other)
        reasons = self.evaluator.diverged(other)
        if theirs.violations and reasons:
            return f"diverges {diverged_text(reasons)}"
        if theirs.violations:
            violated = listed(limit_words(name) for name in theirs.violations)
            return f"violates {violated} with the rest unchanged"
        minimised = self.evaluator.objectives.minimised
        parts = [
            f"{one.words} {change_text(after / before if before else 1.0 if not after else math.inf)}"
            for one, before, after in zip(minimised, mine.values, theirs.values, strict=True)
        ]
        if theirs.exact:
            return ", ".join(parts)
        return f"cannot win, so it was not trained to the end; at best {', '.join(parts)}"
