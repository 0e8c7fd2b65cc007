"""The catalog of devices and links that a scenario may name instead of describing them.

`catalog/devices.yaml` and `catalog/links.yaml` hold for every figure its source and its status:
measured, derived from other figures or assumed. A scenario may add its own entries while it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
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
from sflsim.mistakes import mistake

Table = Literal["devices", "links"]
Status = Literal["measured", "derived", "assumed"]
Kind = Literal["convolution", "depthwise", "matmul"]
ENTRY_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Pattern of an entry's name, which is also the default name of its group."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of an entry: a dotted key of the Config, its value, and where it comes from."""

    key: str
    value: Any
    status: Status
    source: str

    @property
    def text(self) -> str:
        """The value in one line, as a scenario writes it."""
        if not isinstance(self.value, Mapping):
            return str(self.value)
        return f"{{{', '.join(f'{key}: {value}' for key, value in self.value.items())}}}"


class Fitted(BaseModel):
    """What the computing rates of an entry rest on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    networks: tuple[str, ...] = Field(min_length=1, description="that the rates were measured with")
    kinds: tuple[Kind, ...] = Field(min_length=1, description="of operation that these networks consist of")
    error: str = Field(default="", description="how far off the rates are for other networks")


@dataclass(frozen=True, slots=True)
class Entry:
    """One device or link of the catalog."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    fitted: Fitted | None = None

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
        fitted = Fitted.model_validate(entry["fitted"]) if "fitted" in entry else None
        table_of[name] = Entry(name, entry["about"], figures, fitted)
    return table_of


Own = Mapping[Table, Mapping[str, Entry]]
_own: ContextVar[Own] = ContextVar("own")


@contextmanager
def adding(own: Own) -> Iterator[None]:
    """Let names also refer to these entries, which come before the built-in ones."""
    token = _own.set(own)
    try:
        yield
    finally:
        _own.reset(token)


def known(table: Table) -> Mapping[str, Entry]:
    """Return the entries that a name may refer to: the built-in ones and those added."""
    return {**entries(table), **_own.get({}).get(table, {})}


class Cataloged(BaseModel):
    """Base of a Config that may be given by its catalog name; it is written back the same way."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    table: ClassVar[Table]
    _name: str = PrivateAttr("")
    _as_named: dict[str, Any] = PrivateAttr(default_factory=dict)  # the fields of the entry `_name`

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the catalog's entry `name`.

        Raises:
            PydanticCustomError: there is no such entry; the error lists the names and the closest one.
        """
        names = known(cls.table)
        if name not in names:
            allowed = f"a mapping, or one of {', '.join(names)}"
            raise mistake("is not in the catalog", repr(name), allowed, did_you_mean(name, names))
        if names[name] is entries(cls.table).get(name):
            resolved: Self = _built_in(cls, name)
            return resolved
        return _resolved(cls, names[name])

    @property
    def catalog_name(self) -> str:
        """The name in the catalog; empty if the scenario describes it."""
        return self._name if self.__dict__ == self._as_named else ""

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
        own = {"pattern": ENTRY_NAME, "description": "a name of the scenario's own catalog"}
        names = {"type": "string", "anyOf": [{"enum": list(entries(cls.table))}, own]}
        return {"anyOf": [names, handler(schema)]}


Config = TypeVar("Config", bound=Cataloged)


@cache
def _built_in(config: type[Config], name: str) -> Config:
    return _resolved(config, entries(config.table)[name])


def _resolved(config: type[Config], entry: Entry) -> Config:
    resolved = config.model_validate(entry.mapping())
    resolved._name, resolved._as_named = entry.name, dict(resolved.__dict__)
    return resolved
