"""Links whose rate follows from physics: `kind: shannon`, the channel capacity at a distance.

rate = W log2(1 + P h / (W N0)) with bandwidth W, power P, noise density N0 and channel gain
h = 10^(-L/10), where the path loss L = intercept + slope log10(distance in km) in dB. The defaults are
the time model of GAS (arXiv 2409.01251).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue

from sflsim.fields import BANDWIDTH, DISTANCE, Frequency, Loss, Noise, TransmitPower
from sflsim.fleet.distributions.base import DistributionConfig, Drawable
from sflsim.fleet.links.links import Delivery, Link, RateConfig, drawn
from sflsim.streams import generator

Shannon = Literal["shannon"]


class DistanceConfig(DistributionConfig):
    """A distribution of distances over the devices of a group."""

    def needed_unit(self) -> str:
        """Return the unit of a distance."""
        return "km"


class PathLoss(BaseModel):
    """Path loss in dB at a distance: `intercept` at 1 km, `slope` more for every tenfold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    intercept: Loss = 128.1
    slope: Loss = 37.6

    def gain(self, distance_km: float) -> float:
        """Return the share of the sent power that arrives."""
        return float(10.0 ** (-(self.intercept + self.slope * math.log10(distance_km)) / 10.0))


class DownRate(Drawable):
    """Annotation of a rate down: as in any link, or "shannon" for the capacity that also holds upwards."""

    def read(self, value: Any, info: ValidationInfo | None = None) -> Any:
        """Return the float, the distribution or the word that `value` describes."""
        return value if value == "shannon" else super().read(value, info)

    def write(self, value: Any) -> Any:
        """Return what `read` turns into the same value."""
        return value if value == "shannon" else super().write(value)

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is that word, or a rate."""
        return {"anyOf": [{"enum": ["shannon"]}, super().json_schema(handler)]}


class ShannonRates(BaseModel):
    """What a radio channel carries; a class of its own for the same reason as `fleet.links.links.Rates`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Shannon = "shannon"
    distance: Annotated[float | DistanceConfig, Drawable(DISTANCE, DistanceConfig)] = Field(
        description="from the base station, e.g. '0.5 km', or a distribution"
    )
    bandwidth: Frequency = Field(default=10e6, description="W")
    power: TransmitPower = Field(default=0.2, description="P, what the client sends with")
    noise: Noise = Field(default=3.981e-21, description="N0, per unit of bandwidth; -174 dBm/Hz")
    path_loss: PathLoss = PathLoss()
    down: Annotated[Shannon | float | RateConfig, DownRate(BANDWIDTH, RateConfig, unlimited=True)] = Field(
        default_factory=lambda: math.inf, description="rate from the server; 'shannon' for the same as up"
    )

    def rate_bytes_per_s(self, distance_km: float) -> float:
        """Return the capacity at a distance; log1p keeps it above zero far away."""
        signal_to_noise = self.power * self.path_loss.gain(distance_km) / (self.bandwidth * self.noise)
        return self.bandwidth * math.log1p(signal_to_noise) / math.log(2.0) / 8.0


class ShannonConfig(Delivery, ShannonRates):
    """A radio link that reaches its channel's capacity; the distance is drawn once per client."""

    def build(self, seed: int, owner_name: str) -> Link:
        """Return the link of one device under the scenario seed `seed`."""
        distance_km = self.distance
        if isinstance(distance_km, DistanceConfig):
            distance_km = float(distance_km.sample(generator(seed, "distance", owner_name), 1)[0])
        up = self.rate_bytes_per_s(distance_km)
        down = up if self.down == "shannon" else drawn(self.down, seed, "link-down", owner_name)
        return self.at_rates(up, down, seed, owner_name)
