"""`adapters:` of a model: low-rank adapters (LoRA, Hu et al., arXiv 2106.09685). No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Adapters(BaseModel):
    """Low-rank adapters on linear layers, of which only they are trained; put on by peft (extra `llm`).

    A layer's output gets alpha / rank * B A x added, with A drawn at random and B zero at first, so
    that the network starts as it is. Rank and alpha are HO-SFL's and FedLoRA's settings by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=8, ge=1, strict=True)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        description="last words of the names of the layers adapted, e.g. [q_proj, v_proj]; by default "
        "queries and values of a transformer, every linear layer of other models",
    )
    on: Literal["both", "client", "server"] = Field(
        default="both", description="which part is adapted and frozen; the other is trained in full"
    )
