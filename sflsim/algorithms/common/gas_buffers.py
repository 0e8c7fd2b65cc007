"""The two buffers of GAS (AAAI 2025, arXiv 2409.01251), for `gas` and `zo-gas`.

Every activation that arrives goes into the activation buffer. At Q_s activations the server takes
one step on all of them and on generated activations, drawn from each label's running Gaussian. A
client that has made its E iterations sends its part to the model buffer and is replaced at once by
a random idle client (by itself only if there is no other). The new client starts from the newest
global client part. At Q_c parts in the model buffer, their mean becomes the global client part; a
full buffer does nothing else. No client waits, so Q_c may exceed the number of active clients.
Nothing is discounted for staleness. A round is a full model buffer.

Costs of the server's step: those of the largest possible batch, Q_s B + (K - 1) B activations for
K labels (Q_s B without generation), whatever labels it has, since time never depends on what is
learned. Statistics, draws and averages cost nothing, as in the source.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.errors import refused
from sflsim.fields import Held, Passes
from sflsim.learning.calls import BatchName, weighted_mean
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle, MathFunction
from sflsim.learning.label_statistics import Covariance, LabelStatistics, missing_labels
from sflsim.simulation.asynchronous import Asynchronous
from sflsim.simulation.base import AveragingConfig, Weighting
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task

SERVER_MODEL = "server model"


class BuffersConfig(AveragingConfig):
    """The symbols of the paper; defaults are its settings."""

    averaged: ClassVar[tuple[str, ...]] = ("client",)
    q_s: Held = Field(default=10, description="arrivals in a full activation buffer (Q_s)")
    q_c: Held = Field(default=10, description="client parts in a full model buffer (Q_c)")
    local_iterations: Passes = Field(
        default=20, description="batches from pulling the global client part to sending it (E)"
    )
    generate: bool = Field(default=True, description="add generated activations to the server's batch")
    covariance: Covariance = Field(
        default="auto",
        description="of the generated activations; 'auto': full for up to 128 numbers per sample",
    )
    logit_adjustment: bool = Field(
        default=True, description="add the log of the client's label frequencies to the logits of its loss"
    )
    weighting: Weighting = Field(default="uniform", description="how clients count in the average")


class Buffers(Asynchronous):
    """Asynchronous clients, an activation buffer and a model buffer.

    A subclass defines one iteration of a client (`iterate`), and returns the math of one exchange
    (`exchange_math`) and of one server step (`step_math`), each with its settings.
    """

    per_client_cuts = "its one server model begins at one layer"
    per_client_batches = "its server generates activations of each label up to one batch size"
    redraws = False

    @property
    def unmasked(self) -> dict[str, tuple[str, str]]:
        """Return that activations can be generated where none of their numbers is a mask."""
        why = "numbers drawn from a Gaussian are no mask, and the paper defines none"
        return {"generate": ("false", why)} if self.config.generate else {}

    def open(self, sim: Simulation) -> None:
        """Start with empty buffers and both parts of the initial model."""
        self._client_part = self._server_part = self._stepped = self.model
        self._arrivals: list[Handle] = []
        self._parts: list[tuple[int, Handle]] = []
        self._server_steps = 0

    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Pull the global client part, make E iterations, send the part."""
        client_model, fresh = sim.pulled(client, self._client_part), True
        function, settings = self.exchange_math()
        start = self.start_of(client_model)

        def arrived(batch: BatchName) -> None:
            nonlocal client_model, fresh
            args = {
                "client_model": client_model,
                "server": self._server_part,
                "batch": batch,
                "fresh": fresh,
                **start,
            }
            args |= self.kept_state(client) if fresh else {}
            client_model, fresh = sim.learn(function, [args], **settings)[0], False
            self._buffer_activation(sim, client_model)

        yield client.pull(client.sent.model_bytes)
        for exchange in range(self.config.local_iterations):
            client.begin(client.round, exchange)
            yield from self.iterate(sim, client, partial(arrived, client.next_batch()))
        yield client.push(client.sent.model_bytes)
        self.keep_state(client, client_model)
        self._buffer_part(sim, client, sim.pushed([client_model], [(client.index, client.batches - 1)])[0])

    def start_of(self, client_model: Handle) -> Args:
        """Return the argument of the part that the client starts from, where its steps need that."""
        return {}

    def kept_state(self, client: Client) -> Args:
        """Return the arguments of the state that a client's optimizer resumes from."""
        return {}

    def keep_state(self, client: Client, client_model: Handle) -> None:
        """Keep the client's optimizer state, which is in `client_model`, if it stays with the client."""

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """Keep the client's activations that have arrived in the buffer."""

    def _buffer_activation(self, sim: Simulation, arrival: Handle) -> None:
        self._arrivals.append(arrival)
        if len(self._arrivals) < self.config.q_s:
            return
        self._server_steps += 1
        function, settings = self.step_math()
        args = {"server": self._server_part, "arrivals": self._arrivals, "step": self._server_steps}
        shared = {"covariance": self.config.covariance, "generate": self.config.generate}
        self._server_part, self._arrivals = sim.learn(function, [args], **shared, **settings)[0], []
        sim.process(self._serve_step(sim, self._server_part))

    def _serve_step(self, sim: Simulation, server_part: Handle) -> Protocol:
        """Step the server model, after the gradient of the arrival that filled the buffer."""
        batches = self.config.q_s + (sim.classes - 1 if self.config.generate else 0)
        yield sim.server.serve(batches * self.step_flop(sim.costs), "", sim.round, SERVER_MODEL)
        self._stepped = server_part
        self.model = self._joined(sim)
        sim.refresh(self.model, 1)

    def _buffer_part(self, sim: Simulation, client: Client, client_model: Handle) -> None:
        self._parts.append((client.index, client_model))
        if len(self._parts) < self.config.q_c:
            return
        clients, models = zip(*self._parts, strict=True)
        args = {"models": list(models), "clients": list(clients)}
        (mean,) = sim.learn(mean_part, [args], weighting=self.config.weighting)
        self._client_part = self.next_model(sim, self._client_part, mean)
        self._parts = []
        self.publish(sim, self._joined(sim), 0)

    def _joined(self, sim: Simulation) -> Handle:
        return sim.learn(joined, [{"client": self._client_part, "server": self._stepped}])[0]

    @abstractmethod
    def iterate(self, sim: Simulation, client: Client, arrived: Callable[[], None]) -> Protocol:
        """Exchange one batch with the server; call `arrived` when it enters the server's queue."""

    @abstractmethod
    def exchange_math(self) -> tuple[MathFunction, Args]:
        """Return the math of one exchange and its settings."""

    @abstractmethod
    def step_math(self) -> tuple[MathFunction, Args]:
        """Return the math of one server step and its settings."""

    @abstractmethod
    def step_flop(self, costs: Costs) -> float:
        """Return the FLOP of one batch in a server step."""

    def check_fleet(self, *, participants: int, clients: int, rounds: int | None) -> None:
        """Refuse an activation buffer that would never be full."""
        if rounds is None:
            return
        q_s = self.config.q_s
        most = self.config.local_iterations * (rounds * self.config.q_c + participants - 1)
        if q_s > most:
            found = f"{q_s} arrivals in a full activation buffer (Q_s)"
            remedy = "the server would never take a step; lower q_s, or raise stop.rounds or local_iterations"
            raise refused("q_s", found, f"at most the {most} arrivals that {rounds} rounds bring", remedy)


