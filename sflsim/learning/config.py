"""`workload:` of a scenario: data set, model, cut, batch size, partition, costs. No torch here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sflsim.learning.costs import CostOverrides
from sflsim.registry import OneOf, datasets, models, partitions


class Workload(BaseModel):
    """What is learned, and where the network is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: Annotated[Any, OneOf(datasets)] = Field(default="digits", validate_default=True)
    model: Annotated[Any, OneOf(models)] = Field(default="mlp", validate_default=True)
    cut: int | str = Field(
        default=1, description="number of blocks the client holds, or its last block's name"
    )
    batch_size: int = Field(default=32, ge=1)
    partition: Annotated[Any, OneOf(partitions)] = Field(default="iid", validate_default=True)
    costs: CostOverrides = Field(
        default_factory=CostOverrides, description="fixed figures in place of the derived ones"
    )
