"""Reading a user's own catalog: files that a scenario names, or entries within it, checked as it is.

What comes of it holds every entry with paths made absolute, so that it needs its file no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from re import fullmatch
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sflsim.errors import Problem, ScenarioError, did_you_mean, refused
from sflsim.fleet.catalog import ENTRY_NAME, Cataloged, Table, entries
from sflsim.fleet.devices import DeviceConfig
from sflsim.fleet.links.links import LinkConfig
from sflsim.fleet.own_catalog import CatalogConfig, CatalogEntry, Origin
from sflsim.scenario.coercions import coercions
from sflsim.scenario.json_schemas import schema_of
from sflsim.scenario.source import Source
from sflsim.scenario.text_files import read_text
from sflsim.scenario.translate import path_of, problems_of, shown
from sflsim.scenario.yaml_lines import join, read_yaml

TABLES: dict[Table, type[Cataloged]] = {"devices": DeviceConfig, "links": LinkConfig}
TAKES = "a YAML file of devices and links, a list of them, or a mapping with 'devices' and 'links'"


@dataclass(frozen=True)
class _Given:
    """Annotation of the field: in a file it may also be a path, or a list."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        mapping, nothing = handler(schema)["anyOf"]
        one = [{"type": "string", "examples": ["my_devices.yaml"]}, mapping]
        return {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}}, nothing]}


OwnCatalog = Annotated[CatalogConfig | None, _Given()]


def read_catalog(given: Any, folder: Path, place: str = "catalog") -> CatalogConfig | None:
    """Return the catalog that a scenario's `catalog` gives; paths are relative to `folder`.

    Raises:
        ScenarioError: a file that cannot be used, or entries that cannot; those of one file at once.
    """
    if given is None or isinstance(given, CatalogConfig):
        return given
    known = CatalogConfig()
    for number, one in enumerate(given if isinstance(given, list) else [given]):
        where = join(place, number) if isinstance(given, list) else place
        if isinstance(one, str):
            known = _read_file(one, folder, where, known)
        elif isinstance(one, Mapping):
            known = _checked(one, folder, where, known)
        else:
            raise refused(where, shown(one), TAKES)
    return known.read_from(Origin(given, folder.absolute()))


def load_catalogs(paths: Sequence[Path]) -> CatalogConfig:
    """Return the entries of files, those of the later ones beside and in place of the earlier ones'.

    Raises:
        ScenarioError: a file or what it says cannot be used.
    """
    return read_catalog([str(path) for path in paths], Path(), "--file") or CatalogConfig()


def _read_file(name: str, folder: Path, where: str, before: CatalogConfig) -> CatalogConfig:
    path = folder / name
    try:
        text = read_text(path)
    except ScenarioError as error:
        raise ScenarioError(
            [
                replace(problem, path=where, found=f"{name!r}: {problem.found}", file="", line=None)
                for problem in error.problems
            ]
        ) from error
    document = read_yaml(text, str(path))
    if document.data is None:
        allowed = "a mapping with 'devices', 'links' or both"
        raise refused("", "an empty file", allowed, "", str(path), 1)
    try:
        return _checked(document.data, path.parent, "", before)
    except ScenarioError as error:
        raise Source(str(path), document.lines).located(error) from error


def _checked(data: Any, folder: Path, where: str, before: CatalogConfig) -> CatalogConfig:
    """Return `before` with the entries of `data` added.

    Raises:
        ScenarioError: every entry that cannot be one; paths begin with `where`.
    """
    try:
        read = CatalogConfig.model_validate(data)
    except ValidationError as error:
        found = problems_of(error, data, partial(schema_of, CatalogConfig))
        raise ScenarioError([_below(where, _advised(one, data)) for one in found]) from error
    problems = [_below(where, one) for one in _coerced(data, read)]
    tables: dict[Table, dict[str, CatalogEntry]] = {}
    for table, config in TABLES.items():
        tables[table] = dict(before.table(table))
        for name, entry in read.table(table).items():
            place = join(join(where, table), name)
            problems += (_below(place, one) for one in _misnamed(name, entry, table, before))
            try:
                settled = _settled(entry, config, folder)
                replaces = {"replaces": name in entries(table)}
                tables[table][name] = settled.model_copy(update=replaces)
            except ScenarioError as error:
                problems += (_below(place, one) for one in error.problems)
    if problems:
        raise ScenarioError(problems)
    return CatalogConfig(devices=tables["devices"], links=tables["links"])


