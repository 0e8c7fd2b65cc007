"""The words of a plan: objectives, constraints, amounts, changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sflsim.formatting import bytes_text, in_unit, joule_unit, number_text, seconds_text
from sflsim.planner.objectives import split

WORDS = {"time": "time", "cost": "cost", "energy": "client energy", "bytes": "bytes per client"}
LIMITS = {
    "target": "the target accuracy",
    "deadline": "the deadline",
    "device_memory": "the memory of the devices",
    "server_memory": "the memory of the server",
    "bytes_per_client": "the bytes per client",
    "bytes_per_client_and_month": "the bytes per client and month",
    "budget": "the budget",
}


def limit_words(name: str) -> str:
    """Return a constraint in words, its group with it."""
    group, rule = split(name)
    return LIMITS[rule] + (f" of group {group}" if group else "")


def limit_text(name: str, amount: float, currency: str) -> str:
    """Return what a constraint limits, or its limit: "21.0 min", "1.50 GiB"."""
    rule = split(name)[1]
    if rule == "deadline":
        return seconds_text(amount)
    if rule == "budget":
        return f"{number_text(amount)} {currency}"
    return f"{100 * amount:.3g} %" if name == "device_memory" else bytes_text(amount)


def amounts(facts: Mapping[str, float], names: Iterable[str], currency: str) -> str:
    """Return the objectives of a point: "1.20 h, 3.40 EUR"."""
    texts = {
        "time": seconds_text(facts["time"]),
        "cost": f"{number_text(facts['cost'])} {currency}",
        "energy": in_unit(facts["energy"], joule_unit) + " of client energy",
        "bytes": bytes_text(facts["bytes"]) + " per client",
    }
    return ", ".join(texts[name] for name in names)


def change_text(ratio: float) -> str:
    """Return 1.3 as "+30 %", 0.999 as "the same", 4 as "4 times"."""
    if abs(ratio - 1) < 0.005:
        return "the same"
    return f"{ratio:.3g} times" if ratio >= 3 else f"{100 * (ratio - 1):+.0f} %"


def listed(words: Iterable[str], last: str = "and") -> str:
    """Return "a, b and c"."""
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final
