"""PSL, parallel split learning: the batches of all participants are merged into one at the server.

In each of H iterations every participant sends the activations of a batch of b_i samples. When all are in,
the server makes one forward and backward pass on the merged batch and one step of its one server part, from
the mean loss of all samples. Slice i of the cut gradient, times sum(b) / b_i, goes to client i, and all
step: that is the gradient of the mean loss of its own batch. After H iterations the client parts are
averaged, by b_i. So every iteration has a barrier, and with one participant it is SL.

With `share_gradient` it is EPSL (arXiv 2303.15991): of each batch the first n = ceil(phi min b) samples share
their gradients. The gradients by the logits of all M clients' j-th samples are averaged before the backward
pass, which goes once for all of them through the server part, at the mean of their activations (there as in
use: without dropout, by running statistics). In the server's step that counts as M samples; every client
gets its cut gradient. The source does not say where the backward pass of a mean is taken; this is a choice.

Costs per iteration: client forward, up |z| + |y|, server forward and backward of all batches, down |z|,
client backward. With n shared samples the server makes n further forward passes and (M - 1) n fewer backward
ones. A broadcast takes each client's downlink, as nothing is multicast here, so |z| goes down in any case.
Per round: the client part down and up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sflsim.algorithms.common.client_parts import ClientPartsConfig
from sflsim.algorithms.common.first_order import FirstOrderAlgorithm, FirstOrderConfig
from sflsim.algorithms.common.merged_batches import of_client, shared_samples, train
from sflsim.algorithms.common.proximal import ProximalConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Event, Protocol
from sflsim.errors import refused
from sflsim.fields import Share
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.base import AveragingConfig
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig

if TYPE_CHECKING:
    from sflsim.learning.calls import BatchName


class Psl(FirstOrderAlgorithm, Synchronous):
    """Parallel split learning on merged batches."""

    class Config(FirstOrderConfig, ClientPartsConfig, ProximalConfig, AveragingConfig, SynchronousConfig):
        """Client optimizers start afresh in every round, unless `keep_state` is set.

        The server's optimizer always keeps its state, as its model does. With over-selection the first
        activations to arrive are those that count in all iterations of the round.
        """

        averaged: ClassVar[tuple[str, ...]] = ("client",)
        algorithm: Literal["psl"] = "psl"
        share_gradient: Share = Field(
            default=0.0,
            description="share phi of each batch whose last-layer gradients are averaged over clients (EPSL)",
        )
        weighting: Literal["batch", "samples", "uniform"] = Field(
            default="batch", description="how participants count in the average of client parts"
        )

    per_client_cuts = "its one server model begins at one layer"
    reports = frozenset({"times", "accuracy", "probes"})  # the losses are those of merged batches

    _wanted: int  # participants in the first merged batch
    _awaited: set[int]  # clients whose activations the next merged batch waits for
    _arrived: dict[int, BatchName]  # in the next merged batch so far, by client
    _own: dict[int, Args]  # the argument of each client's part
    _gone: set[int]  # clients that have dropped out
    _stepped: Event  # fires when the server has stepped on the next merged batch
    _merged: list[list[BatchName]]  # the batches of each merged batch of the round

    def open_round(self, sim: Simulation, model: Handle, sampled: list[Client], wanted: int) -> None:
        """Wait for the activations of as many participants as count."""
        self._wanted, self._awaited = wanted, {client.index for client in sampled}
        self._arrived, self._gone, self._merged, self._own = {}, set(), [], {}
        self._stepped = sim.env.event()

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Pull the client part, train it on merged batches, send it back; None if others were in before."""
        self._own[client.index] = self.parts.of(sim, client, model)
        if self.parts.are_pulled(client):
            yield client.pull(client.sent.model_bytes)
        for exchange in range(self.config.local_iterations):
            client.begin(client.round, exchange)
            batch = client.next_batch()
            yield client.forward(client.costs.client_forward_flop)
            yield client.send_up(client.sent.activation_bytes + client.costs.labels_bytes)
            if client.index not in self._awaited:
                return None
            since_s, stepped = sim.env.now, self._stepped
            self._awaited.remove(client.index)
            self._arrived[client.index] = batch
            self._merge_if_all_are_in(sim, client.round)
            yield stepped
            client.record_wait(since_s)
            yield client.send_down(client.sent.gradient_bytes)
            yield client.compute(client.costs.client_backward_flop)
        if self.parts.are_pushed(client):
            yield client.push(client.sent.model_bytes)
        return {"client": client.index}

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """Stop waiting for the client; a batch of it that has arrived stays in the merged batch."""
        self._gone.add(client.index)
        self._awaited.discard(client.index)
        self._merge_if_all_are_in(sim, client.round)

    def _merge_if_all_are_in(self, sim: Simulation, round: int) -> None:
        if not self._arrived or (self._awaited and len(self._arrived) < self._wanted):
            return
        arrived, self._arrived = self._arrived, {}
        self._merged.append([name for _, name in sorted(arrived.items())])
        self._awaited = arrived.keys() - self._gone
        stepped, self._stepped = self._stepped, sim.env.event()
        sim.process(self._serve(sim, [sim.client(index) for index in arrived], round, stepped))

    def _serve(self, sim: Simulation, clients: list[Client], round: int, stepped: Event) -> Protocol:
        """Step the server model on a merged batch; in the tables it is a job of the last client to arrive."""
        costs = [client.costs for client in clients]
        forward = sum(one.server_forward_flop for one in costs)
        backward = sum(one.server_backward_flop for one in costs)
        sizes = [sim.batch_size(client.index) for client in clients]
        if shared := shared_samples(self.config.share_gradient, sizes):
            share = shared / sum(sizes)
            forward, backward = forward * (1 + share), backward * (1 - (len(clients) - 1) * share)
        yield sim.server.serve(forward + backward, clients[-1].name, round, "server model")
        stepped.succeed()

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Average the client parts; the server model is that after the last merged batch."""
        batches: dict[int, list[BatchName]] = {}
        for merged in self._merged:
            for name in merged:
                batches.setdefault(name[0], []).append(name)
        clients = [contribution["client"] for contribution in contributions]
        participants = [
            {"client": client, "batches": names} | self.kept.of(client) | self._own[client]
            for client, names in batches.items()
        ]
        args = {"start": model, "participants": participants, "clients": clients}
        shared = {name: getattr(self.config, name) for name in ("share_gradient", "weighting")}
        each = {"each": True} if self.config.keep_state or self.parts.are_kept else {}
        shared |= {**self.optimizers(), **self.kept.shared, **each, **self.parts.not_pushed(sim)}
        after = sim.learn(train, [args], **shared)[0]
        if each:
            trained = sim.learn(of_client, [{"round": after, "client": client} for client in clients])
            self.kept.keep([{"client": one, "batches": batches[one]} for one in clients], trained)
            self.parts.keep(sim.round + 1, clients, trained, after)
        return after

    def optimizers(self) -> dict[str, Any]:
        """Return both optimizers; the client's holds its part near the round's start, if wanted."""
        both = super().optimizers()
        return {**both, "client_optimizer": self.config.held(both["client_optimizer"])}

    @property
    def unmasked(self) -> dict[str, tuple[str, str]]:
        """Return that shared gradients need activations without a mask."""
        why = "the backward pass starts at the mean of activations, and a mask has none; drop the key"
        return {"share_gradient": ("0", why)} if self.config.share_gradient else {}

    def round_steps(self, contributions: list[Args]) -> int:
        """Return the number of merged batches."""
        return len(self._merged)

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take, and a deadline."""
        super().check(costs)
        if self.config.deadline is not None:
            remedy = "each iteration waits for all, so a deadline drops all but one; use over_selection"
            raise refused("deadline", "a deadline with psl", "none", remedy)
