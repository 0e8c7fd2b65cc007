"""The schema of a scenario: the sum of its components' Configs, and when to stop and evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sflsim.clock.server import ServerConfig
from sflsim.component_fields import OneOf
from sflsim.errors import Problem, ScenarioError
from sflsim.fields import Fraction
from sflsim.fleet.catalog import adding
from sflsim.fleet.devices import power
from sflsim.fleet.population import FleetConfig
from sflsim.fleet.rates import RatesConfig
from sflsim.learning.config import Workload
from sflsim.mistakes import raise_problems, wrong_value
from sflsim.registry import algorithms, config_of
from sflsim.scenario import plan_rules
from sflsim.scenario.coercions import coercions
from sflsim.scenario.expand import expands, resolve
from sflsim.scenario.own_catalog import OwnCatalog, read_catalog
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.source import Source
from sflsim.scenario.stop import Evaluate, Part, Stop
from sflsim.scenario.sweep_block import sweep_problems
from sflsim.scenario.yaml_lines import CONTROL, SURROGATE, write_yaml
from sflsim.simulation.base import AlgorithmConfig
from sflsim.trust import Trust, trusted, trusting

Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


def _stop_accuracy(fields: dict[str, Any]) -> float | None:
    stop: Stop = fields["stop"]
    return stop.accuracy


class Scenario(Part):
    """One experiment: one fleet, one workload, several variants, several seeds."""

    SAFE_NAME: ClassVar[str] = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

    name: str = Field(
        pattern=SAFE_NAME,
        description="up to 100 letters, digits, '.', '_' and '-', a letter or digit first; it also names "
        "the run folder",
    )
    description: str = ""
    seeds: list[Seed] = Field(default=[0], min_length=1, description="every variant runs once under each")
    workload: Workload
    catalog: OwnCatalog = Field(
        default=None,
        description="your own devices and links, in addition to the built-in ones",
    )
    fleet: FleetConfig
    server: ServerConfig = Field(default_factory=ServerConfig)
    variants: list[Annotated[AlgorithmConfig, OneOf(algorithms, tag="algorithm")]] = Field(
        min_length=1, description="what is compared; a list in a field expands into one variant each"
    )
    stop: Stop
    evaluate: Evaluate = Field(default_factory=Evaluate)
    target_accuracy: Fraction | None = Field(
        default_factory=_stop_accuracy,
        description="for time-to-accuracy in tables and plots; that of 'stop' by default",
    )
    sweep: dict[str, list[Any]] | None = Field(
        default=None,
        description="for 'sflsim sweep': paths as after --set, each with the list of values that it takes",
        examples=[{"fleet.straggler.mean": ["1 s", "5 s"], "variants[mu-splitfed].tau": [1, 4]}],
    )

    plan: PlanConfig | None = Field(
        default=None, description="for 'sflsim plan': what to decide, and by what"
    )

    _source: Source = PrivateAttr(default_factory=Source)
    _trust: Trust = PrivateAttr(default_factory=Trust)

    @model_validator(mode="wrap")
    @classmethod
    def _with_trust_and_catalog(
        cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Read the scenario with the trust that the caller gives, and beside its catalog."""
        if not isinstance(data, dict):
            return handler(data)
        context = info.context or {}
        with trusting(bool(context.get("trust"))):
            if data.get("catalog") is None:
                scenario = handler(data)
            else:
                own = read_catalog(data["catalog"], Path(context.get("base_dir") or "."))
                with adding({} if own is None else own.own()):
                    scenario = handler({**data, "catalog": own})
            scenario._trust = Trust(trusted())
            _refuse_coercions(data, scenario)
        return scenario

    @field_validator("variants", mode="before")
    @classmethod
    def _resolved(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list):
            return value
        resolved, origins = resolve(value)
        if isinstance(info.context, dict):
            info.context.update(variants=resolved, origins=origins)
        return resolved

    @field_validator("variants")
    @classmethod
    def _own_names(cls, variants: list[AlgorithmConfig]) -> list[AlgorithmConfig]:
        remedy = "leave one out, or give each a 'name:'"
        _refuse_twice([variant.name for variant in variants], ("name",), "the name", remedy)
        return variants

    @field_validator("description")
    @classmethod
    def _text(cls, description: str) -> str:
        if wrong := CONTROL.search(description) or SURROGATE.search(description):
            raise wrong_value(f"the character U+{ord(wrong[0]):04X}", "text, without control characters")
        return description

    @field_validator("seeds")
    @classmethod
    def _own_seeds(cls, seeds: list[int]) -> list[int]:
        _refuse_twice(seeds, (), "the seed", "leave one out")
        return seeds

    @field_validator("sweep")
    @classmethod
    def _sweepable(cls, sweep: dict[str, list[Any]] | None) -> dict[str, list[Any]] | None:
        raise_problems(() if sweep is None else sweep_problems(sweep))
        return sweep

    @model_validator(mode="after")
    def _plan_fits(self) -> Self:
        if self.plan is not None:
            raise_problems(plan_rules.conflicts(self.plan, self, self.plan.decisions))
        return self

    @model_validator(mode="after")
    def _kinds_are_known(self) -> Self:
        where, keys = self.rates_by_kind(), self.workload.costs.of_unknown_kinds()
        if where is not None and keys:
            found = f"FLOP of unknown kinds, and rates by kind in {where}"
            allowed = "FLOP by kind, e.g. {convolution: 300 MFLOP, memory: 20 MB}"
            remedy = "leave the key out, so that it is derived from the model, or give the device one rate"
            raise_problems((("workload", "costs", key), Problem("", found, allowed, remedy)) for key in keys)
        return self

    @model_validator(mode="after")
    def _energy_is_drawn(self) -> Self:
        drawn = (number for group in self.fleet.groups for number in astuple(power(group.device.power)))
        if self.stop.energy is not None and not any(drawn):
            remedy = "add e.g. 'power: {idle: 2 W, compute: 7 W}' to a device, or leave 'energy' out"
            problem = Problem("", "no device with 'power' above zero", "devices that draw energy", remedy)
            raise_problems([(("stop", "energy"), problem)])
        return self

    def rates_by_kind(self) -> str | None:
        """Return the path of the first device or server that has rates by kind of operation; None if none."""
        for index, group in enumerate(self.fleet.groups):
            if isinstance(group.device.compute, RatesConfig):
                return f"fleet.groups[{index}].device"
        return "server.compute" if isinstance(self.server.compute, RatesConfig) else None

    @property
    def needs_kinds(self) -> bool:
        """Whether the work by kind of every pass is asked for: by rates, or by a profile."""
        return self.rates_by_kind() is not None or any(group.device.profile for group in self.fleet.groups)

    @property
    def trusted(self) -> bool:
        """Whether code that it names may be run; that holds for the call that gave it, and is never saved."""
        return self._trust.given and getattr(self.workload.model, "trusted", True)

    def with_trust(self) -> Self:
        """Return this scenario with trust in the code that it names."""
        model = self.workload.model
        model = model.with_trust() if hasattr(model, "with_trust") else model
        workload = self.workload.model_copy(update={"model": model})
        copy = self.model_copy(update={"workload": workload})
        copy._trust = Trust(True)
        return copy

    @property
    def source(self) -> Source:
        """Where the scenario was read from, and what was written there."""
        return self._source

    def with_source(self, source: Source) -> Self:
        """Return this scenario as read from `source`."""
        copy = self.model_copy()
        copy._source = source
        return copy

    def located(self, error: ScenarioError) -> ScenarioError:
        """Return an error met later (a cut that is impossible) with file and lines of this scenario."""
        return self._source.located(error)

    def to_yaml(self) -> str:
        """Return the scenario with every default and every variant written out; it loads to an equal one."""
        return write_yaml(self.to_data())

    def to_data(self) -> dict[str, Any]:
        """Return what `to_yaml` writes, as plain data."""
        absent = {name for name in ("catalog", "sweep", "plan") if getattr(self, name) is None}
        return self.model_dump(mode="json", by_alias=True, exclude=absent)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors: lists in variants included."""
    schema = Scenario.model_json_schema()
    configs = {name: config_of(algorithm) for name, algorithm in algorithms().items()}
    for choice in _variant_schemas(schema):
        config = configs[choice["properties"]["algorithm"]["const"]]
        for key, field in choice["properties"].items():
            if key != "algorithm" and expands(config, key):
                lists = {"type": "array", "minItems": 1, "items": field}
                choice["properties"][key] = {"anyOf": [field, lists]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _refuse_coercions(data: dict[str, Any], scenario: Scenario) -> None:
    """Refuse truth values in the place of numbers, and words or numbers in the place of truth values."""
    written = {**data, "variants": resolve(data["variants"])[0]}
    raise_problems(coercions(written, scenario))


def _variant_schemas(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the schema of each algorithm's Config, wherever it stands."""
    _, mapping = schema["properties"]["variants"]["items"]["anyOf"]
    choices: list[dict[str, Any]] = mapping["oneOf"]
    return [schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in choices]


def _refuse_twice(values: list[Any], below: tuple[str, ...], what: str, remedy: str) -> None:
    """Refuse a value that stands in a list before, at its own place."""
    twice = [index for index, value in enumerate(values) if value in values[:index]]
    raise_problems(
        ((index, *below), Problem("", f"{what} {values[index]!r} twice", "each once", remedy))
        for index in twice
    )
