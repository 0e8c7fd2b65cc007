"""What a user should know of a scenario's devices before its times are believed."""

from __future__ import annotations

from sflsim.errors import ScenarioError
from sflsim.scenario.schema import Scenario
from sflsim.session.blame import blaming
from sflsim.session.fitted import unlike_networks
from sflsim.session.profiled import unused_profiles


def doubts(scenario: Scenario) -> list[str]:
    """Return a warning for each device that rests on other networks, or whose profile is of something else.

    There is none of a scenario that cannot be simulated: who simulates it says why, with file and line.
    """
    try:
        with blaming(scenario):
            return [*unlike_networks(scenario), *unused_profiles(scenario)]
    except ScenarioError:
        return []
