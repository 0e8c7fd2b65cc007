"""Links between a client and the server: a rate each way and a latency per message.

Each may be a quantity or a distribution drawn once per client or afresh for every message, from
streams keyed by the owner's name. Imports the distributions, the catalog, units and streams.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Protocol

from pydantic import Field

from sflsim.fleet.catalog import Cataloged, Table
from sflsim.fleet.distribution import DistributionConfig, Drawable
from sflsim.streams import Stream, generator
from sflsim.units import BANDWIDTH, SECONDS


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


Rate = Annotated[float | RateConfig, Drawable(BANDWIDTH, RateConfig, unlimited=True)]
Latency = Annotated[float | LatencyConfig, Drawable(SECONDS, LatencyConfig)]


class LinkConfig(Cataloged):
    """A link as its owner sees it: `up` is what it sends with, `down` what it receives with.

    Rates in byte/s (inf for 'unlimited'), one-way latency of a message in seconds.
    """

    table: ClassVar[Table] = "links"

    up: Rate = Field(description="rate towards the other side, e.g. '10 Mbit/s', or 'unlimited'")
    down: Rate = Field(description="rate from the other side, e.g. '40 Mbit/s', or 'unlimited'")
    latency: Latency = Field(default=0.0, description="one way, per message: half a round trip, e.g. '35 ms'")

    def build(self, seed: int, owner_name: str) -> Link:
        """Return the link of one device (or of "server") under the scenario seed `seed`."""
        return Link(
            drawn(self.up, seed, "link-up", owner_name),
            drawn(self.down, seed, "link-down", owner_name),
            drawn(self.latency, seed, "link-latency", owner_name),
        )


class LinkKind(Protocol):
    """Any Config that says what the link of a device is."""

    def build(self, seed: int, owner_name: str) -> Link:
        """Return the link of one device under the scenario seed `seed`."""


class Link:
    """The link of one client; message numbers count from 0.

    `constant` is (up bytes/s, down bytes/s, latency s) where nothing is redrawn per message.
    """

    __slots__ = ("_down", "_latency", "_up", "constant")

    def __init__(self, up: float | Stream, down: float | Stream, latency: float | Stream) -> None:
        self._up = up
        self._down = down
        self._latency = latency
        self.constant: tuple[float, float, float] | None = None
        if not (isinstance(up, Stream) or isinstance(down, Stream) or isinstance(latency, Stream)):
            self.constant = (up, down, latency)

    def up_bytes_per_s(self, message: int) -> float:
        """Return the rate at which message number `message` goes up."""
        return self._up if isinstance(self._up, float) else self._up[message]

    def down_bytes_per_s(self, message: int) -> float:
        """Return the rate at which message number `message` comes down."""
        return self._down if isinstance(self._down, float) else self._down[message]

    def latency_s(self, message: int) -> float:
        """Return how long message number `message` travels beside its sending."""
        return self._latency if isinstance(self._latency, float) else self._latency[message]


def build_link(config: LinkKind, seed: int, owner_name: str) -> Link:
    """Return the link of one device (or of "server") under the scenario seed `seed`."""
    return config.build(seed, owner_name)


def drawn(value: float | LinkDrawConfig, seed: int, purpose: str, name: str) -> float | Stream:
    """Return a constant, one draw that holds for the client, or a stream over its messages."""
    if not isinstance(value, LinkDrawConfig):
        return value
    if value.redraw == "message":
        return Stream(value.sample, seed, purpose, name)
    return float(value.sample(generator(seed, purpose, name), 1)[0])
