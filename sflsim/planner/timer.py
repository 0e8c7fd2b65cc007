"""Runs the scenarios of points on the clock, each under every seed, in this process or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sflsim.errors import ScenarioError
from sflsim.planner.progress import PlanCallback, PlanProgress
from sflsim.retime.rebuild import changed
from sflsim.retime.timing import Known, Timing, timings
from sflsim.scenario.schema import Scenario
from sflsim.session import SessionCache
from sflsim.workers.calls import Workers

_cache = SessionCache()  # of a worker process; filled there alone


def timed(
    scenario: Scenario,
    seeds: Sequence[int],
    known: Known | None,
    trusted: bool,
    cache: SessionCache | None = None,
) -> list[Timing] | ScenarioError:
    """Return the timings of a scenario's first variant under each seed, or why there are none.

    Trust is an argument, since a scenario loses it on its way to a process.
    """
    scenario = scenario.with_trust() if trusted else scenario
    try:
        return timings(scenario, seeds, _cache if cache is None else cache, known)
    except ScenarioError as error:
        return error


class Timer:
    """Times the first variant of scenarios; `known` is looked at each time."""

    def __init__(self, seeds: list[int], known: Known, tell: PlanCallback, workers: Workers) -> None:
        self._seeds = seeds
        self._known = known
        self._tell = tell
        self._workers = workers
        self._cache = SessionCache()

    def timings(
        self, scenarios: Sequence[Scenario], target: float | None, what: str = ""
    ) -> Iterator[list[Timing] | ScenarioError]:
        """Yield the timings of each scenario, or why there are none; `what` is said in the progress."""
        known = None
        if target is not None:
            known = {key: shown for key, shown in self._known.items() if shown[0] >= target}
        jobs = [
            (changed(scenario, accuracy=target, seeds=self._seeds), self._seeds, known, scenario.trusted)
            for scenario in scenarios
        ]
        for number, result in enumerate(self._workers.map(timed, jobs, self._cache), 1):
            if what:
                self._tell(PlanProgress(what, number, len(jobs), self._workers.count))
            yield result

    def with_outcomes(self, scenario: Scenario, target: float | None) -> list[Timing]:
        """Return the timings of a scenario, their outcomes and spans too."""
        scenario = changed(scenario, accuracy=target, seeds=self._seeds)
        return timings(scenario, self._seeds, self._cache, None if target is None else self._known, keep=True)
