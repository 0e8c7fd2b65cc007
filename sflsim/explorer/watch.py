"""The page of a run that goes on: its curves as they grow."""

from __future__ import annotations

import time

from sflsim.experiment.simulate import Progress
from sflsim.explorer.board import Board
from sflsim.explorer.curves import Known, drawn, on_page
from sflsim.rows import Evaluation
from sflsim.scenario.schema import Scenario

DRAW_EVERY_S = 0.5


class Watch:
    """Puts on a board what a run has evaluated so far; called with its progress."""

    def __init__(self, scenario: Scenario, board: Board, target: float | None = None) -> None:
        """Take the run's scenario and the target to draw, by default the scenario's."""
        self._scenario = scenario
        self._target = scenario.target_accuracy if target is None else target
        self._board = board
        self._names = [variant.name for variant in scenario.variants]
        self._rows: dict[tuple[str, int], list[Evaluation]] = {}
        self._states: dict[tuple[str, int], str] = {}
        self._drawn_s = 0.0
        board.put(status={"runs": len(self._names) * len(scenario.seeds), "timed": 0})

    def __call__(self, step: Progress) -> None:
        """Take one evaluation or one end of a run."""
        self._states[step.variant, step.seed] = step.status
        if step.evaluation is not None:
            self._rows.setdefault((step.variant, step.seed), []).append(step.evaluation)
        if step.runs_done == step.runs or time.monotonic() - self._drawn_s >= DRAW_EVERY_S:
            self._drawn_s = time.monotonic()
            self._draw(step)

    def _draw(self, step: Progress) -> None:
        curves = []
        for index, name in enumerate(self._names):
            seeds = [seed for seed in self._scenario.seeds if (name, seed) in self._rows]
            runs = {seed: Known(self._rows[name, seed], self._states[name, seed]) for seed in seeds}
            curves.append(drawn(self._names, index, runs))
        self._board.put(
            **on_page(curves, self._target),
            status={"runs": step.runs, "timed": step.runs_done},
        )
