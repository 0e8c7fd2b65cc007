"""The JSON Schema that editors use agrees with what is read."""

from __future__ import annotations

import json
from typing import Any

from sflsim.registry import algorithms, datasets, distributions, models, partitions
from sflsim.scenario import Scenario, json_schema


def variant_schemas() -> dict[str, Any]:
    schema = json_schema()
    words, mapping = schema["properties"]["variants"]["items"]["anyOf"]
    choices = [
        schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in mapping["oneOf"]
    ]
    assert list(algorithms()) == words["enum"]
    return {choice["properties"]["algorithm"]["const"]: choice["properties"] for choice in choices}


def test_plain_json() -> None:
    """The schema is JSON, names its dialect and refuses unknown keys."""
    schema = json.loads(json.dumps(json_schema(), allow_nan=False))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert {"name", "workload", "fleet", "variants", "stop"} == set(schema["required"])
    assert list(Scenario.model_fields) == list(schema["properties"])


def test_everything_registered_is_in_it() -> None:
    """Every kind that can be named is a constant somewhere in the schema."""
    text = json.dumps(json_schema())
    for components in (algorithms(), models(), datasets(), partitions(), distributions()):
        assert all(f'"const": "{name}"' in text for name in components)


def test_variants_take_lists() -> None:
    """A field of a variant takes one value or a list of them, its name only one."""
    fields = variant_schemas()["mu-splitfed"]
    single, many = fields["tau"]["anyOf"]
    assert {"type": "array", "minItems": 1, "items": single} == many
    assert "array" not in json.dumps(fields["name"])


def test_made_afresh() -> None:
    """The schema that is given away can be changed without harm."""
    json_schema()["properties"].clear()
    assert json_schema()["properties"]
