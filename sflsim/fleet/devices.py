"""Devices: computing rate, memory, power, battery and link.

A computing rate is one rate for all FLOP or rates by kind of operation; `speed` is a factor on either. A rate
or speed that is a distribution is drawn once per device, from a stream keyed by its name; one that is a trace
changes over time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim import fields
from sflsim.fleet.availability.events import EventConfig, changed_rate
from sflsim.fleet.block_profile import ProfileConfig, Profiled, Rate
from sflsim.fleet.catalog import Cataloged, Table
from sflsim.fleet.distributions.base import DistributionConfig
from sflsim.fleet.links.access_points import AccessPoint
from sflsim.fleet.links.links import Link
from sflsim.fleet.profiles import Profile
from sflsim.fleet.rates import RatesByKind, RatesConfig
from sflsim.fleet.stragglers import Slowdown
from sflsim.fleet.traces import Traceable, TraceBase, TraceConfig
from sflsim.mistakes import mistake, mistake_at, mistakes
from sflsim.streams import generator


class ComputeConfig(DistributionConfig):
    """A distribution of computing rates over the devices of a group."""

    def needed_unit(self) -> str:
        """Return the unit of a computing rate."""
        return "FLOP/s"


class ComputeTrace(TraceConfig):
    """A computing rate over time from the CSV `file`, e.g. of a device that runs hot."""

    unit: ClassVar[str] = "FLOP/s"


class _Computing(Traceable):
    """Annotation of a computing rate: a quantity, a distribution or a trace."""

    traces: ClassVar[tuple[type[TraceBase], ...]] = (ComputeTrace,)


ComputeRate = Annotated[
    float | ComputeConfig | ComputeTrace | RatesConfig,
    RatesByKind(_Computing(fields.COMPUTE, ComputeConfig)),
]


class SpeedConfig(DistributionConfig):
    """A distribution of speeds over the devices of a group."""

    def needed_unit(self) -> str:
        """Return that a speed is a bare number."""
        return ""


class SpeedTrace(TraceConfig):
    """A speed over time from the CSV `file`."""

    unit: ClassVar[str] = ""


class _Speed(Traceable):
    """Annotation of a speed: a factor, a distribution or a trace."""

    traces: ClassVar[tuple[type[TraceBase], ...]] = (SpeedTrace,)


Speed = Annotated[float | SpeedConfig | SpeedTrace, _Speed(fields.FACTOR, SpeedConfig)]


class PowerConfig(BaseModel):
    """Total power of a device in each state (not in addition to idling), in W.

    The default of `idle` is 0, that of the other states is `idle`; none may be lower.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    idle: fields.Power = 0.0
    compute: fields.Power | None = None
    send: fields.Power | None = None
    receive: fields.Power | None = None

    @model_validator(mode="after")
    def _none_below_idle(self) -> Self:
        given = {key: getattr(self, key) for key in ("compute", "send", "receive")}
        allowed = f"at least the idle power, {self.idle:g} W: the total power of the device in that state"
        wrong = [
            ((key,), mistake("is below idle", f"'{value:g} W'", allowed, "add the idle power to it"))
            for key, value in given.items()
            if value is not None and value < self.idle
        ]
        if wrong:
            raise mistakes(wrong)
        return self


class DeviceConfig(Cataloged):
    """One kind of device: sustained training rate (FLOP/s), memory (bytes), power and battery.

    Without `memory` or `battery` it is taken as large enough.
    """

    table: ClassVar[Table] = "devices"

    compute: ComputeRate = Field(
        description="sustained training rate, e.g. '16 GFLOP/s', not the peak; or rates by kind of "
        "operation, e.g. {convolution: 36 GFLOP/s, depthwise: 0.5 GFLOP/s, memory: 2.8 GB/s}"
    )
    speed: Speed = Field(
        default=1.0, description="factor on all of its computing rates: a number, a distribution or a trace"
    )
    forward: fields.Compute | None = Field(
        default=None,
        description="rate of forward passes alone (of a trace: at its start); that of 'compute' by default",
    )
    profile: ProfileConfig | None = Field(
        default=None, description="measured seconds of blocks, used where network, cut and batch size match"
    )
    memory: fields.Bytes | None = None
    power: PowerConfig | None = None
    battery: fields.Energy | None = Field(
        default=None, description="energy of each device until it disconnects, e.g. '15 Wh' or '54 kJ'"
    )

    @model_validator(mode="after")
    def _one_rate_of_forward_passes(self) -> Self:
        if self.forward is not None and isinstance(self.compute, RatesConfig):
            found = "a rate of forward passes beside rates by kind"
            allowed = "'forward' with one rate for 'compute'"
            remedy = "leave 'forward' out: the work of a forward pass is known by kind"
            raise mistake_at("forward", "is not needed", found, allowed, remedy)
        return self

    @model_validator(mode="after")
    def _one_trace(self) -> Self:
        if isinstance(self.compute, ComputeTrace) and isinstance(self.speed, SpeedTrace):
            allowed = "one of the two as a trace"
            remedy = "multiply the rates in the file of 'compute' by the speeds"
            raise mistake_at("speed", "is a second trace", "'compute' is a trace, too", allowed, remedy)
        return self

    @model_validator(mode="after")
    def _profile_of_one_device(self) -> Self:
        if self.profile is not None and isinstance(self.compute, ComputeConfig):
            found = "seconds of one device, and 'compute' that differs from device to device"
            remedy = "give 'compute' one value, and draw 'speed', a factor on rates and profile"
            raise mistake_at("profile", "does not differ", found, "with one rate or rates by kind", remedy)
        return self

    @model_validator(mode="after")
    def _battery_is_drawn_from(self) -> Self:
        if self.battery is not None and not any(astuple(power(self.power))):
            found = "no 'power' above zero, so it would never be empty"
            remedy = "add e.g. 'power: {idle: 2 W, compute: 7 W}', or leave 'battery' out"
            raise mistake_at("battery", "is never used", found, "with 'power'", remedy)
        return self


