"""What a page explores: settings, the runs that are timed for them, trainings on request, pins.

One thread, that of the command, hands tasks to worker processes and takes their results; requests of pages
come in the server's threads. Results are kept by all that a run is made from, so that what was shown once is
shown at once again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sflsim.errors import SflsimError, refused
from sflsim.experiment.run import Run
from sflsim.explorer.background import Background
from sflsim.explorer.board import Board
from sflsim.explorer.controls import Controls
from sflsim.explorer.curves import Curves, on_page
from sflsim.explorer.overriding import as_options
from sflsim.explorer.results import Results
from sflsim.explorer.shown import Shown, keys_of, shown
from sflsim.explorer.tasks import Task, Tasks
from sflsim.fields import Percent, read_argument
from sflsim.formatting import shorten
from sflsim.scenario.files import reread
from sflsim.scenario.loading import vary
from sflsim.scenario.overrides import Override
from sflsim.session import Options, Session, SessionCache
from sflsim.workers.pool import Pool

MOST_PINS = 8


class Explorer:
    """The state behind a page; `save` writes a run to a new folder and returns it."""

    def __init__(
        self,
        controls: Controls,
        options: Options,
        board: Board,
        *,
        workers: int = 1,
        save: Callable[[Run], Path],
    ) -> None:
        self.controls = controls
        self.board = board
        self.background = Background(options, workers)
        self._options = options
        self._save = save
        self._cache = SessionCache()
        self._lock = threading.RLock()
        self._wanted = threading.Condition(self._lock)
        self._results = Results()
        self._curves = Curves()
        self._tasks = Tasks()
        self._failed = ""
        self._detailed = False
        self._ended = False
        self._shown = shown(controls.scenario)
        with self._lock:
            self._begin(self._shown)

    # What pages ask for; in the server's threads.

    @property
    def actions(self) -> dict[str, Callable[[Mapping[str, Any]], None]]:
        """What a page may ask for, by name."""
        return {
            "change": self.change,
            "train": lambda sent: self.train(),
            "stop": lambda sent: self.background.stop(),
            "pin": self.pin,
            "unpin": self.unpin,
            "save": self.save,
        }

    def change(self, sent: Mapping[str, Any]) -> None:
        """Show the scenario with other settings (raises ScenarioError, and then nothing changes)."""
        settings = self.controls.read(sent)
        scenario, overrides = self.controls.changed(settings)
        scenario = reread(scenario)
        Session(scenario, self._options, cache=self._cache).check()
        with self._lock:
            self._begin(shown(scenario, as_options(overrides), settings))

    def train(self) -> None:
        """Train what the runs that are shown lack, in the background.

        Raises:
            SflsimError: something else is under way.
        """
        with self._lock:
            scenario = self._shown.scenario
            variants = [scenario.variants[index] for index in self._results.lacking(self._shown)]
            if not variants:
                return
            part = scenario.model_copy(update={"variants": variants})
            keys = dict(zip((variant.name for variant in variants), keys_of(part), strict=True))

            def evaluated(variant: str, seed: int, row: Any) -> None:
                with self._lock:
                    self._results.growing.setdefault((keys[variant], seed), []).append(row)

            def ended() -> None:
                with self._lock:
                    self._results.growing.clear()
                    self._results.forget_untrained(keys.values())
                    self._begin(self._shown)

            self.background.train(part, evaluated, self._draw, ended)
            self._tell()

    def pin(self, sent: Mapping[str, Any]) -> None:
        """Keep the complete curves of some variants beside those to come (raises ScenarioError)."""
        names = sent.get("names")
        with self._lock:
            now = [
                curve
                for index, curve in enumerate(self._drawn()[: len(self._shown.keys)])
                if all(run.ended for run in self._results.known(self._shown, index).values())
            ]
            about = " ".join(f"--set {one}" for one in self._shown.overrides) or "as in the scenario"
            full = len(self._curves.pins) == MOST_PINS
            if full or not isinstance(names, list) or not self._curves.pin(now, names, about):
                found = f"{MOST_PINS} pins" if full else shorten(repr(names))
                raise refused("pin", found, f"complete curves of these settings, and {MOST_PINS} pins")
            self._draw()

    def unpin(self, sent: Mapping[str, Any]) -> None:
        """Remove a pin."""
        with self._lock:
            self._curves.pins = [pin for pin in self._curves.pins if pin.name != sent.get("name")]
            self._draw()

    def save(self, sent: Mapping[str, Any]) -> None:
        """Write the run that is shown to a new folder, with the page's target (raises SflsimError)."""
        share = read_argument("target", sent.get("target") or None, Percent())
        with self._lock:
            scenario = self._shown.scenario
            if self._left("curve") or self._results.lacking(self._shown):
                raise refused(
                    "save", "runs that are not known", "a run that is known as a whole", "train it first"
                )
            if share is not None and share != scenario.target_accuracy:
                scenario = vary(scenario, [Override("target", ("target_accuracy",), f"{100 * share:.6g}%")])
            self.background.save(scenario, self._save, self._tell)
            self._tell()

    # What the command does; in its own thread.

    def work(self, pool: Pool) -> None:
        """Train what the scenario itself lacks, and hand tasks to workers until `end`, or Ctrl-C.

        Raises:
            SflsimError: workers die as they start.
        """
        try:
            self.work_off(pool)
            self.train()
            while not self._ended:
                with self._lock:
                    self._wanted.wait_for(lambda: self._tasks.waiting or self._ended)
                self.work_off(pool)
        finally:
            self.background.end()

    def end(self) -> None:
        """Let `work` end."""
        with self._lock:
            self._ended = True
            self._wanted.notify_all()

    def work_off(self, pool: Pool) -> None:
        """Do the tasks that wait, and those that come meanwhile."""
        for task, future in pool.each(self._next, lambda task: task.arguments):
            with self._lock:
                self._tasks.done(task)
                self._take(task, future)

    def _next(self) -> Task | None:
        with self._lock:
            return self._tasks.next()

    def _take(self, task: Task, future: Future[Any]) -> None:
        """Keep a result, of these settings or of earlier ones, and go on from it."""
        error = future.exception()
        if error is not None and not isinstance(error, SflsimError):
            raise error
        if error is None:
            self._results.keep(task.what, task.key, task.seed, future.result())
        if task.of is not self._shown:
            return
        if error is not None:
            self._failed = str(error)
            self._tasks.waiting.clear()
        elif task.what == "curve" and not self._left("curve"):
            self._tasks.waiting.extend(self._further_tasks())
        if task.what == "details" or not self._left("details"):
            self._draw_details()
        self._draw()

    def _begin(self, shown: Shown) -> None:
        """Show a scenario: draw what is known of it, and let the rest be timed."""
        if shown.names != self._shown.names:  # what is drawn by number has other variants
            self._detailed = False
        self._shown, self._failed = shown, ""
        curves = [Task("curve", *run, shown) for run in shown.runs]
        self._tasks.replace(self._not_known(curves) or self._further_tasks())
        controls = self.controls.all.values()
        self.board.put(
            controls=[{**one.for_page(), "now": shown.settings.get(one.id, one.value)} for one in controls]
        )
        self._draw_details()
        self._draw()
        self._wanted.notify_all()

    def _further_tasks(self) -> list[Task]:
        """Return what is to be done once all curves are timed: times of trainings, details of known runs."""
        lacking, first = self._results.lacking(self._shown), self._shown.scenario.seeds[0]
        return self._not_known(
            [
                *(Task("seconds", index, first, self._shown) for index in lacking),
                *(Task("details", *run, self._shown) for run in self._shown.runs if run[0] not in lacking),
            ]
        )

    def _not_known(self, tasks: list[Task]) -> list[Task]:
        return [task for task in tasks if not self._results.has(task.what, task.key, task.seed)]

    def _left(self, what: str) -> int:
        """Return how many tasks of a kind are not done."""
        return self._tasks.left(what, self._shown)

    # What the board shows.

    def _drawn(self) -> list[Any]:
        runs = [self._results.known(self._shown, index) for index in range(len(self._shown.keys))]
        return self._curves.draw(self._shown.names, self._shown.keys, runs)

    def _draw(self) -> None:
        """Draw all curves, and say what is done."""
        with self._lock:
            pins = [{"name": pin.name, "about": pin.about} for pin in self._curves.pins]
            self.board.put(pins=pins, **on_page(self._drawn(), self._shown.scenario.target_accuracy))
            self._tell()

    def _draw_details(self) -> None:
        """Draw where the time goes, and the rounds; those of before stay until all of these are known."""
        known = not (self._left("curve") or self._left("details"))
        if known or not self._detailed:
            self.board.put(**self._results.details(self._shown))
            self._detailed = known

    def _tell(self) -> None:
        """Say what is done and what is lacking."""
        with self._lock:
            shown, left = self._shown, self._left("curve")
            self.board.put(
                status={
                    "runs": len(shown.runs),
                    "timed": len(shown.runs) - left,
                    "details": self._left("details"),
                    "lacking": [shown.names[index] for index in self._results.lacking(shown)],
                    "training_s": self._results.training_s(shown, self.background.workers),
                    "measuring": bool(left or self._left("seconds")),
                    "background": self.background.told,
                    "failed": self._failed,
                    "overrides": list(shown.overrides),
                }
            )
