"""HO-SFL (ICML 2026, arXiv 2603.14773): first-order server, zeroth-order clients, scalars only.

The server's multiplier is the cut gradient lam_m = dF/dz_m; with it fixed, a client minimises
<lam_m, f_c(x_c)>. A round is one step in three dependent exchanges: seeds down, activations up;
cut gradient down, P scalars up; then, when all scalars have arrived, their means down. From these every
client rebuilds g = 1/(P mu) sum_p vbar_p u_p and takes the same optimizer step, so all hold the
same x_c and no parameters are sent. A client that missed rounds gets their seeds and means with the
next seeds and replays them, optimizer state included.

Costs per exchange: client (1 + P) forwards; up |z| + |y| + 4P, down |z| + 4P (seeds) + 4P (means) + 8P
per missed round; server forward and backward. A seed counts as a scalar. Drawing directions and
stepping parameters are no matrix products and cost no FLOP, as everywhere.

A participant that is dropped (over-selection, or a deadline for its scalars) counts in neither
mean, receives no means and has missed the round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from sflsim.algorithms.common.first_order import check_optimizer
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.errors import refused
from sflsim.fields import Passes, StepSize
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.learning.optimizers import NAMES, PER_TENSOR, Optimizer, OptimizerConfig
from sflsim.learning.zeroth_order import Direction, Directions, one_sided
from sflsim.simulation.base import Weighting
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import Synchronous, SynchronousConfig
from sflsim.work import moved

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.network.modes import Training
    from sflsim.learning.network.split import Part
    from sflsim.learning.task import Task

MAX_JOINED_SAMPLES = 4096  # bounds memory; all participants hold the same parts, so batches are joined


class HoSfl(Synchronous):
    """Split federated learning whose clients exchange scalars."""

    class Config(SynchronousConfig):
        """The symbols of the paper; defaults are its settings for vision. Optimizers keep their states.

        The client's optimizer must replay to the same bits on any device. Elementwise optimizers do,
        as float arithmetic is the same everywhere. One that sums over whole tensors (Adafactor) does
        not, as the order of the sum differs by device.
        """

        algorithm: Literal["ho-sfl"] = "ho-sfl"
        why_no_state: ClassVar[str] = "both its optimizers always keep their states; drop the key"
        perturbations: Passes = Field(default=5, description="shared seeds of each step (P)")
        mu: StepSize = Field(default=1e-3, description="size of the perturbation")
        direction: Direction = Field(
            default="gaussian", description="standard normal, or uniform on the sphere of radius sqrt(d)"
        )
        client_optimizer: OptimizerConfig = OptimizerConfig(name="AdamW", lr=1e-3)
        server_optimizer: OptimizerConfig = OptimizerConfig(name="AdamW", lr=1e-3)
        weighting: Weighting = Field(
            default="uniform", description="how participants count in the mean gradient and the mean scalars"
        )

    per_client_cuts = "its clients all hold the same x_c"
    sends = ("activation", "gradient")
    reports = frozenset({"times", "losses", "accuracy"})  # clients get no model, they replay rounds

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._last_synced_round: dict[int, int] = {}  # by client; its seeds and means have been sent
        self._before_replay: dict[int, int] = {}  # last synced round before the message under way, by client

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Replay missed rounds, send z, get the cut gradient, send a scalar for every seed."""
        costs, perturbations, batch = client.costs, self.config.perturbations, client.next_batch()
        scalars_bytes = perturbations * costs.scalar_bytes
        synced = self._before_replay[client.index] = self._last_synced_round.get(client.index, 0)
        missed = client.round - 1 - synced
        self._last_synced_round[client.index] = client.round - 1
        yield client.send_down(scalars_bytes + missed * 2 * scalars_bytes)
        del self._before_replay[client.index]
        yield client.forward(costs.client_forward_flop)
        yield client.send_up(client.sent.activation_bytes + costs.labels_bytes)
        gradient_flop = costs.server_forward_flop + costs.server_backward_flop
        yield sim.server.serve(gradient_flop, client.name, client.round)
        yield client.send_down(client.sent.gradient_bytes)
        yield client.forward(perturbations * moved(costs.client_forward_flop))
        yield client.send_up(scalars_bytes)
        return {"client": client.index, "batch": batch}

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """Cancel the client's jobs; missed rounds that it has not received in full stay missed."""
        super().on_drop_out(sim, client)
        if client.index in self._before_replay:
            self._last_synced_round[client.index] = self._before_replay.pop(client.index)

    def after_barrier(self, sim: Simulation, contributions: list[Args]) -> Protocol:
        """Broadcast the mean scalars; the round ends when all connected participants have them."""
        clients = [sim.client(contribution["client"]) for contribution in contributions]
        clients = [client for client in clients if sim.is_connected(client)]
        may_drop_out = not sim.always_available
        receptions = [
            sim.process(self._receive_broadcast(sim, client), client if may_drop_out else None)
            for client in clients
        ]
        yield sim.all_of(receptions)
        for client, received_s in zip(clients, receptions, strict=True):
            if received_s.value is not None:
                client.record_wait(cast(float, received_s.value))
                sim.complete(client)

    def _receive_broadcast(self, sim: Simulation, client: Client) -> Protocol:
        yield client.send_down(self.config.perturbations * client.costs.scalar_bytes)
        self._last_synced_round[client.index] = client.round
        return sim.env.now

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Step the server on the mean gradient and every client on the mean scalars."""
        config = self.config
        shared = {name: getattr(config, name) for name in ("perturbations", "mu", "direction")}
        args = {"model": model, "round": sim.round + 1, "participants": contributions}
        aggregate = sim.learn(exchange, [args], weighting=config.weighting, **shared)[0]
        return sim.learn(
            step,
            [{"model": model, "round": sim.round + 1, "aggregate": aggregate}],
            client_optimizer=config.client_optimizer.plain(),
            server_optimizer=config.server_optimizer.plain(),
            **shared,
        )[0]

    def round_steps(self, contributions: list[Args]) -> int:
        """Return 1: the server steps once, from the mean gradient."""
        return 1

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: forward passes, z and its gradient, the optimizer's state."""
        states: int = self.config.client_optimizer.state_copies
        held_bytes = 2 * costs.activation_bytes + states * costs.client_model_bytes
        return costs.zeroth_order_memory_bytes() + held_bytes

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take, and a client optimizer that does not replay."""
        name = self.config.client_optimizer.name
        if name in PER_TENSOR:
            remedy = f"{name} sums over whole tensors, in an order that differs by device: replays differ"
            allowed = ", ".join(other for other in NAMES if other not in PER_TENSOR)
            raise refused("client_optimizer.name", name, allowed, remedy)
        if self.config.client_optimizer.clip is not None:
            remedy = "a norm sums over whole tensors, in an order that differs by device: replays differ"
            raise refused("client_optimizer.clip", self.config.client_optimizer.clip, "none", remedy)
        check_optimizer("client_optimizer", self.config.client_optimizer)
        check_optimizer("server_optimizer", self.config.server_optimizer)


Difference = Callable[["Callable[[Tensor], Tensor]", "Tensor", "Tensor", Directions, float], "Tensor"]


def exchange(
    task: Task, arguments: list[Args], *, perturbations: int, mu: float, direction: Direction, weighting: str
) -> list[Model]:
    """Return the aggregate of a round: the mean scalars [P] and the server's mean gradient [d_s]."""
    results = []
    for args in arguments:
        u = shared_directions(task, args["round"], perturbations, direction)
        results.append(_exchange(task, args, u, mu, weighting))
    return results


