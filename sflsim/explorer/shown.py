"""The scenario that a page shows, and what tells its runs from those of other settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from sflsim.scenario.files import contents
from sflsim.scenario.schema import Scenario

NO_PART = ("name", "description", "seeds", "target_accuracy", "sweep", "plan", "variants")
"""Parts of a scenario that say nothing of one run under a seed; a run's own variant is added."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A scenario with the settings that made it, and for each variant the key of its runs."""

    scenario: Scenario
    overrides: Sequence[str] = ()
    """As arguments of `--set`."""
    settings: dict[str, str] = field(default_factory=dict)
    keys: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The names of the variants."""
        return [variant.name for variant in self.scenario.variants]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Variant number and seed of each run."""
        return [(index, seed) for index in range(len(self.keys)) for seed in self.scenario.seeds]


def shown(scenario: Scenario, overrides: Sequence[str] = (), settings: dict[str, str] | None = None) -> Shown:
    """Return a scenario as it is shown."""
    return Shown(scenario, overrides, settings or {}, keys_of(scenario))


def keys_of(scenario: Scenario) -> list[str]:
    """Return of each variant all that a run of it is made from, as text: equal runs have equal keys."""
    data = scenario.to_data()
    rest = {name: value for name, value in data.items() if name not in NO_PART}
    shared = json.dumps([rest, contents(scenario)], sort_keys=True)
    return [shared + json.dumps(variant, sort_keys=True) for variant in data["variants"]]
