"""Trainings and saves, in a thread of their own: each is what `sflsim run` does of a scenario.

A training leaves its results in the store on disk, from which all later runs take them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sflsim.errors import SflsimError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import Progress, simulate
from sflsim.rows import Evaluation
from sflsim.scenario.schema import Scenario
from sflsim.session import Options

TELL_EVERY_S = 0.5
ENDING_S = 5.0
"""How long a training may take to stop when the command ends; its last evaluation is stored already."""


class Background:
    """Does one thing at a time; `told` says what it does, or how the last one ended."""

    def __init__(self, options: Options, workers: int) -> None:
        self.workers = workers
        self.told: dict[str, Any] = {}
        self._options = options
        self._thread: threading.Thread | None = None
        self._stopped = False

    def train(
        self,
        scenario: Scenario,
        evaluated: Callable[[str, int, Evaluation], None],
        news: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        """Train all runs of a scenario.

        `evaluated` takes variant, seed and evaluation; `news` is called now and then, and `ended` at the end.

        Raises:
            SflsimError: something else is under way.
        """
        shares: dict[tuple[str, int], float] = {}
        next_s = time.monotonic()

        def progress(step: Progress) -> None:
            nonlocal next_s
            if self._stopped:
                raise KeyboardInterrupt
            if step.evaluation is not None:
                evaluated(step.variant, step.seed, step.evaluation)
            shares[step.variant, step.seed] = step.share
            done = sum(shares.values()) / step.runs
            left_s = step.real_s * (1 - done) / done if done else None
            self.told = {"doing": "training", "share": done, "left_s": left_s}
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + TELL_EVERY_S
                news()

        def work() -> str:
            status = self._simulated(scenario, progress).status
            return "training was stopped" if status == "interrupted" else ""

        self._start(work, ended, {"doing": "training", "share": 0.0, "left_s": None})

    def save(self, scenario: Scenario, write: Callable[[Run], Path], ended: Callable[[], None]) -> None:
        """Run a scenario whose learning is known, and write it to a new folder.

        Raises:
            SflsimError: something else is under way.
        """
        self._start(lambda: f"written to {write(self._simulated(scenario))}", ended, {"doing": "saving"})

    def stop(self) -> None:
        """Let a training stop at its next evaluation."""
        self._stopped = True

    def end(self) -> None:
        """Stop what is under way, and wait a little for its end."""
        self.stop()
        self.wait(ENDING_S)

    def wait(self, patience_s: float | None = None) -> None:
        """Wait for the end of what is under way."""
        if self._thread is not None:
            self._thread.join(patience_s)

    def _simulated(self, scenario: Scenario, progress: Callable[[Progress], None] | None = None) -> Run:
        device, cache = self._options.device, self._options.cache
        return simulate(scenario, workers=self.workers, device=device, cache=cache, progress=progress)

    def _start(self, work: Callable[[], str], ended: Callable[[], None], told: dict[str, Any]) -> None:
        if "doing" in self.told:
            raise SflsimError(f"{self.told['doing']} is under way: wait for its end, or stop it")
        self._stopped, self.told = False, told

        def do() -> None:
            try:
                self.told = {"done": work()}
            except SflsimError as error:
                self.told = {"failed": str(error)}
            except Exception as error:  # a bug of ours must not look like a training without end
                self.told = {"failed": f"{type(error).__name__}: {error}"}
            ended()

        self._thread = threading.Thread(target=do, daemon=True)
        self._thread.start()