def shared_directions(task: Task, round: int, perturbations: int, direction: Direction) -> list[Directions]:
    """Return the directions in x_c that a round's P seeds give."""
    return [task.directions([("ho-sfl", round, p)], task.client, direction) for p in range(perturbations)]


def _exchange(task: Task, args: Args, u: list[Directions], mu: float, weighting: str) -> Model:
    """Make steps 1 to 3 and the means of one round; all participants hold the same parts."""
    import torch

    model, participants = args["model"], args["participants"]
    samples = [
        1 if weighting == "uniform" else task.samples(participant["client"]) for participant in participants
    ]
    scalars, gradient = torch.zeros(len(u), device=task.device), torch.zeros_like(model["server"])
    statistics, separate = torch.zeros_like(model["server"]), task.server.has_statistics
    # batch norm needs each participant's batch separately; the statistics are averaged like the gradients
    one_by_one = separate or not isinstance(task.batch_sizes, int)
    at_once = 1 if one_by_one else max(1, MAX_JOINED_SAMPLES // task.batch_size(0))
    for start in range(0, len(participants), at_once):
        chunk = slice(start, start + at_once)
        names = [tuple(participant["batch"]) for participant in participants[chunk]]
        x, y = task.batch(names)
        weights = torch.tensor(samples[chunk], device=task.device) / sum(samples)  # [M]
        moving = {**model, "server": model["server"].clone()} if separate else model
        training = task.training_joined(names)
        v, g = mean_exchange(task, moving, x, y, weights, u, mu, training=training, names=names)
        scalars += v
        gradient += g
        if separate:
            statistics += weights.sum() * moving["server"]
    return {"scalars": scalars, "gradient": gradient, **({"statistics": statistics} if separate else {})}


def mean_exchange(
    task: Task,
    model: Model,
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    u: list[Directions],
    mu: float,
    difference: Difference = one_sided,
    training: Training | None = None,
    names: Sequence[BatchName] = (),
) -> tuple[Tensor, Tensor]:
    """Return vbar [P] and the server's gradient [n_s], each the weighted sum over M participants.

    For inputs [M, B, ...], labels [M, B] and weights [M]. The gradient of sum_m w_m F_m with respect to
    z_m is w_m lam_m, so its products with the differences of z add up to vbar. `difference` gives
    f(x_c + mu u) - f(x_c). With `training` the server's running statistics move, in place. `names` are
    those of the batches, for codecs: what is sent is lam_m.
    """
    import torch

    x_c, joined = model["client"][None], x.flatten(0, 1)[None]  # [1, n_c], [1, M B, ...]
    with torch.no_grad():
        z = task.activation(x_c, joined)
    cut_gradient, gradient = mean_gradients(task, model["server"], z, y, weights, training, names)
    return scalars_along(task, x_c, joined, z, cut_gradient, u, mu, difference), gradient


def mean_gradients(
    task: Task,
    server: Tensor,
    z: Tensor,
    y: Tensor,
    weights: Tensor,
    training: Training | None = None,
    names: Sequence[BatchName] = (),
) -> tuple[Tensor, Tensor]:
    """Return the gradients of sum_m w_m F_m by z [1, M B, ...] and by the server part [n_s].

    For labels [M, B] and weights [M]; `training` and `names` as in `mean_exchange`.
    """
    import torch

    leaves = task.server.leaves(server[None])
    sent = z.detach().requires_grad_()
    received = task.received(sent[0].unflatten(0, y.shape), names, weights).flatten(0, 1)[None]
    logits = task.server.forward(leaves, received, training)[0].unflatten(0, y.shape)
    mean_loss = (weights * task.loss(logits, y)).sum()
    trained = task.server.parameters(leaves)
    cut_gradient, *gradients = torch.autograd.grad(mean_loss, [sent, *trained])
    gradient = torch.zeros_like(server)
    views = task.server.parameters(task.server.views(gradient[None]))
    for view, parameter_gradient in zip(views, gradients, strict=True):
        view.copy_(parameter_gradient)
    return cut_gradient, gradient


def scalars_along(
    task: Task,
    x_c: Tensor,
    x: Tensor,
    z: Tensor,
    cut_gradient: Tensor,
    u: list[Directions],
    mu: float,
    difference: Difference = one_sided,
) -> Tensor:
    """Return <cut gradient, f_c(x_c + mu u_p) - z> [P], given z = f_c(x_c) of inputs x [1, B, ...]."""
    import torch

    with torch.no_grad():
        scalars = [
            (cut_gradient * difference(lambda x_c: task.activation(x_c, x), z, x_c, u_p, mu)).sum()
            for u_p in u
        ]
    return torch.stack(scalars)


def step(
    task: Task,
    arguments: list[Args],
    *,
    perturbations: int,
    mu: float,
    direction: Direction,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
) -> list[Model]:
    """Return both parts after the server's step and the step that every client takes, states included."""
    results = []
    for args in arguments:
        model, aggregate = args["model"], args["aggregate"]
        u = shared_directions(task, args["round"], perturbations, direction)
        g = rebuilt(aggregate["scalars"], u, mu, model["client"])
        results.append(
            {
                **_stepped(task.client, "client", model, g, client_optimizer),
                **_stepped(task.server, "server", model, aggregate["gradient"], server_optimizer),
            }
        )
        if "statistics" in aggregate:
            statistics = task.server.statistics(results[-1]["server"][None])
            means = task.server.statistics(aggregate["statistics"][None])
            for statistic, mean in zip(statistics, means, strict=True):
                statistic.copy_(mean)
    return results


def rebuilt(scalars: Tensor, u: list[Directions], mu: float, like: Tensor) -> Tensor:
    """Return g = 1/(P mu) sum_p vbar_p u_p [d_c] from the mean scalars [P]."""
    import torch

    g = torch.zeros_like(like)[None]
    for u_p, scalar in zip(u, scalars, strict=True):
        u_p.add_(g, scalar[None] / (len(u) * mu))
    return g[0]


def _stepped(part: Part, name: str, model: Model, gradient: Tensor, settings: dict[str, Any]) -> Model:
    """Return the part `name` after one optimizer step along `gradient` [n], with the state."""
    x = model[name][None].clone()
    optimizer = Optimizer(part.parameters(part.leaves(x)), 1, settings)
    optimizer.restore(f"{name}_optimizer", model)
    optimizer.step(part.parameters(part.views(gradient[None])))
    return {name: x[0], **optimizer.state(f"{name}_optimizer")}
