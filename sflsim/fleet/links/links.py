"""Links between a client and the server: rates, latency, and what a real link adds to them.

A rate may be a quantity, a distribution drawn once per client or afresh for every message, or a
trace over time; draws come from streams keyed by the owner's name.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sflsim.fields import BANDWIDTH, SECONDS, Bytes, DutyCycle, LostShare
from sflsim.fleet.catalog import Cataloged, Table
from sflsim.fleet.distributions.base import DistributionConfig, Drawable, Draws
from sflsim.fleet.links import directions
from sflsim.fleet.links.directions import Direction, Loss
from sflsim.fleet.profiles import Profile
from sflsim.fleet.traces import Traceable, TraceConfig
from sflsim.mistakes import Place, mistake, mistake_at, mistakes
from sflsim.streams import Stream, generator


class LinkDrawConfig(DistributionConfig):
    """A distribution in a link, and how long one draw holds."""

    redraw: Literal["client", "message"] = "client"


class RateConfig(LinkDrawConfig):
    """A distribution of rates, in bandwidth."""

    def needed_unit(self) -> str:
        """Return the unit that the place needs: a bandwidth's."""
        return "byte/s"


class LatencyConfig(LinkDrawConfig):
    """A distribution of one-way latencies, in time."""

    def needed_unit(self) -> str:
        """Return the unit that the place needs: a time's."""
        return "s"


class JitterConfig(DistributionConfig):
    """A distribution of what is added to the latency of each message, in time."""

    def needed_unit(self) -> str:
        """Return the unit that the place needs: a time's."""
        return "s"


Rate = Annotated[float | RateConfig | TraceConfig, Traceable(BANDWIDTH, RateConfig, unlimited=True)]
Latency = Annotated[float | LatencyConfig, Drawable(SECONDS, LatencyConfig)]
Jitter = Annotated[float | JitterConfig, Drawable(SECONDS, JitterConfig)]


class Delivery(BaseModel):
    """How messages arrive, whatever the rate: what the Configs of all kinds of link have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    latency: Latency = Field(default=0.0, description="one way, per message: half a round trip, e.g. '35 ms'")
    jitter: Jitter = Field(
        default=0.0,
        description="standard deviation of the latency, its mean kept; or what each message has added",
    )
    in_order: bool = Field(
        default=False, description="a message never arrives before one sent earlier the same way"
    )
    loss: LostShare = Field(
        default=0.0, description="share of packets lost, each sent again until it arrives"
    )
    packet: Bytes = Field(default=1500.0, description="what is lost and sent again as one")
    duty_cycle: DutyCycle = Field(
        default=1.0, description="share of time in which the client may send; silent after each message"
    )

    @model_validator(mode="after")
    def _jitter_fits(self) -> Self:
        """Refuse a standard deviation without a mean, or of what is drawn per message anyway."""
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
        """Return the link of one device that delivers so at these rates."""
        latency = drawn(self.latency, seed, "link-latency", owner_name)
        assert not isinstance(latency, Profile)

        def one(rate: directions.Rate, way: str, duty_cycle: float) -> Direction:
            wobbly, jitter = _jittered(self.jitter, latency, seed, f"link-jitter-{way}", owner_name)
            key = (seed, f"link-loss-{way}", owner_name)
            loss = Loss(self.loss, self.packet, key) if self.loss else None
            return Direction(rate, wobbly, jitter, loss, duty_cycle, self.in_order)

        return Link(one(up, "up", self.duty_cycle), one(down, "down", 1.0))


class Rates(Cataloged):
    """What a link carries at most; a base of its own, as the fields of the last base stand first."""

    table: ClassVar[Table] = "links"

    up: Rate = Field(description="rate towards the other side, e.g. '10 Mbit/s', or 'unlimited'")
    down: Rate = Field(description="rate from the other side, e.g. '40 Mbit/s', or 'unlimited'")


class LinkConfig(Delivery, Rates):
    """A link as its owner sees it: `up` is what it sends with, `down` what it receives with.

    Rates in byte/s (inf for 'unlimited'), one-way latency of a message in seconds.
    """

    def build(self, seed: int, owner_name: str) -> Link:
        """Return the link of one device (or of "server") under the scenario seed `seed`."""
        up = drawn(self.up, seed, "link-up", owner_name)
        down = drawn(self.down, seed, "link-down", owner_name)
        return self.at_rates(up, down, seed, owner_name)


class LinkKind(Protocol):
    """Any Config that says what the link of a device is."""

    def build(self, seed: int, owner_name: str) -> Link:
        """Return the link of one device under the scenario seed `seed`."""


class Link:
    """The link of one client; message numbers count from 0 in each direction.

    `constant` is (up bytes/s, down bytes/s, latency s) where every message needs the same.
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
        """Return the rate at which message number `message` goes up; of a trace the first."""
        return _first(self.up.rate_of(message))

    def down_bytes_per_s(self, message: int) -> float:
        """Return the rate at which message number `message` comes down; of a trace the first."""
        return _first(self.down.rate_of(message))

    def latency_s(self, message: int) -> float:
        """Return how long message number `message` travels upwards beside its sending."""
        return self.up.latency_s(message)


