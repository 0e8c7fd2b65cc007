"""`workload:` of a scenario: data set, model, cut, batch size, partition, costs. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim.component_fields import OneOf
from sflsim.errors import refused
from sflsim.fields import Held
from sflsim.learning.costs import CostOverrides
from sflsim.mistakes import mistake_at, wrong_value
from sflsim.registry import datasets, models, partitions


class BatchSizeByDevice(BaseModel):
    """A batch size for each device, so that all are predicted to take equally long."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    by: Literal["compute", "exchange"] = Field(
        description="what takes equally long: computing, or computing and both messages"
    )
    mean: Held = Field(default=32, description="samples, in the mean over the fleet")
    min: Held = Field(default=1, description="fewest samples of a batch")
    max: Held | None = Field(default=None, description="most samples of a batch; 8 times the mean by default")

    @property
    def most(self) -> int:
        """Return the most samples of a batch."""
        return 8 * self.mean if self.max is None else self.max

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min <= self.mean <= self.most:
            found = f"min {self.min}, mean {self.mean}, max {self.most}"
            raise mistake_at("mean", "is out of order", found, "min <= mean <= max")
        return self


class Workload(BaseModel):
    """What is learned, and where the network is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: Annotated[Any, OneOf(datasets)] = Field(default="digits", validate_default=True)
    model: Annotated[Any, OneOf(models)] = Field(default="mlp", validate_default=True)
    cut: int | str = Field(
        default=1, description="number of blocks the client holds, or its last block's name"
    )
    batch_size: Held | BatchSizeByDevice = Field(
        default=32, description="samples of a batch, or a rule that gives each device its own"
    )
    partition: Annotated[Any, OneOf(partitions)] = Field(default="iid", validate_default=True)
    costs: CostOverrides = Field(
        default_factory=CostOverrides, description="fixed figures in place of the derived ones"
    )

    @model_validator(mode="after")
    def _reads_tokens(self) -> Self:
        """Refuse a model of numbers for a data set of token ids; a model of text has a `vocabulary`."""
        if self.is_text and not hasattr(self.model, "vocabulary"):
            found = f"{self.model.kind}, which takes numbers, with the text of {self.dataset.kind}"
            raise wrong_value(found, "a model of text, e.g. transformer")
        return self

    @property
    def is_text(self) -> bool:
        """Whether samples are token ids."""
        return bool(getattr(self.dataset, "sample_dtype", "float32") == "int64")

    @property
    def mean_batch_size(self) -> int:
        """Return the samples of a batch, in the mean over the fleet; given costs are those of one."""
        size = self.batch_size
        return size.mean if isinstance(size, BatchSizeByDevice) else size

    def with_batches_of(self, size: int) -> Workload:
        """Return the workload with batches of `size` samples on all devices; given costs follow."""
        costs = self.costs.for_batches(size / self.mean_batch_size)
        return self.model_copy(update={"batch_size": size, "costs": costs})

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
