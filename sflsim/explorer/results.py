"""What is known of the runs of all settings that were shown, by their keys."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from sflsim.explorer.curves import RUNNING, UNTRAINED, Known
from sflsim.explorer.retimer import Details
from sflsim.explorer.shown import Shown
from sflsim.metrics.attribution import mean_times
from sflsim.report.html_gantt import gantt_of
from sflsim.report.html_run import time_bars
from sflsim.rows import Evaluation


class Results:
    """Results of tasks, each under the key of a run and its seed."""

    def __init__(self) -> None:
        self.growing: dict[tuple[str, int], list[Evaluation]] = {}
        """Evaluations of runs under training."""
        self._of: dict[str, dict[tuple[str, int], Any]] = {"curve": {}, "details": {}, "seconds": {}}

    def keep(self, what: str, key: str, seed: int, result: Any) -> None:
        """Keep the result of a task."""
        self._of[what][key, seed] = result

    def has(self, what: str, key: str, seed: int) -> bool:
        """Tell whether the result of a task is there."""
        return (key, seed) in self._of[what]

    def forget_untrained(self, keys: Collection[str]) -> None:
        """Forget that the learning of these runs was not known: it has been trained."""
        curves = self._of["curve"]
        for run in [run for run, known in curves.items() if run[0] in keys and known.status == UNTRAINED]:
            del curves[run]

    def known(self, shown: Shown, index: int) -> dict[int, Known]:
        """Return what is known of the runs of a variant by seed, those under training included."""
        found = {}
        for seed in shown.scenario.seeds:
            run: Known = self._of["curve"].get((shown.keys[index], seed), Known((), RUNNING))
            growing = self.growing.get((shown.keys[index], seed), ())
            if not run.ended and len(growing) > len(run.rows):
                run = Known(tuple(growing), run.status)
            found[seed] = run
        return found

    def lacking(self, shown: Shown) -> list[int]:
        """Return the variants with runs whose learning is not known."""
        return [
            index
            for index in range(len(shown.keys))
            if any(run.status == UNTRAINED for run in self.known(shown, index).values())
        ]

    def training_s(self, shown: Shown, workers: int) -> float | None:
        """Return about how long it takes to train what is lacking; None where that is not known."""
        first, seeds = shown.scenario.seeds[0], len(shown.scenario.seeds)
        each = [self._of["seconds"].get((shown.keys[index], first)) for index in self.lacking(shown)]
        known: list[float] = [seconds for seconds in each if seconds is not None]
        if not known or len(known) < len(each):
            return None
        total_s: float = seeds * sum(known) / min(workers, seeds * len(known))
        return max(total_s, *known)

    def details(self, shown: Shown) -> dict[str, Any]:
        """Return the parts `time` and `gantt` of the page, of the variants whose runs are all at hand.

        A part without any is None.
        """
        runs, times, whose = [], [], ""
        for index, key in enumerate(shown.keys):
            own: dict[int, Details] = {
                seed: self._of["details"][key, seed]
                for seed in shown.scenario.seeds
                if self.has("details", key, seed)
            }
            if len(own) < len(shown.scenario.seeds):
                continue
            for seed, part in own.items():
                times.append(part.times)
                whose = max(whose, part.whose, key=len)
                if part.gantt is not None:
                    runs.append({"variant": index, "seed": seed, **part.gantt})
        means = mean_times(pd.concat(times, ignore_index=True)) if times else None
        return {
            "time": None if means is None else time_bars(means, shown.names, whose),
            "gantt": gantt_of(runs) if runs else None,
        }
