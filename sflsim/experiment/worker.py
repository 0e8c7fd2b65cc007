"""What a worker of an experiment does: the runs of one scenario.

It loads nothing that makes tables or shows them, so that a process is at work as soon as possible.
"""

from __future__ import annotations

from collections.abc import Mapping

from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session, SessionCache
from sflsim.session.cache import Key
from sflsim.workers.backends import Tell

Job = tuple[int, int]  # variant number, seed


class ScenarioRunner:
    """Does the runs of a session and tells of each evaluation: (variant's name, seed, evaluation)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, tell: Tell, variant: int, seed: int) -> Outcome:
        """Simulate a variant under a seed."""
        name = self._session.scenario.variants[variant].name
        return self._session.run(variant, seed, lambda row: tell((name, seed, row)))

    def close(self) -> None:
        """Close the store on disk."""
        self._session.close()


def make_runner(scenario: Scenario, options: Options, costs: Mapping[Key, object]) -> ScenarioRunner:
    """Return the runner of a process; it takes the costs of the caller, as deriving them takes seconds."""
    return ScenarioRunner(Session(scenario, options, cache=SessionCache(costs)))
