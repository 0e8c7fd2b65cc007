"""The curves of a live page: those of the settings now, those of before, and those that are pinned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from sflsim.record import tables
from sflsim.report.html_curves import curve, looks
from sflsim.rows import Evaluation

RUNNING, UNTRAINED = "running", "untrained"
"""Status of a run that is not timed yet; of one that ended where a result of learning is in no store."""


@dataclass(frozen=True)
class Known:
    """What is known of one run: its evaluations so far, and how it ended."""

    rows: Sequence[Evaluation]
    status: str

    @property
    def ended(self) -> bool:
        """Whether all of it is known."""
        return self.status not in (RUNNING, UNTRAINED)


@dataclass(frozen=True)
class Drawn:
    """One curve of the page: how it looks, and its data."""

    look: dict[str, Any]
    curve: dict[str, Any]

    def kept(self, note: str) -> Drawn:
        """Return it as it is drawn beside newer ones: faint, with a note after its name."""
        return replace(self, look={**self.look, "name": f"{self.look['name']} ({note})", "faint": True})


@dataclass(frozen=True)
class Pin:
    """Curves that are kept, and the settings that they were drawn with."""

    name: str
    about: str
    curves: list[Drawn]


class Curves:
    """Draws the curves of a page; those of one state of a variant once."""

    def __init__(self) -> None:
        self.pins: list[Pin] = []
        self._made: dict[Any, Drawn] = {}
        self._last: dict[str, Drawn] = {}
        """By variant, the last curve that was complete, of these settings or of earlier ones."""

    def draw(
        self, names: Sequence[str], keys: Sequence[str], runs: Sequence[Mapping[int, Known]]
    ) -> list[Drawn]:
        """Return all curves, first one for each variant in order; `runs` is what is known of their runs.

        While a variant is being timed, its last complete curve stands in its place; where it must be trained,
        beside it.
        """
        now, before = [], []
        for index, (name, known) in enumerate(zip(names, runs, strict=True)):
            if name in self._last and any(run.status == RUNNING for run in known.values()):
                now.append(replace(self._last[name], look=looks(list(names))[index]))
                continue
            made_from = (
                keys[index],
                tuple(names),
                *((seed, len(run.rows), run.status) for seed, run in known.items()),
            )
            if made_from not in self._made:
                self._made[made_from] = drawn(names, index, known)
            now.append(self._made[made_from])
            if all(run.ended for run in known.values()):
                self._last[name] = now[-1]
            elif name in self._last:
                before.append(self._last[name].kept("before"))
        return [*now, *before, *(one for pin in self.pins for one in pin.curves)]

    def pin(self, curves: Sequence[Drawn], names: Collection[str], about: str) -> bool:
        """Keep those of the curves that have one of these names; tell whether there is any."""
        number = 1 + max((int(pin.name.split()[1]) for pin in self.pins), default=0)
        name = f"pin {number}"
        kept = [one.kept(name) for one in curves if one.look["name"] in names]
        if kept:
            self.pins.append(Pin(name, about, kept))
        return bool(kept)


def drawn(names: Sequence[str], index: int, runs: Mapping[int, Known]) -> Drawn:
    """Return the curve of a variant from its runs by seed; `names` are those of all variants."""
    name = names[index]
    parts = [tables.of_rows("evaluations", name, seed, run.rows) for seed, run in runs.items() if run.rows]
    states = [(name, seed, run.status) for seed, run in runs.items()]
    table = pd.DataFrame(states, columns=["variant", "seed", "status"])
    return Drawn(looks(list(names))[index], curve(tables.joined("evaluations", parts), table))


def on_page(curves: Sequence[Drawn], target: float | None) -> dict[str, Any]:
    """Return the parts `variants` and `accuracy` of a page; none where nothing was evaluated."""
    if not any(one.curve["bands"] for one in curves):
        return {}
    return {
        "variants": [one.look for one in curves],
        "accuracy": {"curves": [one.curve for one in curves], "target": target},
    }