def mean_part(task: Task, arguments: list[Args], *, weighting: str) -> list[Model]:
    """Return the mean of the client parts in a full model buffer."""
    return [
        {"client": weighted_mean(task, args["models"], "client", args["clients"], weighting)}
        for args in arguments
    ]


def joined(task: Task, arguments: list[Args]) -> list[Model]:
    """Return the model of a client part and a server part."""
    return [{part: args[part][part] for part in ("client", "server")} for args in arguments]


def adjustment(task: Task, client: int, wanted: bool) -> Tensor | float:
    """Return log(label frequency) [K] of a client's samples, -inf for an absent label; 0 if not `wanted`."""
    if not wanted:
        return 0.0
    counts = task.data.train_y[task.shards[client].to(task.device)].bincount(minlength=task.data.classes)
    return (counts / counts.sum()).log()


def server_batch(
    task: Task, args: Args, *, covariance: Covariance, generate: bool
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return activations [1, N, ...] and labels [1, N] of a server step, and the statistics after it.

    First the statistics are updated with the buffer. Once every label has some, each label with fewer
    than B activations in the buffer gets generated ones up to B; these enter no statistics.
    """
    import torch

    z = torch.cat([arrival["z"] for arrival in args["arrivals"]])
    y = torch.cat([arrival["y"] for arrival in args["arrivals"]])
    if not generate:
        return z[None], y[None], {}
    step: int = args["step"]
    statistics = LabelStatistics(args["server"], covariance)
    statistics.update(z.flatten(1), y, float(step))
    missing = missing_labels(y, task.data.classes, task.batch_size(0))
    if missing and len(statistics.of) == task.data.classes:
        drawn, labels = statistics.sample(missing, (task.seed, "gas", "activations", step))
        z = torch.cat([z, drawn.to(z).view(-1, *z.shape[1:])])
        y = torch.cat([y, labels])
    return z[None], y[None], statistics.state()