@dataclass(frozen=True, slots=True)
class Power:
    """Total power of a device in each state; 0 if unknown."""

    idle_w: float = 0.0
    compute_w: float = 0.0
    send_w: float = 0.0
    receive_w: float = 0.0


NO_POWER = Power()


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the fleet; `index` counts over the fleet, `name` keys all its draws."""

    index: int
    name: str
    group: str
    rate: Rate
    """FLOP/s of training, by kind or measured; `work / rate` is a time in s."""
    forward_rate: Rate
    memory_bytes: float | None
    power: Power
    link: Link
    slowdown: Slowdown
    access_point: AccessPoint | None = None
    compute_profile: Profile | None = None
    """The training rate or the speed over time, if it changes; all rates are in proportion to it."""
    nominal: float = 1.0
    """The value of the profile at which `rate` and `forward_rate` hold."""
    battery_j: float | None = None
    """Energy for taking part; unlimited if unknown."""

    def in_the_mean(self) -> Device:
        """Return the device with the mean of all that changes from round to round, or over time."""
        profile = self.compute_profile
        faster = 1.0 if profile is None else profile.mean / self.nominal
        return replace(
            self,
            rate=self.rate * faster,
            forward_rate=self.forward_rate * faster,
            compute_profile=None,
            link=self.link.in_the_mean(),
            slowdown=self.slowdown.in_the_mean(),
        )

    @property
    def flop_per_s(self) -> float:
        """The training rate in FLOP/s; NaN where it has rates by kind or a profile."""
        return self.rate if isinstance(self.rate, float) else math.nan


@dataclass(frozen=True, slots=True)
class Computing:
    """How fast one device computes (see `Device`)."""

    rate: Rate
    forward_rate: Rate
    profile: Profile | None
    nominal: float


def computing(config: DeviceConfig, events: Sequence[EventConfig], seed: int, device_name: str) -> Computing:
    """Return how fast a device computes: what is drawn for it, with the changes that events set."""
    speed = speed_of(config, seed, device_name)
    found = _by_rates(config, speed, events, seed, device_name)
    if config.profile is None:
        return found
    measured, factor = config.profile.measured, first_rate(speed)

    def profiled(rate: Rate) -> Profiled:
        assert not isinstance(rate, Profiled)
        return Profiled(measured, rate, factor)

    return replace(found, rate=profiled(found.rate), forward_rate=profiled(found.forward_rate))


def _by_rates(
    config: DeviceConfig, speed: float | Profile, events: Sequence[EventConfig], seed: int, device_name: str
) -> Computing:
    """Return how fast a device computes by its rates alone."""
    compute = config.compute
    if isinstance(compute, RatesConfig):
        rates = compute.rates() * first_rate(speed)
        return Computing(rates, rates, changed_rate(speed, events, "speed"), first_rate(speed))
    rate = compute_rate(config, seed, device_name)
    flop_per_s = first_rate(rate) * first_rate(speed)
    forward = config.forward * first_rate(speed) if config.forward else flop_per_s
    by_speed = changed_rate(speed, events, "speed")
    if by_speed is not None:
        return Computing(flop_per_s, forward, by_speed, first_rate(speed))
    return Computing(flop_per_s, forward, changed_rate(rate, events, "compute"), first_rate(rate))


def compute_rate(config: DeviceConfig, seed: int, device_name: str) -> float | Profile:
    """Return the one computing rate of a device, in FLOP/s: drawn, or over time from a trace."""
    compute = config.compute
    assert not isinstance(compute, RatesConfig)
    if isinstance(compute, ComputeTrace):
        return compute.profile(seed, device_name)
    if not isinstance(compute, ComputeConfig):
        return compute
    return float(compute.sample(generator(seed, "compute", device_name), 1)[0])


def speed_of(config: DeviceConfig, seed: int, device_name: str) -> float | Profile:
    """Return the speed of one device: drawn, or over time from a trace."""
    speed = config.speed
    if isinstance(speed, SpeedTrace):
        return speed.profile(seed, device_name)
    if not isinstance(speed, SpeedConfig):
        return speed
    return float(speed.sample(generator(seed, "speed", device_name), 1)[0])


def first_rate(rate: float | Profile) -> float:
    """Return the first rate above zero; others are proportional to it."""
    return rate if not isinstance(rate, Profile) else float(next(value for value in rate.values if value > 0))


def power(config: PowerConfig | None) -> Power:
    """Return the power of a device, with defaults filled in."""
    if config is None:
        return NO_POWER
    given = (config.compute, config.send, config.receive)
    return Power(config.idle, *(config.idle if value is None else value for value in given))
