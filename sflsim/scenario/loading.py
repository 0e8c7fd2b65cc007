"""Reading a scenario from a file or text: every mistake in it becomes part of one ScenarioError."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sflsim.errors import Problem, ScenarioError, refused
from sflsim.scenario import overrides as sets
from sflsim.scenario.copies import use_copies
from sflsim.scenario.json_schemas import schema_of
from sflsim.scenario.schema import Scenario
from sflsim.scenario.shipped import shipped
from sflsim.scenario.source import Source
from sflsim.scenario.text_files import MAX_RESOLVED_BYTES, read_text
from sflsim.scenario.translate import RENAMED, problems_of, shown
from sflsim.scenario.yaml_lines import Document, read_yaml
from sflsim.trust import trusting


def load_scenario(path: str | Path, overrides: Sequence[str] = (), *, trust: bool = False) -> Scenario:
    """Read a scenario; `overrides` are "path=value" as after `--set`.

    `path` is a file, the folder of a run, a sweep or a plan, or the name of a shipped scenario
    ("quickstart"). Of a folder, the tables of delays, rates and availability are the copies in it.

    A scenario runs no code of its own unless it is trusted; `trust` holds for this one, its copies and what
    is made from it.

    Raises:
        ScenarioError: the file or what it says cannot be used; all mistakes at once.
    """
    place = Path(path)
    saved, known = place / "scenario.yaml", shipped().get(str(path))
    if os.path.isfile(saved):
        text = read_text(saved, MAX_RESOLVED_BYTES)
        return _parsed(text, str(saved), overrides, place, trust, saved=True)
    if known is not None and not os.path.lexists(place):
        return parse_scenario(read_text(known), str(known), overrides, trust=trust)
    text = read_text(place, names=shipped())
    return parse_scenario(text, str(path), overrides, place.parent, trust=trust)


def parse_scenario(
    text: str,
    file: str = "<text>",
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    *,
    trust: bool = False,
) -> Scenario:
    """Read a scenario from text; files that it names are looked for in `folder`; `trust` as above.

    Raises:
        ScenarioError: it cannot be used; all mistakes at once, each with its line.
    """
    return _parsed(text, file, overrides, folder or Path(), trust)


def parse_saved(text: str, file: str, *, trust: bool = False) -> Scenario:
    """Read the scenario of a folder to show; without trust, its code is refused where it would run.

    Raises:
        ScenarioError: as of `parse_scenario`.
    """
    return _parsed(text, file, (), Path(file).parent, trust or None, saved=True)


def _parsed(
    text: str, file: str, overrides: Sequence[str], folder: Path, trust: bool | None, saved: bool = False
) -> Scenario:
    document = read_yaml(text, file)
    if not isinstance(document.data, dict):
        found = "an empty file" if document.data is None else shown(document.data)
        remedy = "start from one of the files in scenarios/"
        raise refused("", found, "a mapping: name, workload, fleet, ...", remedy, file, 1)
    if saved:
        _rename(document.data)
        use_copies(document.data, folder)
    overridden = sets.apply(overrides, document)
    return _validated(document.data, Source(file, document.lines, overridden, folder=folder), trust)


def _rename(data: Any) -> None:
    """Give the keys of a scenario that an earlier version saved the names that they have today."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, (dict, list)):
            for old, new in RENAMED.get(str(key), {}).items():
                if isinstance(value, dict) and old in value:
                    value[new] = value.pop(old)
            _rename(value)


def vary(scenario: Scenario, overrides: Sequence[str | sets.Override]) -> Scenario:
    """Return the scenario as it would be with these overrides too, its `sweep` left out.

    They change what was written, not what it was resolved to: a `tau: [1, 2]` set to 4 leaves
    one variant.

    Raises:
        ScenarioError: as of `parse_scenario`.
    """
    source = scenario.source
    data = deepcopy(written(scenario))
    data.pop("sweep", None)
    document = Document(data, dict(source.lines))
    overridden = {**source.overridden, **sets.apply(overrides, document)}
    source = replace(source, lines=document.lines, overridden=overridden, origins={})
    return _validated(data, source, scenario.trusted)


def written(scenario: Scenario) -> dict[str, Any]:
    """Return the data that the scenario was made from, not to be changed."""
    data = scenario.source.data
    resolved: dict[str, Any] = read_yaml(scenario.to_yaml(), "<scenario>").data if data is None else data
    return resolved


def _validated(data: dict[str, Any], source: Source, trust: bool | None) -> Scenario:
    """Return the scenario that `data` describes; errors point into `source`."""
    context: dict[str, Any] = {"base_dir": source.folder, "trust": trust}
    problems: Sequence[Problem] = ()
    scenario = None
    try:
        scenario = Scenario.model_validate(data, context=context)
    except ValidationError as error:
        resolved = {**data, "variants": context.get("variants", data.get("variants"))}
        with trusting(bool(trust)):
            problems = problems_of(error, resolved, partial(schema_of, Scenario))
    except ScenarioError as error:
        problems = error.problems
    source = replace(source, origins=context.get("origins", {}), data=data)
    if scenario is None:
        raise source.located(ScenarioError(problems))
    return scenario.with_source(source)
