"""Where a variant runs: fleet, server, how the network is cut, and what there is to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sflsim.clock.server import ServerConfig
from sflsim.fleet.devices import Device
from sflsim.fleet.population import Fleet
from sflsim.fleet.sampling import FleetAvailability
from sflsim.learning.costs import Costs
from sflsim.simulation.sent import Messages


class Cuts(Protocol):
    """Where the network is cut, and the costs of each part."""

    @property
    def costs(self) -> Costs:
        """Return the costs of the variant's cut; of the deepest one, if clients have different cuts."""

    def of(self, device: Device) -> tuple[int, Costs]:
        """Return the number of blocks that a device holds, and the costs of that cut."""


@dataclass(frozen=True)
class Deployment:
    """The setting of one run."""

    fleet: Fleet
    participants: int
    server: ServerConfig
    server_replicas: int | None
    """How many participants' replicas the server holds at a time; None for any number."""
    cuts: Cuts
    messages: Messages
    availability: FleetAvailability | None
    """When each device is available; None if all always are."""


@dataclass(frozen=True)
class Work:
    """What the clients of one run have to learn from."""

    samples: Callable[[int], int]
    """The number of training samples of a client, by its index in the fleet."""
    batch_sizes: int | Sequence[int]
    """Samples of a batch, for each client where they differ."""
    classes: int

    def batch_size(self, client: int) -> int:
        """Return the samples of a client's batches."""
        return self.batch_sizes if isinstance(self.batch_sizes, int) else self.batch_sizes[client]
