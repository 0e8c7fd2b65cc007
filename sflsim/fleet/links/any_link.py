"""The field of a group that holds its link: a name of the catalog, rates, or another kind of link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue

from sflsim.component_fields import OneOf
from sflsim.fields import FieldFormat
from sflsim.fleet.links.iqb import IqbConfig
from sflsim.fleet.links.links import LinkConfig
from sflsim.fleet.links.shannon import ShannonConfig

KINDS = {"shannon": ShannonConfig, "iqb": IqbConfig}


class OneLink(FieldFormat):
    """A field that holds a link: rates (a `LinkConfig`), or another kind by its name."""

    def read(self, value: Any, info: ValidationInfo | None = None) -> BaseModel:
        """Return the Config that `value` describes; percentiles of a file become rates."""
        if isinstance(value, (LinkConfig, ShannonConfig)):
            return value
        if not (isinstance(value, Mapping) and "kind" in value):
            return LinkConfig.model_validate(value, context=info and info.context)
        link = OneOf(lambda: KINDS).read(value, info)
        assert link is not None
        return link.link(info and info.context) if isinstance(link, IqbConfig) else link

    def write(self, value: BaseModel) -> Any:
        """Return the Config as `read` takes it."""
        return value.model_dump(mode="json")

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is a link's name or rates, or another kind."""
        name, rates = LinkConfig.__get_pydantic_json_schema__(LinkConfig.__pydantic_core_schema__, handler)[
            "anyOf"
        ]
        keys = handler.resolve_ref_schema(rates)["properties"]
        iqb = handler.resolve_ref_schema(handler(IqbConfig.__pydantic_core_schema__))
        of_file = {**iqb, "properties": {**iqb["properties"], **keys}, "additionalProperties": False}
        return {"anyOf": [name, rates, handler(ShannonConfig.__pydantic_core_schema__), of_file]}


AnyLink = Annotated[LinkConfig | ShannonConfig, OneLink()]
