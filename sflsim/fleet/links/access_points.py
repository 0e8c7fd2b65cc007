"""Access points and cells: a capacity that their clients share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim.fields import BANDWIDTH
from sflsim.fleet.distributions.base import DistributionConfig
from sflsim.fleet.mahimahi import LinkRate
from sflsim.fleet.profiles import Profile
from sflsim.fleet.traces import TraceBase
from sflsim.mistakes import mistake_at
from sflsim.streams import generator


class CapacityConfig(DistributionConfig):
    """A distribution of capacities over access points, in bandwidth."""

    def needed_unit(self) -> str:
        """Return the unit of a bandwidth."""
        return "byte/s"


Capacity = Annotated[float | CapacityConfig | TraceBase, LinkRate(BANDWIDTH, CapacityConfig, unlimited=True)]


def unlimited() -> float:
    """Return the capacity of an access point that limits nothing."""
    return math.inf


class AccessPointConfig(BaseModel):
    """The capacity of one access point: `up` and `down`, or `shared` by both directions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    up: Capacity = Field(default_factory=unlimited, description="of all its clients' sending together")
    down: Capacity = Field(default_factory=unlimited, description="of all its clients' receiving together")
    shared: Capacity = Field(
        default_factory=unlimited,
        description="of both directions together, instead of up and down: one radio channel",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        given = [key for key in ("up", "down", "shared") if getattr(self, key) != math.inf]
        if not given:
            allowed = "a limited rate for 'up' and 'down', or for 'shared'"
            raise mistake_at("shared", "limits nothing", "an unlimited access point", allowed)
        if "shared" in given and len(given) > 1:
            found, allowed = f"'shared' and '{given[0]}'", "'shared', or 'up' and 'down'"
            raise mistake_at("shared", "is given beside up or down", found, allowed)
        return self

    def build(self, seed: int, name: str) -> AccessPoint:
        """Return one access point under the scenario seed `seed`."""
        up, down, shared = (
            _drawn(capacity, seed, f"access-point-{way}", name)
            for way, capacity in (("up", self.up), ("down", self.down), ("shared", self.shared))
        )
        return AccessPoint(name, up, down, shared)


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """One access point: capacities in byte/s or as profiles, inf for unlimited."""

    name: str
    up: float | Profile
    down: float | Profile
    shared: float | Profile


def _drawn(
    capacity: float | CapacityConfig | TraceBase, seed: int, purpose: str, name: str
) -> float | Profile:
    if isinstance(capacity, TraceBase):
        return capacity.profile(seed, name)
    if isinstance(capacity, CapacityConfig):
        return float(capacity.sample(generator(seed, purpose, name), 1)[0])
    return capacity
