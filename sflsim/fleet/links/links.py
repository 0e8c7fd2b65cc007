"""Links between a client and the server: rates, latency, jitter, loss and duty cycle.

A rate may be a quantity, a distribution drawn once per client or once per message, or a trace over
time. Draws come from streams keyed by the owner's name.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sflsim.fields import BANDWIDTH, JITTER, SECONDS, DutyCycle, LostShare, Packet
from sflsim.fleet.catalog import Cataloged, Table
from sflsim.fleet.distributions.base import DistributionConfig, Drawable, Draws
from sflsim.fleet.links import directions
from sflsim.fleet.links.directions import Direction, Loss
from sflsim.fleet.mahimahi import LinkRate
from sflsim.fleet.profiles import Profile
from sflsim.fleet.traces import TraceBase
from sflsim.mistakes import Place, mistake, mistake_at, mistakes
from sflsim.streams import Stream, generator


class LinkDrawConfig(DistributionConfig):
    """A distribution in a link, and how long one draw holds."""

    redraw: Literal["client", "message"] = "client"


class RateConfig(LinkDrawConfig):
    """A distribution of rates, in bandwidth."""

    def needed_unit(self) -> str:
        """Return the unit of a bandwidth."""
        return "byte/s"


class LatencyConfig(LinkDrawConfig):
    """A distribution of one-way latencies, in time."""

    def needed_unit(self) -> str:
        """Return the unit of a time."""
        return "s"


class JitterConfig(DistributionConfig):
    """A distribution of the time that is added to the latency of each message."""

    def needed_unit(self) -> str:
        """Return the unit of a time."""
        return "s"


Rate = Annotated[float | RateConfig | TraceBase, LinkRate(BANDWIDTH, RateConfig, unlimited=True)]
Latency = Annotated[float | LatencyConfig, Drawable(SECONDS, LatencyConfig)]
Jitter = Annotated[float | JitterConfig, Drawable(JITTER, JitterConfig)]


class Delivery(BaseModel):
    """How messages arrive, at any rate: the base of the Configs of all kinds of link."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    latency: Latency = Field(default=0.0, description="one way, per message: half a round trip, e.g. '35 ms'")
    jitter: Jitter = Field(
        default=0.0,
        description="standard deviation of the latency, or a distribution of a further delay per message",
    )
    in_order: bool = Field(
        default=False, description="a message never arrives before one sent earlier in the same direction"
    )
    loss: LostShare = Field(
        default=0.0, description="share of packets lost, each retransmitted until it arrives"
    )
    packet: Packet = Field(
        default=1500.0, description="size of a packet, the unit of loss and retransmission"
    )
    duty_cycle: DutyCycle = Field(
        default=1.0, description="share of time in which the client may send; silent after each message"
    )

    @model_validator(mode="after")
    def _jitter_fits(self) -> Self:
        """Refuse a standard deviation without a mean, or of a latency that is drawn per message."""
        if isinstance(self.jitter, JitterConfig) or not self.jitter:
            return self
        found, remedy = repr(SECONDS.shown(self.jitter)), "give a distribution to add one"
        if isinstance(self.latency, LatencyConfig):
            if self.latency.redraw == "message":
                allowed = "a distribution, where the latency is drawn per message"
                raise mistake_at("jitter", "is said twice", found, allowed, remedy)
        elif not self.latency:
            allowed = "a standard deviation beside a latency above zero, which is the mean"
            raise mistake_at("jitter", "has no mean", found, allowed, remedy)
        return self

    def at_rates(self, up: directions.Rate, down: directions.Rate, seed: int, owner_name: str) -> Link:
        """Return the link of one device at these rates."""
        latency = drawn(self.latency, seed, "link-latency", owner_name)
        assert not isinstance(latency, Profile)

        def direction(rate: directions.Rate, name: str, duty_cycle: float) -> Direction:
            purpose = f"link-jitter-{name}"
            random_latency, jitter = _jittered(self.jitter, latency, seed, purpose, owner_name)
            key = (seed, f"link-loss-{name}", owner_name)
            loss = Loss(self.loss, self.packet, key) if self.loss else None
            return Direction(rate, random_latency, jitter, loss, duty_cycle, self.in_order)

        return Link(direction(up, "up", self.duty_cycle), direction(down, "down", 1.0))


class Rates(Cataloged):
    """The rates of a link; a separate base, since the fields of the last base stand first."""

    table: ClassVar[Table] = "links"

    up: Rate = Field(description="rate towards the other side, e.g. '10 Mbit/s', or 'unlimited'")
    down: Rate = Field(description="rate from the other side, e.g. '40 Mbit/s', or 'unlimited'")