def _first(rate: float | Profile) -> float:
    return rate.value_at(0.0) if isinstance(rate, Profile) else rate


def build_link(config: LinkKind, seed: int, owner_name: str) -> Link:
    """Return the link of one device (or of "server") under the scenario seed `seed`."""
    return config.build(seed, owner_name)


def _jittered(
    jitter: float | JitterConfig, latency: float | Stream, seed: int, purpose: str, name: str
) -> tuple[float | Stream, Stream | None]:
    """Return the latency and what is added to it per message.

    A plain jitter makes the latency gamma distributed: never negative, skewed to the right as delays
    are, its mean the latency and its standard deviation the jitter.
    """
    if isinstance(jitter, JitterConfig):
        return latency, Stream(jitter.sample, seed, purpose, name)
    if not jitter or not isinstance(latency, float) or not latency:
        return latency, None
    shape, scale_s = (latency / jitter) ** 2, jitter * jitter / latency

    def sample(rng: np.random.Generator, n: int) -> Draws:
        return rng.gamma(shape, scale_s, n)

    return Stream(sample, seed, purpose, name), None


def drawn(
    value: float | LinkDrawConfig | TraceConfig, seed: int, purpose: str, name: str
) -> float | Stream | Profile:
    """Return a constant, one draw that holds for the client, a stream over its messages or a profile."""
    if isinstance(value, TraceConfig):
        return value.profile(seed, name)
    if not isinstance(value, LinkDrawConfig):
        return value
    if value.redraw == "message":
        return Stream(value.sample, seed, purpose, name)
    return float(value.sample(generator(seed, purpose, name), 1)[0])


CLIENTS_OWN = ("jitter", "in_order", "loss", "packet", "duty_cycle")
DRAWN = ("up", "down", "latency")


def as_shared(config: LinkConfig) -> LinkConfig:
    """Refuse what only a client's link can have: a server's is a capacity that all transfers share.

    Raises:
        ValidationError: at each such key.
    """
    fields = LinkConfig.model_fields
    wrong: list[Place] = [(key,) for key in CLIENTS_OWN if getattr(config, key) != fields[key].default]
    found = "a figure of a client's link"
    allowed = "rates and a latency: a server's link is a capacity that all transfers share"
    error = mistake("has no place here", found, allowed, "give it to the groups' links")
    values = {key: getattr(config, key) for key in DRAWN}
    afresh = [key for key, value in values.items() if getattr(value, "redraw", "client") == "message"]
    once = "'client': drawn once, as all transfers share a server's link"
    again = mistake("has no place here", "message", once, "draw it per message in the groups' links")
    if wrong or afresh:
        raise mistakes([*((place, error) for place in wrong), *(((key, "redraw"), again) for key in afresh)])
    return config


SharedLink = Annotated[LinkConfig, AfterValidator(as_shared)]
