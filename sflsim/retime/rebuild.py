"""Variations of a scenario: changed data, another stop, other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from sflsim.errors import ScenarioError
from sflsim.scenario.json_schemas import schema_of
from sflsim.scenario.schema import Scenario
from sflsim.scenario.translate import problems_of
from sflsim.trust import trusting


def rebuilt(scenario: Scenario, data: dict[str, Any]) -> Scenario:
    """Return the scenario that `data` describes; relative files are those of `scenario`.

    Raises:
        ScenarioError: `data` is no valid scenario.
    """
    try:
        context = {"base_dir": scenario.source.folder, "trust": scenario.trusted}
        return Scenario.model_validate(data, context=context)
    except ValidationError as error:
        with trusting(scenario.trusted):
            raise ScenarioError(problems_of(error, data, partial(schema_of, Scenario))) from error


def changed(
    scenario: Scenario, *, accuracy: float | None, seeds: Sequence[int], rounds: int | None = None
) -> Scenario:
    """Return the scenario with these seeds; it stops at `accuracy`, at its own stop or after `rounds`."""
    stop = {"accuracy": accuracy, **({} if rounds is None else {"rounds": rounds})}
    return scenario.model_copy(
        update={"stop": scenario.stop.model_copy(update=stop), "seeds": list(seeds), "plan": None}
    )
