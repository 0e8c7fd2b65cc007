"""What all models can be given: initial weights from a file, parameters that stay as they are. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from sflsim.errors import refused
from sflsim.readers.files import absolute


def _listed(value: Any) -> Any:
    """Return a number alone as a list of it."""
    return [value] if type(value) is int else value


Sizes = BeforeValidator(_listed, json_schema_input_type=int | list[int])
"""Of a field that lists a size for each of several layers: of one alone a number will do."""


class ModelConfig(BaseModel):
    """Initial weights and frozen parameters, by their names: "<block>.<parameter>"."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    freeze: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="patterns (* and ?) of the names of parameters that are not trained, nor sent"
    )
    weights: str | None = Field(
        default=None, description="safetensors file of initial weights, by its path from the scenario's file"
    )
    weights_strict: bool = Field(
        default=True,
        description="false: take what fits in name and shape, e.g. all but a head for other classes",
    )

    without_constants: ClassVar[bool] = False
    """Whether its layers are known to hold parameters and running statistics only."""
    takes_any_shape: ClassVar[bool] = False
    """Whether it can be built for samples of numbers of any shape."""
    unnamed_blocks: ClassVar[tuple[str, ...]] = ()
    """Blocks whose names do not stand before those of their parameters."""

    @field_validator("weights")
    @classmethod
    def _beside_the_scenario(cls, weights: str | None, info: ValidationInfo) -> str | None:
        """Return the absolute path of the file."""
        base = info.context.get("base_dir") if isinstance(info.context, dict) else None
        return weights if weights is None else str(absolute(Path(base or ".") / weights))


def is_users(model: object) -> bool:
    """Tell whether a model's layers are a user's own code, which nobody has tested."""
    return (
        getattr(model, "kind", "") == "torch-module" or type(model).__module__.partition(".")[0] != "sflsim"
    )


def kind_of(model: object) -> str:
    """Return the word that names a model."""
    return str(getattr(model, "kind", type(model).__name__))


def trains_all(model: object) -> bool:
    """Tell whether all that a model holds is trained, so that no client holds anything frozen."""
    adapted = getattr(model, "adapters", None) is not None
    return isinstance(model, ModelConfig) and model.without_constants and not (model.freeze or adapted)


def needs_no_trial(model: object) -> bool:
    """Tell whether a model is sure to be built and trained: it takes any shape, and nobody has changed it."""
    return (
        trains_all(model) and getattr(model, "takes_any_shape", False) and not getattr(model, "weights", None)
    )


def image_shape(sample_shape: tuple[int, ...], kind: str, least: int = 1) -> tuple[int, int, int]:
    """Return (channels, rows, columns).

    Raises:
        ScenarioError: the samples are no images, or smaller ones than `least` pixels a side.
    """
    if len(sample_shape) != 3 or min(sample_shape[1:]) < least:
        allowed = f"images of {least}x{least} pixels or more for {kind}, e.g. cifar-10"
        raise refused("workload.dataset", f"samples of shape {sample_shape}", allowed)
    return sample_shape[0], sample_shape[1], sample_shape[2]
