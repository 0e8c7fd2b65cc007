"""Clients with a loss of their own, as CSE-FSL and HERON-SFL have it: protocol and math, said once.

The client part carries an auxiliary head, a linear classifier on the activation at the cut, and is
trained on the head's loss; no gradient ever comes back. Every q-th batch of a round its activation
goes up while the client trains on; one server model steps on what arrives, in the order of arrival,
and no client waits for it. Client part and head are averaged at the round's end; server steps
that are not done by then count in a later round.

Per round: |x_c| and the head down and up. Per q iterations: up |z| + |y|, server forward and
backward.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sflsim.algorithms.common.first_order import check_optimizer, gradients_of
from sflsim.algorithms.common.kept import KeptStates, StateConfig, resume, steps_before, with_states
from sflsim.clock.client import Client
from sflsim.clock.engine import Event, Protocol
from sflsim.errors import refused
from sflsim.learning.calls import in_groups, weighted_mean
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Handle
from sflsim.learning.optimizers import Optimizer, OptimizerConfig
from sflsim.simulation.base import Count, Weighting
from sflsim.simulation.simulation import Lane, Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.network.split import Part
    from sflsim.learning.task import Task

    Step = Callable[[Part, Tensor, Sequence[BatchName], Tensor, Tensor], tuple[Tensor, Sequence[Tensor]]]


class LocalLossConfig(StateConfig, SynchronousConfig):
    """Client optimizers start afresh in every round, or with `keep_state` go on for each client.

    The server's goes on in any case, as its model does.
    """

    client_optimizer: OptimizerConfig = OptimizerConfig()
    server_optimizer: OptimizerConfig = OptimizerConfig()
    local_iterations: int = Field(default=5, ge=1, le=4096, description="batches per participant and round")
    q: Count = Field(default=5, description="of q batches of a round, the last one's activation is sent")
    weighting: Weighting = Field(default="samples", description="how participants count in the averages")


class LocalLoss(Synchronous):
    """A synchronous round whose clients never wait for the server.

    A subclass names the math of its local training and the FLOPs of what a client does with a
    batch after the forward pass of its part.
    """

    per_client_cuts = "its one server model begins at one layer"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.kept = KeptStates(config)
        self._training: dict[int, Lane] = {}
        self._arrived: list[Lane] = []  # what the server has stepped on since the last round

    @abstractmethod
    def step_flop(self, costs: Costs) -> float:
        """Return what a client computes for one batch beyond the forward pass of its part."""

    @abstractmethod
    def train_locally(self, sim: Simulation, lanes: list[Lane], **shared: Any) -> list[Handle]:
        """Name the math of the clients' training (see `train_with`) with the arguments given and its own."""

    def open_round(self, sim: Simulation, model: Handle, asked: list[Client], wanted: int) -> None:
        """Name the local training of all that are asked, which depends on nothing in the round."""
        size = self.config.local_iterations
        lanes = []
        for client in asked:
            batches = [client.next_batch() for _ in range(size)]
            lanes.append({"start": model, "batches": batches} | self.kept.of(client.index))
        shared = {"client_optimizer": self.config.client_optimizer.plain(), **self.kept.shared}
        trained = self.train_locally(sim, lanes, q=self.config.q, **shared)
        self._training = {
            client.index: {"client": client.index, "trained": handle, "batches": lane["batches"]}
            for client, lane, handle in zip(asked, lanes, trained, strict=True)
        }

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Pull part and head, train them, send every q-th activation without waiting, send both back."""
        costs, lane = client.costs, self._training[client.index]
        model_bytes = costs.client_model_bytes + costs.auxiliary_model_bytes
        yield client.pull(model_bytes)
        for exchange, batch in enumerate(lane["batches"]):
            client.begin(client.round, exchange)
            yield client.forward(costs.client_forward_flop)
            if is_sent(exchange, self.config.q):
                arrival = client.send_up(costs.activation_bytes + costs.labels_bytes)
                sent = {"trained": lane["trained"], "exchange": exchange, "batch": batch}
                sim.process(self._serve(sim, client, arrival, sent), client)
            yield client.compute(self.step_flop(costs))
        yield client.push(model_bytes)
        return lane

    def _serve(self, sim: Simulation, client: Client, arrival: Event, sent: Lane) -> Protocol:
        """Step the server model on one activation, after those that came before."""
        round, step_flop = client.round, client.costs.server_forward_flop + client.costs.server_backward_flop
        yield arrival
        yield sim.server.serve(step_flop, client.name, round, "server model")
        self._arrived.append(sent)

    def aggregate(self, sim: Simulation, model: Handle, lanes: list[Lane]) -> Handle:
        """Average client parts and heads; the server model is as far as it has come."""
        trained = [lane["trained"] for lane in lanes]
        self.kept.keep(lanes, trained)
        together = {
            "model": model,
            "models": trained,
            "clients": [lane["client"] for lane in lanes],
            "arrived": self._arrived,
        }
        self._arrived = []
        optimizer = self.config.server_optimizer.plain()
        return sim.learn(merge, [together], weighting=self.config.weighting, server_optimizer=optimizer)[0]

    def round_steps(self, lanes: list[Lane]) -> int:
        """Return the number of activations that the server has stepped on since the last round."""
        return len(self._arrived)

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take, and a q that no round is long enough for."""
        check_optimizer("client_optimizer", self.config.client_optimizer)
        check_optimizer("server_optimizer", self.config.server_optimizer)
        size = self.config.local_iterations
        if self.config.q > size:
            remedy = "raise local_iterations: each round counts its batches anew, so none would be sent"
            raise refused("q", self.config.q, f"1 to local_iterations ({size})", remedy)


