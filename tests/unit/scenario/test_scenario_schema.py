"""The JSON Schema that editors use agrees with what is read."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from support import data, read

from sflsim import registry
from sflsim.errors import ScenarioError
from sflsim.learning.models.mlp import MLP
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


class Late(MLP):
    """A model that is registered after mistakes were explained."""

    kind: Literal["late"] = "late"
    shortcuts: int = 0


def test_mistakes_are_explained_by_what_is_registered_now() -> None:
    """The schema that is kept for explanations is made anew where there is another component."""

    def mistake(model: dict[str, Any]) -> str:
        with pytest.raises(ScenarioError) as caught:
            read(data(workload={"model": model}))
        return str(caught.value)

    assert "did you mean 'hidden'?" in mistake({"kind": "mlp", "hiden": [8]})
    assert "'late'" in mistake({"kind": "late"})
    with registry.forgetting():
        registry.register_model(Late)
        assert "did you mean 'shortcuts'?" in mistake({"kind": "late", "shortcut": 1})


def test_what_a_name_may_be_is_said() -> None:
    """'..' is made of allowed characters, so the message has to say how a name begins; a group's likewise."""
    whole = data()
    group = whole["fleet"]["groups"][0] | {"name": "../g"}
    grouped = whole | {"fleet": whole["fleet"] | {"groups": [group]}}
    for wrong, path in ((whole | {"name": ".."}, "name"), (grouped, "fleet.groups[0].name")):
        with pytest.raises(ScenarioError) as caught:
            read(wrong)
        (problem,) = (one for one in caught.value.problems if one.path == path)
        assert "letters, digits, '.', '_' and '-', a letter or digit first" in problem.allowed
