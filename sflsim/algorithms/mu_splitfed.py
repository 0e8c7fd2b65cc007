"""MU-SplitFed (NeurIPS 2025, arXiv 2510.21155): zeroth-order on both sides, tau server steps.

Each participant sends the activation z of a batch and those of its perturbed parts, z+ and z-.
When z has arrived, the server makes tau zeroth-order steps on the participant's replica, while the
client still computes and sends. Then one scalar determines the client's step. Costs per exchange:
client 1 + 2P forwards, up (1 + 2P)|z| + |y|, down one scalar per perturbation; server 2 tau P
forwards for its steps and 2P for the scalars. Per round: the client part down and up.

Learning rates: the paper's eta_s = 0.01 and eta_c = 0.005 with P = 1 diverge here if the part has more
than about 10,000 parameters: the bundled cnn on digits (d_s = 13,546) with tau 6, and on Fashion-MNIST
(d_s = 105,706) from tau 2 on, within 200 rounds at the paper's eta_g = 0.3. So the default is the paper's,
but at most 100 / d, and for the server, whose steps add up between two averages, 100 / (d sqrt(tau)) with
tau_max for an adaptive tau. The bound was chosen by whether values stay finite in 300 rounds with tau from
1 to 8 and adaptive, without looking at any accuracy (analysis/default_rates.py). Give eta_s where values
of tau are to be compared at one rate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sflsim.algorithms.common.client_parts import (
    ClientParts,
    ClientPartsConfig,
    check_cuts,
    client_parts,
)
from sflsim.algorithms.common.replicas import ServerReplicas
from sflsim.clock.client import Client
from sflsim.clock.engine import Event, Protocol
from sflsim.clock.server import Job
from sflsim.errors import refused
from sflsim.fields import Count, Passes, StepSize
from sflsim.learning.calls import average, by_cut, stack
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.learning.schedules import Rate
from sflsim.learning.zeroth_order import (
    MAX_RATE_TIMES_DIMENSION,
    Direction,
    descend_,
    rate,
    slope,
    step_along_,
    two_sided,
)
from sflsim.simulation.base import AveragingConfig, Weighting
from sflsim.simulation.simulation import Simulation
from sflsim.simulation.synchronous import SynchronousConfig
from sflsim.work import moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.task import Task


ETA_S, ETA_C = 0.01, 0.005


class ZerothOrderConfig(ClientPartsConfig, AveragingConfig, SynchronousConfig):
    """The symbols of the paper without tau; defaults are its settings, but for rates of large parts."""

    eta_s: Rate | None = Field(
        default=None,
        description="learning rate of the server's steps; by default 0.01, at most 100 / (d_s sqrt(tau))",
    )
    eta_c: Rate | None = Field(
        default=None,
        description="learning rate of the client's step; by default 0.005, at most 100 / d_c",
    )
    eta_g: Rate = Field(default=0.3, description="how far the global model moves to the mean")
    lam: StepSize = Field(default=0.005, description="size of the perturbation")
    direction: Direction = Field(
        default="sphere", description="uniform on the sphere of radius sqrt(d), or standard normal"
    )
    perturbations: Passes = Field(default=1, description="estimates averaged in each step (P)")
    client_feedback: Literal["separate", "joint"] = Field(
        default="separate",
        description="'joint' perturbs the server part as well, which then takes that step, too",
    )
    weighting: Weighting = Field(default="uniform", description="how participants count in the averages")


class MuSplitFed(ServerReplicas):
    """Unbalanced zeroth-order split federated learning."""

    class Config(ZerothOrderConfig):
        """The number of server steps per client step."""

        algorithm: Literal["mu-splitfed"] = "mu-splitfed"
        tau: Count | Literal["adaptive"] = Field(
            default=1,
            description="server steps per exchange; 'adaptive': until the slowest embeddings have arrived",
        )
        tau_max: Count = Field(default=64, description="upper bound of an adaptive tau")

    per_client_cuts = ""
    sends = ("activation", "model")
    when_diverged = "lower eta_g or eta_s, or take a smaller tau (tau_max where it is adaptive)"

    _awaited: int  # participants whose embeddings the round waits for
    _outstanding: set[int]  # selected clients whose embeddings have not arrived
    _adaptive_steps: dict[int, Job]  # the step after the first that each replica is at or queues for

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.parts = ClientParts(config)

    def open_round(self, sim: Simulation, model: Handle, sampled: list[Client], wanted: int) -> None:
        """Wait for the embeddings of as many participants as count."""
        self._awaited = wanted
        self._outstanding = {client.index for client in sampled}
        self._adaptive_steps = {}

    def participate(self, sim: Simulation, client: Client, model: Handle) -> Protocol:
        """Pull the client part, send z, z+ and z-, wait for the scalar, step, send the client part back."""
        costs, sent, config = client.costs, client.sent, self.config
        own, batch = self.parts.of(sim, client, model), client.next_batch()
        if self.parts.are_pulled(client):
            yield client.pull(sent.model_bytes)
        yield client.forward(costs.client_forward_flop)
        embeddings: list[Event] = [client.send_up(sent.activation_bytes + costs.labels_bytes)]
        steps = sim.process(self._serve_steps(sim, client, embeddings[0]), client)
        for _ in range(2 * config.perturbations):
            yield client.forward(moved(costs.client_forward_flop))
            embeddings.append(client.send_up(sent.activation_bytes))
        yield from sim.wait_for(embeddings)
        self._embeddings_arrived(sim, client)
        tau: int = yield steps
        yield sim.server.serve(
            2 * config.perturbations * moved(costs.server_forward_flop), client.name, client.round, last=True
        )
        yield client.send_down(config.perturbations * costs.scalar_bytes)
        if self.parts.are_pushed(client):
            yield client.push(sent.model_bytes)
        args = {"start": model, "client": client.index, "cut": client.cut, "batch": batch, "tau": tau}
        return args | own

    def _embeddings_arrived(self, sim: Simulation, client: Client) -> None:
        """Count one participant's embeddings; after the slowest's, no further adaptive step starts."""
        self._outstanding.discard(client.index)
        self._await(sim, self._awaited - 1)

    def _await(self, sim: Simulation, count: int) -> None:
        """Wait for the embeddings of `count` more participants; at 0, cancel adaptive steps that queue."""
        before, self._awaited = self._awaited, count
        if before > 0 and count == 0:
            for step in self._adaptive_steps.values():
                sim.server.cancel(step)

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """Stop waiting for the embeddings of a client that disconnects, and cancel its jobs."""
        super().on_drop_out(sim, client)
        self._outstanding.discard(client.index)
        self._await(sim, min(self._awaited, len(self._outstanding)))

    def _serve_steps(self, sim: Simulation, client: Client, arrival: Event) -> Protocol:
        """Step the participant's replica once z has arrived; return the number of steps (tau)."""
        step_flop = 2 * self.config.perturbations * moved(client.costs.server_forward_flop)
        yield arrival
        if self.config.tau != "adaptive":
            yield sim.server.serve(self.config.tau * step_flop, client.name, client.round)
            return self.config.tau
        tau = 0
        while not tau or (self._awaited > 0 and tau < self.config.tau_max):
            step = sim.server.serve(step_flop, client.name, client.round)
            if tau:
                self._adaptive_steps[client.index] = step
            yield step
            if step.cancelled:
                break
            tau += 1
        return tau

    def aggregate(self, sim: Simulation, model: Handle, contributions: list[Args]) -> Handle:
        """Move both parts by eta_g towards the mean of the participants'."""
        trained = sim.learn(exchange, contributions, **self._settings())
        clients = [contribution["client"] for contribution in contributions]
        pushed = self.parts.pushed(sim, trained, [contribution["batch"] for contribution in contributions])
        args = {"model": model, "models": pushed, "clients": clients} | self.parts.before
        after = sim.learn(average, [args], weighting=self.config.weighting, eta=self.config.eta_g)[0]
        self.parts.keep(sim.round + 1, clients, trained, after)
        return after

    def _settings(self) -> dict[str, Any]:
        names = ("eta_s", "eta_c", "lam", "direction", "perturbations", "client_feedback")
        settings = {name: getattr(self.config, name) for name in names}
        return {**settings, "most_steps": self.most_steps(self.config)}

    @staticmethod
    def most_steps(config: Any) -> int:
        """Return the tau that bounds the default rate of the server's steps; 1 where the rate is given."""
        if config.eta_s is not None:
            return 1
        return int(config.tau_max if config.tau == "adaptive" else config.tau)

    def server_steps(self, contribution: Args) -> int:
        """Return the participant's tau."""
        return int(contribution["tau"])

    def check(self, costs: Costs) -> None:
        """Refuse a deadline with an adaptive tau (each would wait for the other), and cuts without a mean."""
        check_cuts(self.config)
        if self.config.deadline is not None and self.config.tau == "adaptive":
            remedy = (
                "give tau a number, or use over_selection: an adaptive tau waits for the slowest embeddings"
            )
            raise refused("deadline", "a deadline with tau: adaptive", "a deadline with a fixed tau", remedy)

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: forward passes only."""
        return costs.zeroth_order_memory_bytes()


def exchange(task: Task, arguments: list[Args], **settings: Any) -> list[Model]:
    """Return both parts of every participant after one exchange (steps 1 to 4)."""
    return by_cut(task, arguments, lambda task, arguments: _exchange(task, arguments, **settings))


def _exchange(
    task: Task,
    arguments: list[Args],
    *,
    eta_s: float | None,
    eta_c: float | None,
    most_steps: int,
    lam: float,
    direction: Direction,
    perturbations: int,
    client_feedback: str,
) -> list[Model]:
    import torch

    eta_s, eta_c = rates(task, eta_s, eta_c, most_steps)
    names = [tuple(args["batch"]) for args in arguments]
    x, y = task.batch(names)
    x_c, x_s = client_parts(arguments), stack(arguments, "start", "server")  # [C, d_c], [C, d_s]

    def embedding(x_c: Tensor) -> Tensor:
        return task.received(task.activation(x_c, x), names)

    def draws(part: Any, *purpose: str | int) -> list[Any]:
        keys = [[("mu-splitfed", *purpose, *name, p) for name in names] for p in range(perturbations)]
        return [task.directions(of_p, part, direction) for of_p in keys]

    with torch.no_grad():
        z = embedding(x_c)  # [C, B, ...]
        server_steps(
            task, arguments, x_s, z, y, eta_s=eta_s, lam=lam, direction=direction, perturbations=perturbations
        )
        u_c = draws(task.client, "client")
        u_s = draws(task.server, "joint") if client_feedback == "joint" else []
        slopes = []  # of F along u_c, P times [C]
        for p, u in enumerate(u_c):
            z_plus, z_minus = two_sided(embedding, x_c, u, lam)
            if u_s:
                u_s[p].add_(x_s, lam)
            f_plus = task.server_loss(x_s, z_plus, y)
            if u_s:
                u_s[p].add_(x_s, -2.0 * lam)
            f_minus = task.server_loss(x_s, z_minus, y)
            if u_s:
                u_s[p].add_(x_s, lam)
            slopes.append(slope(f_plus, f_minus, lam))
        step_along_(x_c, u_c, slopes, eta_c)
        if u_s:
            step_along_(x_s, u_s, slopes, eta_s)
    return [{"client": x_c[i], "server": x_s[i]} for i in range(len(arguments))]


def rates(task: Task, eta_s: float | None, eta_c: float | None, most_steps: int) -> tuple[float, float]:
    """Return the learning rates of the server's and the client's steps: as given, or the defaults."""
    most_server = MAX_RATE_TIMES_DIMENSION / math.sqrt(most_steps)
    return (
        rate(eta_s, ETA_S, most_server, task.server.dimension),
        rate(eta_c, ETA_C, MAX_RATE_TIMES_DIMENSION, task.client.dimension),
    )


def server_steps(
    task: Task,
    arguments: list[Args],
    x_s: Tensor,
    z: Tensor,
    y: Tensor,
    **settings: Any,
) -> None:
    """Step each replica [C, d_s] tau times in place, on the unperturbed z; tau may differ by participant."""
    for step in range(max(args["tau"] for args in arguments)):
        live = [i for i, args in enumerate(arguments) if step < args["tau"]]
        names = [tuple(arguments[i]["batch"]) for i in live]
        if len(live) == len(arguments):
            server_step(task, names, step, x_s, z, y, **settings)
            continue
        live_x = x_s[live]
        server_step(task, names, step, live_x, z[live], y[live], **settings)
        x_s[live] = live_x


def server_step(
    task: Task,
    names: Sequence[BatchName],
    step: int,
    x_s: Tensor,
    z: Tensor,
    y: Tensor,
    *,
    eta_s: float,
    lam: float,
    direction: Direction,
    perturbations: int,
) -> None:
    """Make step number `step` (from 0) of each replica [C, d_s] in place, on the z of the named batches."""
    keys = [[("mu-splitfed", "server", *name, step, p) for name in names] for p in range(perturbations)]
    u = [task.directions(of_p, task.server, direction) for of_p in keys]
    descend_(lambda x_s: task.server_loss(x_s, z, y), x_s, u, lam, eta_s)
