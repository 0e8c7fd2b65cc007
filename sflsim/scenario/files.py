"""The files that a scenario has read: tables of delays, rates and availability, profiles, the own catalog.

A scenario keeps what they said when it was read; who simulates it takes what they say now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from sflsim.errors import ScenarioError
from sflsim.fleet.block_profile import ProfileConfig
from sflsim.fleet.distributions.empirical import Empirical
from sflsim.fleet.own_catalog import Origin
from sflsim.fleet.traces import TraceBase
from sflsim.scenario.json_schemas import schema_of
from sflsim.scenario.own_catalog import read_catalog
from sflsim.scenario.schema import Scenario
from sflsim.scenario.translate import problems_of
from sflsim.trust import trusting


def reread(scenario: Scenario) -> Scenario:
    """Return the scenario with what the files that it names say now.

    Data sets, models and code are read when they are used, and need none of this.

    Raises:
        ScenarioError: a file is gone, or what it says now cannot be used.
    """
    origin = scenario.catalog.origin if scenario.catalog else Origin()
    if origin.given is None and not contents(scenario):
        return scenario
    data = scenario.to_data()
    try:
        if origin.given is not None:
            data["catalog"] = read_catalog(origin.given, origin.folder)
        context = {"base_dir": scenario.source.folder, "trust": scenario.trusted or None}
        return Scenario.model_validate(data, context=context).with_source(scenario.source)
    except ValidationError as error:
        with trusting(scenario.trusted):
            problems = problems_of(error, data, partial(schema_of, Scenario))
        raise scenario.located(ScenarioError(problems)) from error
    except ScenarioError as error:
        raise scenario.located(error) from error


def contents(scenario: Scenario) -> dict[str, str]:
    """Return the hash of what was read from each table that the scenario names, by its path."""
    read: dict[str, set[bytes]] = {}
    for table in _tables(scenario.fleet), _tables(scenario.server):
        for one in table:
            read.setdefault(one.file, set()).add(one.content())
    return {
        file: hashlib.blake2b(b"\0".join(sorted(parts)), digest_size=16).hexdigest()
        for file, parts in sorted(read.items())
    }


def _tables(value: Any) -> Iterator[Empirical | TraceBase | ProfileConfig]:
    """Yield every part of a scenario that holds what a file said."""
    if isinstance(value, (Empirical, TraceBase, ProfileConfig)):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _tables(getattr(value, name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tables(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tables(one)
