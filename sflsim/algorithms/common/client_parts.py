"""Client parts that are averaged in every I-th round only (AdaptSFL, arXiv 2403.13101).

Server parts are averaged in each round. Between the rounds that average client parts a client goes on from
its own, so nothing is sent to or from the Fed Server. A client that has none of its own starts from that of
the last average. An I-th round averages the parts of its participants; the others drop theirs then. The
global model of a round in between, which is evaluated, is that of an average taken there. A contribution
that does not count leaves a client's part as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sflsim.clock.client import Client
from sflsim.errors import refused
from sflsim.fields import Count
from sflsim.learning.calls import BatchName, stack
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.base import AlgorithmConfig, PerClientCut
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from torch import Tensor


class ClientPartsConfig(AlgorithmConfig):
    """How often client parts are averaged."""

    aggregate_clients_every: Count = Field(
        default=1,
        description="client parts are averaged in every so many-th round; between, each client keeps its own",
    )

    @property
    def cycle(self) -> int:
        """The rounds from one average of client parts to the next."""
        return self.aggregate_clients_every


class ClientParts:
    """Where the part of each client is: its own since the last average, else that of the last average."""

    def __init__(self, config: AlgorithmConfig) -> None:
        self._every = config.aggregate_clients_every if isinstance(config, ClientPartsConfig) else 1
        self._own: dict[int, Handle] = {}
        self._average: Handle | None = None

    def are_pulled(self, client: Client) -> bool:
        """Tell whether the client has no part of its own."""
        return client.index not in self._own

    def are_pushed(self, client: Client) -> bool:
        """Tell whether the client's round ends with an average of client parts."""
        return client.round % self._every == 0

    def start(self, sim: Simulation, client: Client, model: Handle) -> Handle:
        """Return the model that the client has before its next batch: its own, or what arrives of it."""
        held = self.held(client.index, model)
        return sim.pulled(client, held) if self.are_pulled(client) else held

    def averaged(self, model: Handle) -> Handle:
        """Return the model that holds the last average, in a round that starts from `model`."""
        if self._every == 1:
            return model
        if self._average is None:
            self._average = model
        return self._average

    def held(self, client: int, model: Handle) -> Handle:
        """Return the model that holds the client's part, in a round that starts from `model`."""
        return self._own.get(client, self.averaged(model))

    def of(self, sim: Simulation, client: Client, model: Handle) -> Args:
        """Return the argument of the client's part, where that is not `model`'s."""
        start = self.start(sim, client, model)
        return {} if start is model else {"own": start}

    def pushed(
        self, sim: Simulation, trained: Sequence[Handle], batches: Sequence[BatchName]
    ) -> Sequence[Handle]:
        """Return what clients have `trained` as it counts in an average: in an I-th round as it arrives."""
        return trained if (sim.round + 1) % self._every else sim.pushed(trained, batches)

    def not_pushed(self, sim: Simulation) -> Args:
        """Return the shared argument that client parts stay where they are, in a round between averages."""
        return {"pushed": False} if (sim.round + 1) % self._every else {}

    @property
    def before(self) -> Args:
        """Return the argument of the client part that an average moves from, where that is not `model`'s."""
        return {} if self._average is None else {"average": self._average}

    @property
    def are_kept(self) -> bool:
        """Tell whether the parts of clients are needed after their round."""
        return self._every > 1

    def keep(self, round: int, clients: Iterable[int], trained: Sequence[Handle], model: Handle) -> None:
        """Keep what `clients` have `trained`, or the `model` that is their average in an I-th round."""
        if self._every == 1:
            return
        if round % self._every:
            self._own.update(zip(clients, trained, strict=True))
        else:
            self._own.clear()
            self._average = model
        for handle in (*trained, model):
            handle.held = True


def client_parts(arguments: Sequence[Args]) -> Tensor:
    """Return the client parts [C, n_c] from which participants start: their `own`, else those of `start`."""
    parts: list[Args] = [args["own"] if "own" in args else args["start"] for args in arguments]
    return stack(parts, "client")


def check_cuts(config: ClientPartsConfig) -> None:
    """Refuse to average layers every so often that are a client's here and the server's there."""
    if config.aggregate_clients_every > 1 and isinstance(config.cut, PerClientCut):
        found = f"{config.aggregate_clients_every} with a cut for each client"
        remedy = (
            "a layer would be averaged each round on the server and every so often on clients; give one cut"
        )
        raise refused("aggregate_clients_every", found, "1 with a cut for each client", remedy)
