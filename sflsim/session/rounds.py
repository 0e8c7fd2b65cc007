"""What a round is for each variant, and whether a stop by rounds means one thing for all of them.

A round of most algorithms ends when its participants have done their part; one of an asynchronous algorithm
is an update of the global model, which may be a single client's.
"""

from __future__ import annotations

from collections.abc import Collection

from sflsim.formatting import counted
from sflsim.registry import algorithm_of
from sflsim.scenario.schema import Scenario
from sflsim.simulation.asynchronous import Asynchronous
from sflsim.simulation.base import AlgorithmConfig


def has_rounds(config: AlgorithmConfig) -> bool:
    """Tell whether the algorithm of a variant is made of rounds, which all that count end together."""
    return not issubclass(algorithm_of(config), Asynchronous)


def unlike_rounds(scenario: Scenario, stopped: Collection[str] | None = None) -> str:
    """Return a warning where variants of both kinds stop after the same number of rounds; else "".

    Where a time, bytes or energy may stop them before, that is known when they have run: `stopped` are those
    that made all their rounds.
    """
    rounds = scenario.stop.rounds
    if stopped is None and scenario.stop.limits:
        return ""
    names: dict[bool, list[str]] = {True: [], False: []}
    for config in scenario.variants:
        names[has_rounds(config)].append(config.name)
    if rounds is None or not (names[True] and names[False]):
        return ""
    if stopped is not None and not {*names[False]}.intersection(stopped):
        return ""
    updates, shared = (", ".join(names[kind]) for kind in (False, True))
    return (
        f"stop.rounds: {rounds} means {counted(rounds, 'update')} of the global model for {updates}, and "
        f"{counted(rounds, 'round')} of all participants for {shared}: to compare them, stop all at one time "
        "in place of rounds, e.g. 'stop: {time: 2 h}'"
    )
