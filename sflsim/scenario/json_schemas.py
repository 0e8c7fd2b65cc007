"""JSON Schemas of Configs, by which mistakes in a scenario are explained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from sflsim import registry


def schema_of(config: type[BaseModel]) -> Mapping[str, Any]:
    """Return the JSON Schema of `config`, not to be changed.

    Made once for all components that can be named at the time: pydantic takes longer to make a
    scenario's than to read the scenario.
    """
    return _made(config, registry.everything())


@lru_cache(maxsize=16)
def _made(config: type[BaseModel], components: tuple[type[Any], ...]) -> Mapping[str, Any]:
    return config.model_json_schema()
