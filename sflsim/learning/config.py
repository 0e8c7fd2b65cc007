"""`workload:` of a scenario: data set, model, cut, batch size, partition, costs. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim.component_fields import OneOf
from sflsim.errors import refused
from sflsim.fields import Held
from sflsim.learning.costs import CostOverrides
from sflsim.mistakes import wrong_value
from sflsim.registry import datasets, models, partitions


class Workload(BaseModel):
    """What is learned, and where the network is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: Annotated[Any, OneOf(datasets)] = Field(default="digits", validate_default=True)
    model: Annotated[Any, OneOf(models)] = Field(default="mlp", validate_default=True)
    cut: int | str = Field(
        default=1, description="number of blocks the client holds, or its last block's name"
    )
    batch_size: Held = 32
    partition: Annotated[Any, OneOf(partitions)] = Field(default="iid", validate_default=True)
    costs: CostOverrides = Field(
        default_factory=CostOverrides, description="fixed figures in place of the derived ones"
    )

    @model_validator(mode="after")
    def _reads_tokens(self) -> Self:
        """Refuse a model of numbers for a data set of token ids; a model of text has a `vocabulary`."""
        is_text = getattr(self.dataset, "sample_dtype", "float32") == "int64"
        if is_text and not hasattr(self.model, "vocabulary"):
            found = f"{self.model.kind}, which takes numbers, with the text of {self.dataset.kind}"
            raise wrong_value(found, "a model of text, e.g. transformer")
        return self

    def check_vocabulary(self) -> None:
        """Refuse a tokenizer that tells more tokens apart than the model knows.

        Raises:
            ScenarioError: it does, or there is none.
        """
        found = getattr(self.dataset, "vocabulary", None)
        known = getattr(self.model, "vocabulary", None) if found is not None else None
        if found is not None and known is not None and found > known:
            remedy = "name the model's own tokenizer, or set vocab_size in the model's config"
            allowed = f"at most {known}, which the model knows"
            raise refused("workload.dataset.tokenizer", f"{found} tokens", allowed, remedy)
