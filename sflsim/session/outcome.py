"""The result of one variant under one seed; the tables of a run are made of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sflsim.clock.client_totals import ClientTotals
from sflsim.clock.spans import updates_of
from sflsim.rows import ClientSetup, ClientWork, Evaluation, LinkThroughput, Span
from sflsim.simulation.base import Algorithm
from sflsim.simulation.simulation import Simulation

UNTRAINED = {"initial", "evaluate", "label_accuracies"}
"""Calls that are no training."""


@dataclass
class Outcome:
    """The result of one variant under one seed."""

    variant: str
    seed: int
    status: str = "completed"
    reason: str = ""
    rounds: int = 0
    time_s: float = 0.0
    server_busy_s: float = 0.0
    client_memory_bytes: float = 0.0
    server_memory_bytes: float = 0.0
    left_out: str = ""
    """Groups that take no part, as their memory is too small."""
    real_s: float = 0.0
    computed: dict[str, int] = field(default_factory=dict)
    read: int = 0
    """Values that came from the store on disk."""
    derived: list[str] = field(default_factory=list)
    """In a timing-only run: keys of costs that were needed and not given."""
    spans: list[Span] = field(default_factory=list)
    """As recorded: for asynchronous clients, `round` is the client's own count of contributions."""
    updates_s: list[float] | None = None
    """When an asynchronous algorithm updated the global model."""
    evaluations: list[Evaluation] = field(default_factory=list)
    clients: list[ClientSetup] = field(default_factory=list)
    wasted: dict[tuple[str, int], float] = field(default_factory=dict)
    """Participations that were dropped: (client, round) -> its spans that began before this time."""
    link_throughput: list[LinkThroughput] = field(default_factory=list)
    """The throughput of the shared links, if the spans were kept."""
    client_totals: ClientTotals | None = None
    """What the clients did, if the spans were not kept."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle spans by column, which is five times as fast as by row."""
        return self.__dict__ | {"spans": list(zip(*self.spans, strict=True))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        spans = list(map(Span._make, zip(*state["spans"], strict=True)))
        self.__dict__.update(state, spans=spans)

    @property
    def trained(self) -> bool:
        """Whether anything was trained for it; else all that it needs was known, or nothing is learned."""
        return bool(self.computed.keys() - UNTRAINED)

    @property
    def cached(self) -> bool:
        """Whether it has learned, and all of that was known: such a run takes next to no time."""
        return not self.trained and any(not math.isnan(row.accuracy) for row in self.evaluations)

    def work(self) -> dict[str, ClientWork]:
        """Return what each client did."""
        if self.client_totals is None:
            self.client_totals = ClientTotals(self.wasted)
            self.client_totals.add(self.spans)
        return self.client_totals.rows()

    def rounds_of_spans(self) -> list[int]:
        """Return the round of each span as in the tables: an update of the global model."""
        if self.updates_s is None:
            return [span.round for span in self.spans]
        return updates_of(self.spans, self.updates_s)

    def take(
        self,
        sim: Simulation,
        algorithm: Algorithm,
        shards: Sequence[Any] | None,
        accuracies: Mapping[int, float] | None = None,
    ) -> None:
        """Take the results of a simulation so far; `shards` are the sample indices of every client.

        Clients that have `accuracies`, by their indices, have a row also where they took no part.
        """
        self.rounds, self.time_s = sim.round, sim.env.now
        self.server_busy_s = sim.server.busy_s(sim.recorder.totals)
        self.spans, self.evaluations = sim.recorder.final_spans(), sim.evaluations
        self.wasted, self.link_throughput = sim.recorder.wasted, sim.link_throughput
        self.updates_s = sim.recorder.updates_s
        self.client_totals = sim.recorder.sink if isinstance(sim.recorder.sink, ClientTotals) else None
        accuracies = accuracies or {}
        peaks_bytes = (algorithm.client_memory_bytes(client.costs) for client in sim.clients)
        self.client_memory_bytes = max(peaks_bytes, default=math.nan)
        for index in accuracies:
            sim.client(index)
        self.clients = [
            ClientSetup(
                client=client.name,
                group=client.device.group,
                flop_per_s=client.device.flop_per_s,
                up_bytes_per_s=client.device.link.up_bytes_per_s(0),
                down_bytes_per_s=client.device.link.down_bytes_per_s(0),
                memory_bytes=math.nan if client.device.memory_bytes is None else client.device.memory_bytes,
                samples=math.nan if shards is None else float(len(shards[client.index])),
                cut=client.cut,
                batch_size=float(sim.batch_size(client.index)),
                idle_j=client.idle_j,
                peak_memory_bytes=algorithm.client_memory_bytes(client.costs),
                client_accuracy=accuracies.get(client.index, math.nan),
            )
            for client in sim.clients
        ]
