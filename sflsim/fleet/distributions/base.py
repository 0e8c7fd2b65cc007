"""The base of all distributions, and fields of a scenario that hold one.

A field that needs more keys or a certain unit (a straggler, a link's rate) has a family: a subclass
of `DistributionConfig` that is combined with each kind. The kinds come from the registry, so a third
party's kind can be used in every field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from sflsim import registry
from sflsim.component_fields import OneOf
from sflsim.errors import SflsimError
from sflsim.fields import FieldFormat, Quantity
from sflsim.fleet.distributions.amounts import Amount, allowed_in
from sflsim.mistakes import mistake, mistakes
from sflsim.units import ADD_THE_UNIT

Draws = npt.NDArray[np.float64]


class DistributionConfig(BaseModel):
    """Base of all distributions: a kind adds `kind`, its amounts, two moments and `sample`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)
    parents: ClassVar[tuple[type[DistributionConfig], ...]] = ()  # of a class that `combined` made

    @property
    def mean(self) -> float:
        """The expected value in `unit`; may be inf."""
        raise NotImplementedError

    @property
    def variance(self) -> float:
        """The variance in `unit` squared; may be inf."""
        raise NotImplementedError

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        """Return `n` independent draws in `unit`, shape (n,)."""
        raise NotImplementedError

    def amounts(self) -> dict[str, Amount]:
        """Return the amounts given, by the key that a scenario writes."""
        values = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        return {key: value for key, value in values.items() if isinstance(value, Amount)}

    @property
    def unit(self) -> str:
        """The base unit of a draw: "s", "byte/s", "FLOP/s", "km" or "" (a factor)."""
        return next(iter(self.amounts().values()), Amount(0.0)).unit

    @property
    def can_be_zero(self) -> bool:
        """Whether a draw of exactly zero has a positive probability."""
        return self.mean == 0

    def needed_unit(self) -> str | None:
        """Return the unit that the field needs; None if any will do."""
        return None

    @model_validator(mode="after")
    def _amounts_fit(self) -> Self:
        """Refuse amounts that differ in unit or do not suit the field, each at its own key."""
        needed, amounts = self.needed_unit(), self.amounts()
        unit = self.unit if needed is None else needed
        allowed = allowed_in(unit, positive=needed not in (None, "s"))
        differs = "differs in unit from the others" if needed is None else "is in another unit of measure"
        wrong = {
            key: differs if amount.unit else "is a bare number"
            for key, amount in amounts.items()
            if amount.unit != unit
        }
        if not wrong and needed not in (None, "s") and self.can_be_zero:
            wrong = {key: "must be above zero" for key, amount in amounts.items() if not amount}
        if wrong:
            raise mistakes(
                ((key,), mistake(why, amounts[key].found, allowed, "" if amounts[key].unit else ADD_THE_UNIT))
                for key, why in wrong.items()
            )
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an instance of a combined class by the class's parents: no module holds the class."""
        return (_empty, self.parents or (type(self),), self.__getstate__())


def _empty(*parents: type[DistributionConfig]) -> DistributionConfig:
    model = parents[0] if len(parents) == 1 else combined(*parents)
    return model.__new__(model)


@cache
def combined(family: type[DistributionConfig], kind: type[DistributionConfig]) -> type[DistributionConfig]:
    """Return the model that has the keys and the moments of `kind` and the extra keys of `family`."""
    if not issubclass(kind, DistributionConfig):
        raise SflsimError(f"the distribution {kind.__qualname__} must be a subclass of DistributionConfig")
    name = kind.__name__ + family.__name__.removesuffix("Config")
    model = create_model(name, __base__=(family, kind), __module__=__name__, __doc__=kind.__doc__)
    model.parents = (family, kind)
    return model


def kinds_of(family: type[DistributionConfig]) -> dict[str, type[DistributionConfig]]:
    """Return every known kind by name, each combined with `family`."""
    kinds: dict[str, type[DistributionConfig]] = registry.distributions()
    return {name: combined(family, kind) for name, kind in kinds.items()}


def as_mapping(value: Any) -> Any:
    """Accept a Config of any family, e.g. Exponential(mean="2 s") as a straggler."""
    return value.model_dump(mode="json") if isinstance(value, DistributionConfig) else value


def one_kind(family: type[DistributionConfig]) -> OneOf:
    """Return the annotation of a field that holds one distribution of `family`."""
    return OneOf(partial(kinds_of, family))


Distribution = Annotated[DistributionConfig, OneOf(registry.distributions), BeforeValidator(as_mapping)]


@dataclass(frozen=True)
class Drawable(FieldFormat):
    """A field that is a quantity, or a distribution of `family` that is drawn from.

    Held as a float in the quantity's base unit or as the distribution. With `unlimited` the word
    "unlimited" is read as infinity.
    """

    quantity: Quantity
    family: type[DistributionConfig]
    unlimited: bool = False

    def kinds(self) -> Mapping[str, type[BaseModel]]:
        """Return the Configs that the field may hold, by kind."""
        return kinds_of(self.family)

    def read(self, value: Any, info: ValidationInfo | None = None) -> float | BaseModel:
        """Return the float or the distribution that `value` describes."""
        if isinstance(value, (Mapping, BaseModel)):
            found = OneOf(self.kinds).read(as_mapping(value), info)
            assert found is not None
            return found
        if self.unlimited and (value == "unlimited" or value == math.inf):
            return math.inf
        return self.quantity.read(value)

    def write(self, value: float | BaseModel) -> Any:
        """Return what `read` turns into the same value."""
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        return self.quantity.write(value) if math.isfinite(value) else "unlimited"

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is text with a unit, or a distribution."""
        examples = [self.quantity.example, *(["unlimited"] if self.unlimited else [])]
        kinds = [handler(kind.__pydantic_core_schema__) for kind in self.kinds().values()]
        drawn = {"type": "object", "required": ["kind"], "oneOf": kinds}
        return {"anyOf": [{"type": "string", "examples": examples}, drawn]}
