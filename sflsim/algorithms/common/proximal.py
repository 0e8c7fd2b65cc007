"""FedProx (Li et al., MLSys 2020, arXiv 1812.06127): local steps are held near the parameters they start at.

A client's local loss becomes F(x) + mu / 2 |x - x_start|^2, x_start being what it starts its round (or its
contribution) from; so each gradient has mu (x - x_start) added to it, before it is clipped. Of a split model
the term covers what a client trains apart from the others in a round: its part, its head, its server
replica; not a server model that all share. It is zero in the first step, so it needs several.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from sflsim.fields import STEP_SIZE
from sflsim.mistakes import mistake_at
from sflsim.simulation.base import AlgorithmConfig


class ProximalConfig(AlgorithmConfig):
    """How strongly local steps are held."""

    proximal: Annotated[float, Field(ge=0), STEP_SIZE] = Field(
        default=0.0, description="mu of FedProx's term mu / 2 |x - x_start|^2 in the loss of local steps"
    )

    @model_validator(mode="after")
    def _has_several_steps(self) -> ProximalConfig:
        if self.proximal and getattr(self, "local_iterations", None) == 1:
            remedy = "raise local_iterations, or drop proximal"
            allowed = "0 with one local iteration: the term is zero where a client starts"
            raise mistake_at("proximal", "changes nothing", self.proximal, allowed, remedy)
        return self

    def held(self, optimizer: dict[str, Any]) -> dict[str, Any]:
        """Return the plain settings of an optimizer of local steps, with the term if there is one."""
        return optimizer | ({"proximal": self.proximal} if self.proximal else {})