def is_sent(exchange: int, q: int) -> bool:
    """Return whether the activation of a round's batch number `exchange` (from 0) goes to the server."""
    return exchange % q == q - 1


def with_head(task: Task) -> Part:
    """Return the client part and its head as one part, whose output are logits."""
    from sflsim.learning.network.split import Part

    return Part([*task.client.blocks, *task.auxiliary.blocks])


def train_with(
    task: Task,
    lanes: list[Lane],
    step: Step,
    *,
    q: int,
    client_optimizer: dict[str, Any],
    keep_state: bool = False,
) -> list[Model]:
    """Train client part and head from `start` over `batches` (the same number in each lane).

    `step` maps (both as one part, x [C, d_c + d_a], batch names, inputs, labels) to the activations
    [C, B, ...] and the gradients in the shapes of the leaves. Returned beside the two parts: the
    activations sent, before the step on their batch, as "sent.<exchange>". A model without a head
    is given the initial one.
    """
    settings = (step, q, client_optimizer, keep_state)
    return in_groups(lanes, steps_before, lambda lanes: _train_with(task, lanes, *settings))


def _train_with(
    task: Task, lanes: list[Lane], step: Step, q: int, client_optimizer: dict[str, Any], keep_state: bool
) -> list[Model]:
    import torch

    n_c, both = task.client.size, with_head(task)
    x = torch.stack([torch.cat([lane["start"]["client"], head(task, lane["start"])]) for lane in lanes])
    optimizer = Optimizer(both.parameters(both.leaves(x)), len(lanes), client_optimizer)
    resume(lanes, optimizer=optimizer)
    sent: list[dict[str, Tensor]] = [{} for _ in lanes]
    for exchange in range(len(lanes[0]["batches"])):
        names = [tuple(lane["batches"][exchange]) for lane in lanes]
        z, gradients = step(both, x, names, *task.batch(names))
        if is_sent(exchange, q):
            for lane, activations in enumerate(z):
                sent[lane][f"sent.{exchange}"] = activations
        optimizer.step(gradients)
    models = [{"client": x[i, :n_c], "auxiliary": x[i, n_c:], **sent[i]} for i in range(len(lanes))]
    return with_states(models, keep_state, optimizer=optimizer)


def head(task: Task, model: Model) -> Tensor:
    """Return the parameters of a model's head [d_a]; the initial ones where it has none yet."""
    return model["auxiliary"] if "auxiliary" in model else task.auxiliary.initial().to(task.device)


def merge(task: Task, lanes: list[Lane], *, weighting: str, server_optimizer: dict[str, Any]) -> list[Model]:
    """Return the mean client part and head of `models`, and the server after stepping on `arrived`."""
    return [
        {
            **{
                part: weighted_mean(task, lane["models"], part, lane["clients"], weighting)
                for part in ("client", "auxiliary")
            },
            **_server_steps(task, lane["model"], lane["arrived"], server_optimizer),
        }
        for lane in lanes
    ]


def _server_steps(task: Task, model: Model, arrived: list[Lane], settings: dict[str, Any]) -> Model:
    """Step the server on one activation after another; its optimizer's state goes on."""
    x_s = model["server"][None].clone()  # [1, n_s]
    leaves = task.server.leaves(x_s)
    optimizer = Optimizer(task.server.parameters(leaves), 1, settings)
    optimizer.restore("server_optimizer", model)
    for one in arrived:
        _, y = task.batch([tuple(one["batch"])])
        z = one["trained"][f"sent.{one['exchange']}"][None]
        losses = task.loss(task.server.forward(leaves, z, task.training([tuple(one["batch"])])), y)
        optimizer.step(gradients_of(losses.sum(), optimizer.leaves))
    return {"server": x_s[0], **optimizer.state("server_optimizer")}