class LinkConfig(Delivery, Rates):
    """A link from its owner's side: it sends at the rate `up` and receives at `down`.

    Rates in byte/s (inf for 'unlimited'), one-way latency of a message in seconds.
    """

    def build(self, seed: int, owner_name: str) -> Link:
        """Return the link of one device (or of "server") under the scenario seed `seed`."""
        up = drawn(self.up, seed, "link-up", owner_name)
        down = drawn(self.down, seed, "link-down", owner_name)
        return self.at_rates(up, down, seed, owner_name)


class LinkKind(Protocol):
    """Any Config of a device's link."""

    def build(self, seed: int, owner_name: str) -> Link:
        """Return the link of one device under the scenario seed `seed`."""


class Link:
    """The link of one client; message numbers count from 0 in each direction.

    `constant` is (up bytes/s, down bytes/s, latency s) if they are the same for all messages.
    """

    __slots__ = ("constant", "down", "up")

    def __init__(self, up: Direction, down: Direction) -> None:
        self.up = up
        self.down = down
        sent, received = up.constant, down.constant
        self.constant: tuple[float, float, float] | None = None
        if sent is not None and received is not None:
            self.constant = (sent[0], received[0], sent[1])

    def up_bytes_per_s(self, message: int) -> float:
        """Return the rate of message number `message` upwards; the first rate of a trace."""
        return _first(self.up.rate_of(message))

    def down_bytes_per_s(self, message: int) -> float:
        """Return the rate of message number `message` downwards; the first rate of a trace."""
        return _first(self.down.rate_of(message))

    def in_the_mean(self) -> Link:
        """Return the link with the mean of all that changes from message to message, or over time."""
        return Link(self.up.in_the_mean(), self.down.in_the_mean())

    def latency_s(self, message: int) -> float:
        """Return the latency of message number `message` upwards."""
        return self.up.latency_s(message)


def _first(rate: float | Profile) -> float:
    return rate.value_at(0.0) if isinstance(rate, Profile) else rate


def build_link(config: LinkKind, seed: int, owner_name: str) -> Link:
    """Return the link of one device (or of "server") under the scenario seed `seed`."""
    return config.build(seed, owner_name)


def _jittered(
    jitter: float | JitterConfig, latency: float | Stream, seed: int, purpose: str, name: str
) -> tuple[float | Stream, Stream | None]:
    """Return the latency and the delay that is added to it per message.

    A jitter that is one number makes the latency gamma distributed: never negative, skewed to the right
    as delays are, with the latency as mean and the jitter as standard deviation.
    """
    if isinstance(jitter, JitterConfig):
        return latency, Stream(jitter.sample, seed, purpose, name, mean=lambda: jitter.mean)
    if not jitter or not isinstance(latency, float) or not latency:
        return latency, None
    shape, scale_s, mean_s = (latency / jitter) ** 2, jitter * jitter / latency, latency

    def sample(rng: np.random.Generator, n: int) -> Draws:
        return rng.gamma(shape, scale_s, n)

    return Stream(sample, seed, purpose, name, mean=lambda: mean_s), None


def drawn(
    value: float | LinkDrawConfig | TraceBase, seed: int, purpose: str, name: str
) -> float | Stream | Profile:
    """Return a constant, one draw for the client, a stream over its messages or a profile."""
    if isinstance(value, float):
        return value
    if isinstance(value, TraceBase):
        return value.profile(seed, name)
    if value.redraw == "message":
        return Stream(value.sample, seed, purpose, name, mean=lambda: value.mean)
    return float(value.sample(generator(seed, purpose, name), 1)[0])


CLIENT_ONLY = ("jitter", "in_order", "loss", "packet", "duty_cycle")
DRAWN = ("up", "down", "latency")


def as_shared(config: LinkConfig) -> LinkConfig:
    """Refuse keys of a client's link: a server's link is a capacity that all transfers share.

    Raises:
        ValidationError: at each of these keys.
    """
    fields = LinkConfig.model_fields
    misplaced: list[Place] = [(key,) for key in CLIENT_ONLY if getattr(config, key) != fields[key].default]
    found = "a figure of a client's link"
    allowed = "rates and a latency: a server's link is a capacity that all transfers share"
    error = mistake("has no place here", found, allowed, "give it to the groups' links")
    values = {key: getattr(config, key) for key in DRAWN}
    per_message = [key for key, value in values.items() if getattr(value, "redraw", "client") == "message"]
    once = "'client': drawn once, as all transfers share a server's link"
    redraw = mistake("has no place here", "message", once, "draw it per message in the groups' links")
    if misplaced or per_message:
        redraws: list[Place] = [(key, "redraw") for key in per_message]
        raise mistakes([*((place, error) for place in misplaced), *((place, redraw) for place in redraws)])
    return config


SharedLink = Annotated[LinkConfig, AfterValidator(as_shared)]
