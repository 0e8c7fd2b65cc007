"""Clients with a local loss, for CSE-FSL, FSL-SAGE and HERON-SFL: protocol and math.

The client part has an auxiliary head, a linear classifier on the activation at the cut, and is
trained on the head's loss; the server sends no gradient. The activation of every q-th batch of a
round goes up while the client continues to train. One server model steps on the activations in the
order of arrival, and no client waits for it. Client parts and heads are averaged at the round's end.
Server steps that are not done by then count in a later round.

Costs per round: |x_c| and the head down and up. Per q iterations: up |z| + |y|, server forward and
backward.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sflsim.algorithms.common.client_parts import ClientParts, ClientPartsConfig
from sflsim.algorithms.common.first_order import ServerSide, check_optimizer
from sflsim.algorithms.common.kept import KeptStates, StateConfig, resume, steps_before, with_states
from sflsim.clock.client import Client
from sflsim.clock.engine import Event, Protocol
from sflsim.errors import refused
from sflsim.fields import Count, Passes
from sflsim.learning.calls import in_groups, weighted_mean
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.learning.optimizers import Optimizer, OptimizerConfig
from sflsim.simulation.base import AveragingConfig, Weighting
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.network.split import Part
    from sflsim.learning.task import Task

    Step = Callable[[Part, Tensor, Sequence[BatchName], Tensor, Tensor], tuple[Tensor, Sequence[Tensor]]]


class LocalLossConfig(StateConfig, ClientPartsConfig, AveragingConfig, SynchronousConfig):
    """Client optimizers start afresh in every round, unless `keep_state` is set.

    The server's optimizer always keeps its state, as its model does.
    """

    averaged: ClassVar[tuple[str, ...]] = ("client", "auxiliary")
    client_optimizer: OptimizerConfig = OptimizerConfig()
    server_optimizer: OptimizerConfig = OptimizerConfig()
    local_iterations: Passes = Field(default=5, description="batches per participant and round")
    q: Count = Field(default=5, description="the activation of every q-th batch of a round is sent")
    weighting: Weighting = Field(default="samples", description="how participants count in the averages")


class LocalLoss(Synchronous):
    """A synchronous round whose clients never wait for the server.

    A subclass defines the local training (`train_locally`) and the FLOP that a client computes for a
    batch after the forward pass of its part (`step_flop`).
    """

    per_client_cuts = "its one server model begins at one layer"
    reports = frozenset({"times", "accuracy", "probes"})  # clients know the losses of their heads alone
    sends = ("activation", "model")
    model_parts = ("client", "auxiliary")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.kept = KeptStates(config)
        self.parts = ClientParts(config)
        self._contributions: dict[int, Args] = {}
        self.arrivals: list[Args] = []  # activations that the server has stepped on since the last round

    @abstractmethod
    def step_flop(self, costs: Costs) -> float:
        """Return the FLOP that a client computes for one batch after the forward pass of its part."""

    @abstractmethod
    def train_locally(self, sim: Simulation, arguments: list[Args], **shared: Any) -> list[Handle]:
        """Record the clients' training (see `train_with`) with these and the algorithm's own settings."""

    def open_round(self, sim: Simulation, model: Handle, sampled: list[Client], wanted: int) -> None:
        """Record the local training of all selected clients; it depends on nothing in the round."""
        arguments, heads = [], self.own_heads(sim, model, sampled)
        for client in sampled:
            start = self.parts.start(sim, client, model)
            batches = [client.next_batch() for _ in range(self.config.local_iterations)]
            args = {"start": start, "batches": batches} | self.kept.of(client.index)
            arguments.append(args | heads.get(client.index, {}))
        shared = {"client_optimizer": self.config.client_optimizer.plain(), **self.kept.shared}
        trained = self.train_locally(sim, arguments, q=self.config.q, **shared)
        self._contributions = {
            client.index: {"client": client.index, "trained": handle, "batches": args["batches"]}
            for client, args, handle in zip(sampled, arguments, trained, strict=True)
        }

    def own_heads(self, sim: Simulation, model: Handle, sampled: list[Client]) -> dict[int, Args]:
        """Return the arguments of clients that train with a head of their own, not with the averaged one."""
        return {}

    def await_head(self, sim: Simulation, client: Client) -> Event | None:
        """Return the arrival of a head of the client's own, if it gets one."""
        return None

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Pull part and head, train them, send every q-th activation without waiting, send both back."""
        costs, contribution = client.costs, self._contributions[client.index]
        own_head = self.await_head(sim, client)
        if self.parts.are_pulled(client):
            yield client.pull(client.sent.model_bytes)
        if own_head is not None:
            yield own_head
        for exchange, batch in enumerate(contribution["batches"]):
            client.begin(client.round, exchange)
            yield client.forward(costs.client_forward_flop)
            if is_sent(exchange, self.config.q):
                arrival = client.send_up(client.sent.activation_bytes + costs.labels_bytes)
                sent = {"trained": contribution["trained"], "exchange": exchange, "batch": batch}
                sim.process(self._serve(sim, client, arrival, sent), client)
            yield client.compute(self.step_flop(costs))
        if self.parts.are_pushed(client):
            yield client.push(client.sent.model_bytes)
        return contribution

    def _serve(self, sim: Simulation, client: Client, arrival: Event, sent: Args) -> Protocol:
        """Step the server model on one activation, in the order of arrival."""
        round, step_flop = client.round, client.costs.server_forward_flop + client.costs.server_backward_flop
        yield arrival
        yield sim.server.serve(step_flop, client.name, round, "server model")
        self.arrivals.append(sent)

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Average client parts and heads; the server model has stepped on all activations so far."""
        trained = [contribution["trained"] for contribution in contributions]
        self.kept.keep(contributions, trained)
        clients = [contribution["client"] for contribution in contributions]
        pushed = self.parts.pushed(sim, trained, [one["batches"][-1] for one in contributions])
        args = {"model": model, "models": pushed, "clients": clients, "arrivals": self.arrivals}
        self.arrivals = []
        optimizer = self.config.server_optimizer.plain()
        after = sim.learn(merge, [args], weighting=self.config.weighting, server_optimizer=optimizer)[0]
        self.parts.keep(sim.round + 1, clients, trained, after)
        return after

    def round_steps(self, contributions: list[Args]) -> int:
        """Return the number of activations that the server has stepped on since the last round."""
        return len(self.arrivals)

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take, and a q that exceeds the batches of a round."""
        check_optimizer("client_optimizer", self.config.client_optimizer)
        check_optimizer("server_optimizer", self.config.server_optimizer)
        size = self.config.local_iterations
        if self.config.q > size:
            remedy = "raise local_iterations: batches are counted per round, so no activation would be sent"
            raise refused("q", self.config.q, f"1 to local_iterations ({size})", remedy)


def is_sent(exchange: int, q: int) -> bool:
    """Return whether the activation of batch `exchange` (from 0) of a round goes to the server."""
    return exchange % q == q - 1


def with_head(task: Task) -> Part:
    """Return the client part and its head as one part; its output is the logits."""
    from sflsim.learning.network.split import Part

    return Part([*task.client.blocks, *task.auxiliary.blocks])


def train_with(
    task: Task,
    arguments: list[Args],
    step: Step,
    *,
    q: int,
    client_optimizer: dict[str, Any],
    keep_state: bool = False,
) -> list[Model]:
    """Train client part and head from `start` over `batches` (the same number for each participant).

    `step` maps (both as one part, x [C, d_c + d_a], batch names, inputs, labels) to the activations
    [C, B, ...] and the gradients in the shapes of the leaves. Besides the two parts, the models hold
    the activations of the batches that are sent, as they arrive, as "sent.<exchange>". They are those before
    the step on their batch. A model without a head gets the initial one.
    """
    settings = (step, q, client_optimizer, keep_state)
    return in_groups(arguments, steps_before, lambda arguments: _train_with(task, arguments, *settings))


def _train_with(
    task: Task, arguments: list[Args], step: Step, q: int, client_optimizer: dict[str, Any], keep_state: bool
) -> list[Model]:
    import torch

    n_c, both = task.client.size, with_head(task)
    x = torch.stack(
        [
            torch.cat([args["start"]["client"], head(task, args["head" if "head" in args else "start"])])
            for args in arguments
        ]
    )
    optimizer = Optimizer(both.parameters(both.leaves(x)), len(arguments), client_optimizer)
    resume(arguments, optimizer=optimizer)
    sent: list[dict[str, Tensor]] = [{} for _ in arguments]
    for exchange in range(len(arguments[0]["batches"])):
        names = [tuple(args["batches"][exchange]) for args in arguments]
        z, gradients = step(both, x, names, *task.batch(names))
        if is_sent(exchange, q):
            for participant, activations in enumerate(task.received(z, names)):
                sent[participant][f"sent.{exchange}"] = activations
        optimizer.step(gradients)
    models = [{"client": x[i, :n_c], "auxiliary": x[i, n_c:], **sent[i]} for i in range(len(arguments))]
    return with_states(models, keep_state, optimizer=optimizer)


def head(task: Task, model: Model) -> Tensor:
    """Return the parameters of a model's head [d_a]; the initial ones if it has none yet."""
    return model["auxiliary"] if "auxiliary" in model else task.auxiliary.initial().to(task.device)


def merge(
    task: Task, arguments: list[Args], *, weighting: str, server_optimizer: dict[str, Any]
) -> list[Model]:
    """Return the mean client part and head of `models`, and the server after stepping on `arrivals`."""
    return [
        {
            **{
                part: weighted_mean(task, args["models"], part, args["clients"], weighting)
                for part in ("client", "auxiliary")
            },
            **_server_steps(task, args["model"], args["arrivals"], server_optimizer),
        }
        for args in arguments
    ]


def _server_steps(task: Task, model: Model, arrivals: list[Args], settings: dict[str, Any]) -> Model:
    """Step the server on one activation after another, from the state of its optimizer."""
    x_s = model["server"][None].clone()  # [1, n_s]
    server = ServerSide(task, x_s, settings)
    server.optimizer.restore("server_optimizer", model)
    for arrival in arrivals:
        name = tuple(arrival["batch"])
        z = arrival["trained"][f"sent.{arrival['exchange']}"][None]
        server.step(z, task.batch([name])[1], [name])
    return {"server": x_s[0], **server.optimizer.state("server_optimizer")}
