"""A multilayer perceptron: one block for each hidden layer and one for the output. Torch lazily."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from sflsim.learning.models.base import ModelConfig, Sizes
from sflsim.learning.network.lora import Adapters
from sflsim.mistakes import mistake

if TYPE_CHECKING:
    from torch import nn

MOST_WEIGHTS = 10**9
Width = Annotated[int, Field(ge=1, le=1_000_000)]


class MLP(ModelConfig):
    """Blocks hidden-1 ... hidden-n (linear, ReLU) and output (linear); cuts 1 to n."""

    without_constants: ClassVar[bool] = True
    takes_any_shape: ClassVar[bool] = True
    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Width, ...], Sizes] = Field(
        default=(64, 64), min_length=1, description="width of each hidden layer"
    )

    adapters: Adapters | None = Field(
        default=None, description="low-rank adapters on every layer, the weights under them frozen (fedlora)"
    )

    @field_validator("hidden")
    @classmethod
    def _fits(cls, hidden: tuple[int, ...]) -> tuple[int, ...]:
        weights = sum(before * after for before, after in pairwise(hidden))
        if weights > MOST_WEIGHTS:
            reason = f"has {weights} weights, which are held in memory"
            raise mistake(reason, list(hidden), f"at most {MOST_WEIGHTS} weights between hidden layers")
        return hidden

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        return [f"hidden-{number}" for number in range(1, len(self.hidden) + 1)] + ["output"]

    def build(self, sample_shape: tuple[int, ...], classes: int) -> list[tuple[str, nn.Module]]:
        """Return the named blocks for inputs of `sample_shape`, with fresh weights."""
        from math import prod

        from torch import nn

        widths = [prod(sample_shape), *self.hidden, classes]
        layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
        blocks: list[nn.Module] = [nn.Sequential(layer, nn.ReLU()) for layer in layers[:-1]]
        blocks[0] = nn.Sequential(nn.Flatten(), *blocks[0].children())
        return list(zip(self.block_names, [*blocks, layers[-1]], strict=True))
