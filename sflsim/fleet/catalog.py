"""The catalog of devices and links that a scenario may name instead of describing them.

`catalog/devices.yaml` and `catalog/links.yaml` keep for every figure its source and whether it
was measured, derived from other figures or assumed. Imports mistakes and errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sflsim.errors import did_you_mean
from sflsim.fleet.mistakes import mistake

Table = Literal["devices", "links"]
Status = Literal["measured", "derived", "assumed"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of an entry: a dotted key of the Config, its value, and where it comes from."""

    key: str
    value: Any
    status: Status
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One device or link of the catalog."""

    name: str
    about: str
    figures: tuple[Figure, ...]

    def mapping(self) -> dict[str, Any]:
        """Return the entry as a scenario would write it."""
        mapping: dict[str, Any] = {}
        for figure in self.figures:
            head, _, tail = figure.key.partition(".")
            if tail:
                mapping.setdefault(head, {})[tail] = figure.value
            else:
                mapping[head] = figure.value
        return mapping


@cache
def entries(table: Table) -> Mapping[str, Entry]:
    """Return the entries of a table by name, in the order of its file."""
    text = files("sflsim.fleet").joinpath("catalog", f"{table}.yaml").read_text(encoding="utf-8")
    table_of = {}
    for name, entry in yaml.safe_load(text).items():
        figures = tuple(Figure(key, **figure) for key, figure in entry["figures"].items())
        table_of[name] = Entry(name, entry["about"], figures)
    return table_of


class Cataloged(BaseModel):
    """Base of a Config that may be given by its catalog name; it is written back the same way."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    table: ClassVar[Table]
    _name: str = PrivateAttr("")

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the catalog's entry `name`.

        Raises:
            PydanticCustomError: there is none; the error lists the names and the closest one.
        """
        names = entries(cls.table)
        if name not in names:
            allowed = f"a mapping, or one of {', '.join(names)}"
            raise mistake("is not in the catalog", repr(name), allowed, did_you_mean(name, names))
        resolved: Self = _resolved(cls, name)
        return resolved

    @property
    def catalog_name(self) -> str:
        """The name in the catalog; empty for one that the scenario describes itself."""
        unchanged = self._name and self.__dict__ == _resolved(type(self), self._name).__dict__
        return self._name if unchanged else ""

    @model_validator(mode="wrap")
    @classmethod
    def _by_name(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return cls.named(value) if isinstance(value, str) else handler(value)

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> Any:
        return self.catalog_name or handler(self)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "enum": list(entries(cls.table))}, handler(schema)]}


Config = TypeVar("Config", bound=Cataloged)


@cache
def _resolved(config: type[Config], name: str) -> Config:
    resolved = config.model_validate(entries(config.table)[name].mapping())
    resolved._name = name
    return resolved
