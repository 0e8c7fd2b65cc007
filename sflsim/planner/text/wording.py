"""The words of a plan: objectives, constraints, amounts, changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from sflsim.formatting import UNIT_OF, in_unit, number_text
from sflsim.scenario.plan_criteria import Objective, constraint


def limit_words(path: str) -> str:
    """Return a constraint in words, its group with it."""
    if path == "target":
        return "the target accuracy"
    limited, group = constraint(path)
    return limited.words + (f" of group {group}" if group else "")


def limit_text(path: str, amount: float, currency: str) -> str:
    """Return what a constraint limits, or its limit: "21.0 min", "1.50 GiB"."""
    return amount_text(amount, constraint(path)[0].unit, currency)


def amounts(facts: Mapping[str, float], objectives: Iterable[Objective], currency: str) -> str:
    """Return the objectives of a point: "1.20 h, 3.40 EUR"."""
    return ", ".join(
        one.amount.format(amount_text(facts[one.column], one.unit, currency)) for one in objectives
    )


def amount_text(amount: float, unit: str, currency: str) -> str:
    """Return an amount in a unit that reads well: 1536 byte as "1.50 KiB"."""
    if unit == "share":
        return f"{100 * amount:.3g} %"
    return f"{number_text(amount)} {currency}" if unit == "money" else in_unit(amount, UNIT_OF[unit])


def diverged_text(reasons: Mapping[int, str]) -> str:
    """Return in which round which seeds diverged: "in round 3 (seed 0), in round 5 (seed 1)"."""
    return ", ".join(f"{reason.partition(';')[0]} (seed {seed})" for seed, reason in reasons.items())


def diverged_remedy(reasons: Mapping[int, str]) -> str:
    """Return which setting to change so that no seed diverges."""
    return " or ".join(dict.fromkeys(reason.partition("; ")[2] for reason in reasons.values()))


def change_text(ratio: float) -> str:
    """Return 1.3 as "+30 %", 0.999 as "the same", 4 as "4 times", infinity (it was zero) as "above zero"."""
    if math.isinf(ratio):
        return "above zero"
    if abs(ratio - 1) < 0.005:
        return "the same"
    return f"{ratio:.3g} times" if ratio >= 3 else f"{100 * (ratio - 1):+.0f} %"


def listed(words: Iterable[str], last: str = "and") -> str:
    """Return "a, b and c"."""
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final