def _misnamed(name: str, entry: CatalogEntry, table: Table, before: CatalogConfig) -> Iterator[Problem]:
    """Yield what is wrong with an entry's name beside those that are there already."""
    names = [*entries(table), *before.table(table)]
    if not fullmatch(ENTRY_NAME, name):
        yield Problem("", f"the name {name!r}", "up to 64 letters, digits, '.', '_' and '-'")
    elif name in names and not entry.replaces:
        whose = "an earlier file" if name in before.table(table) else "the built-in catalog"
        remedy = "choose another name, or add 'replaces: true' to use it in place of that one"
        yield Problem("", f"{name!r}, which is in {whose} already", "a name of its own", remedy)
    elif entry.replaces and name not in names:
        remedy = did_you_mean(name, names) or "leave it out"
        yield Problem("replaces", "true", f"only where {table} have that name already", remedy)


def _settled(entry: CatalogEntry, config: type[Cataloged], folder: Path) -> CatalogEntry:
    """Return the entry with its figures as a resolved scenario writes them.

    Raises:
        ScenarioError: they describe no such device or link.
    """
    _refuse_overlap(entry.figures)
    mapping = entry.entry("").mapping()
    try:
        settled = config.model_validate(mapping, context={"base_dir": folder})
    except ValidationError as error:
        found = problems_of(error, mapping, partial(schema_of, config))
        raise ScenarioError([_of_figure(one, list(entry.figures)) for one in found]) from error
    if coerced := _coerced(mapping, settled):
        raise ScenarioError([_of_figure(one, list(entry.figures)) for one in coerced])
    written = settled.model_dump(mode="json")
    figures = {key: one.model_copy(update={"value": _at(written, key)}) for key, one in entry.figures.items()}
    return entry.model_copy(update={"figures": figures})


def _coerced(data: Any, read: Any) -> list[Problem]:
    return [replace(one, path=path_of(steps)) for steps, one in coercions(data, read)]


def _refuse_overlap(keys: Mapping[str, Any]) -> None:
    twice = [key for key in keys if key.partition(".")[0] in keys and "." in key]
    if twice:
        raise ScenarioError(
            [
                Problem(join("figures", key), f"{key!r} beside {key.partition('.')[0]!r}", "each figure once")
                for key in twice
            ]
        )


def _at(written: Mapping[str, Any], key: str) -> Any:
    head, _, tail = key.partition(".")
    return written[head][tail] if tail else written[head]


def _of_figure(problem: Problem, keys: Sequence[str]) -> Problem:
    """Return a problem of a device or link at the figure that it comes from."""
    path = problem.path
    for key in keys:
        if path == key or path.startswith((f"{key}.", f"{key}[")):
            value = "" if problem.found.startswith("the unknown key") and path == key else ".value"
            return replace(problem, path=f"figures.{key}{value}{path[len(key) :]}")
        if key.startswith(f"{path}."):
            return replace(problem, path=f"figures.{key}")
    return replace(problem, path=join("figures", path) if path else "figures")


def _advised(problem: Problem, data: Any) -> Problem:
    """Return the problem of an entry that stands in no section with what to do."""
    inner = data.get(problem.path) if isinstance(data, Mapping) else None
    if isinstance(inner, Mapping) and "figures" in inner:
        return replace(problem, remedy="an entry stands below 'devices:' or 'links:'")
    return problem


def _below(where: str, problem: Problem) -> Problem:
    return replace(problem, path=join(where, problem.path) if problem.path else where)
