"""The two buffers of GAS (AAAI 2025, arXiv 2409.01251): what `gas` and `zo-gas` have in common.

Every arrival of an activation goes into the activation buffer; at Q_s arrivals the server takes
one step on all of them, topped up with activations drawn from each label's running Gaussian. A
client that has made its E iterations sends its part into the model buffer and is replaced at once by
an idle client drawn at random, never by itself unless there is no other. That one starts from the
newest global client part, whatever the buffer holds: at Q_c parts their mean becomes the global
client part, and that is all a full buffer does. Nobody waits, so Q_c may exceed the number of active
clients. Nothing is discounted for staleness. A round is a full model buffer.

Costs of the server's step: those of the largest batch it can have, Q_s B + (K - 1) B activations for
K labels (Q_s B without generation), whatever labels are there: time never depends on what is
learned. Statistics, draws and averages are free, as in the source.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.errors import refused
from sflsim.learning.calls import BatchName, weighted_mean
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Handle, MathFunction
from sflsim.learning.label_statistics import Covariance, LabelStatistics, missing_labels
from sflsim.simulation.asynchronous import Asynchronous
from sflsim.simulation.base import AlgorithmConfig, Count, Weighting
from sflsim.simulation.simulation import Lane, Simulation

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task

SERVER_MODEL = "server model"


class BuffersConfig(AlgorithmConfig):
    """The symbols of the paper; defaults are its settings."""

    q_s: Count = Field(default=10, description="arrivals in a full activation buffer (Q_s)")
    q_c: Count = Field(default=10, description="client parts in a full model buffer (Q_c)")
    local_iterations: int = Field(
        default=20, ge=1, le=4096, description="batches from taking the global client part to sending it (E)"
    )
    generate: bool = Field(default=True, description="top the server's batch up with drawn activations")
    covariance: Covariance = Field(
        default="auto", description="of the drawn activations; 'auto': full for up to 128 numbers per sample"
    )
    logit_adjustment: bool = Field(
        default=True, description="add the log of the client's label frequencies to the logits of its loss"
    )
    weighting: Weighting = Field(default="uniform", description="how clients count in the average")


class Buffers(Asynchronous):
    """Asynchronous clients, an activation buffer and a model buffer.

    A subclass says how a client spends its turn (`iterate`), and names the math of one exchange
    (`exchange_of`) and of one server step (`step_of`), each with its settings.
    """

    per_client_cuts = "its one server model begins at one layer"
    redraws = False

    def open(self, sim: Simulation) -> None:
        """Begin with empty buffers; both parts of the initial model are the current ones."""
        self._client_part = self._server_part = self._stepped = self.model
        self._arrivals: list[Handle] = []
        self._parts: list[tuple[int, Handle]] = []
        self._server_steps = 0

    def contribute(self, sim: Simulation, client: Client) -> Protocol:
        """Take the global client part, make E iterations, send the part."""
        own, fresh = self._client_part, True
        function, settings = self.exchange_of()

        def arrived(batch: BatchName) -> None:
            nonlocal own, fresh
            lane = {"own": own, "server": self._server_part, "batch": batch, "fresh": fresh}
            lane |= self.kept_state(client) if fresh else {}
            own, fresh = sim.learn(function, [lane], **settings)[0], False
            self._buffer_activation(sim, own)

        yield client.pull(client.costs.client_model_bytes)
        for exchange in range(self.config.local_iterations):
            client.begin(client.round, exchange)
            yield from self.iterate(sim, client, partial(arrived, client.next_batch()))
        yield client.push(client.costs.client_model_bytes)
        self.keep_state(client, own)
        self._buffer_part(sim, client, own)

    def kept_state(self, client: Client) -> Lane:
        """Return what a client's first lane says of the state that its optimizer goes on from."""
        return {}

    def keep_state(self, client: Client, own: Handle) -> None:
        """Take note of where a client's optimizer state is, if it stays with the client."""

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """Keep what has arrived: it is in the activation buffer, whoever it came from."""

    def _buffer_activation(self, sim: Simulation, arrival: Handle) -> None:
        self._arrivals.append(arrival)
        if len(self._arrivals) < self.config.q_s:
            return
        self._server_steps += 1
        function, settings = self.step_of()
        lane = {"server": self._server_part, "arrivals": self._arrivals, "number": self._server_steps}
        shared = {"covariance": self.config.covariance, "generate": self.config.generate}
        self._server_part, self._arrivals = sim.learn(function, [lane], **shared, **settings)[0], []
        sim.process(self._serve_step(sim, self._server_part))

    def _serve_step(self, sim: Simulation, server_part: Handle) -> Protocol:
        """Step the server model, after the gradient of the arrival that filled the buffer."""
        batches = self.config.q_s + (sim.classes - 1 if self.config.generate else 0)
        yield sim.server.serve(batches * self.step_flop(sim.costs), "", sim.round, SERVER_MODEL)
        self._stepped = server_part
        self.model = self._joined(sim)
        sim.refresh(self.model, 1)

    def _buffer_part(self, sim: Simulation, client: Client, own: Handle) -> None:
        self._parts.append((client.index, own))
        if len(self._parts) < self.config.q_c:
            return
        clients, models = zip(*self._parts, strict=True)
        lane = {"models": list(models), "clients": list(clients)}
        (self._client_part,) = sim.learn(mean_part, [lane], weighting=self.config.weighting)
        self._parts = []
        self.publish(sim, self._joined(sim), 0)

    def _joined(self, sim: Simulation) -> Handle:
        return sim.learn(joined, [{"client": self._client_part, "server": self._stepped}])[0]

    @abstractmethod
    def iterate(self, sim: Simulation, client: Client, arrived: Callable[[], None]) -> Protocol:
        """Exchange one batch with the server; call `arrived` when it takes its place in the queue."""

    @abstractmethod
    def exchange_of(self) -> tuple[MathFunction, Lane]:
        """Return the math of one exchange and its settings."""

    @abstractmethod
    def step_of(self) -> tuple[MathFunction, Lane]:
        """Return the math of one server step and its settings."""

    @abstractmethod
    def step_flop(self, costs: Costs) -> float:
        """Return what one batch in a server step costs."""

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


def mean_part(task: Task, lanes: list[Lane], *, weighting: str) -> list[Model]:
    """Return the mean of the client parts in a full model buffer."""
    return [
        {"client": weighted_mean(task, lane["models"], "client", lane["clients"], weighting)}
        for lane in lanes
    ]


def joined(task: Task, lanes: list[Lane]) -> list[Model]:
    """Return the model of a client part and a server part."""
    return [{part: lane[part][part] for part in ("client", "server")} for lane in lanes]


def adjustment(task: Task, client: int, wanted: bool) -> Tensor | float:
    """Return log(label frequency) [K] of a client's samples: -inf for a label it does not have."""
    if not wanted:
        return 0.0
    counts = task.data.train_y[task.shards[client].to(task.device)].bincount(minlength=task.data.classes)
    return (counts / counts.sum()).log()


def server_batch(
    task: Task, lane: Lane, *, covariance: Covariance, generate: bool
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return activations [1, N, ...] and labels [1, N] of a server step, and the statistics after it.

    First the statistics take in the buffer; once every label has some, each label with fewer than
    B activations in the buffer is topped up to B. Drawn activations enter no statistics.
    """
    import torch

    z = torch.cat([arrival["z"] for arrival in lane["arrivals"]])
    y = torch.cat([arrival["y"] for arrival in lane["arrivals"]])
    if not generate:
        return z[None], y[None], {}
    number: int = lane["number"]
    statistics = LabelStatistics(lane["server"], covariance)
    statistics.update(z.flatten(1), y, float(number))
    missing = missing_labels(y, task.data.classes, task.batch_size)
    if missing and len(statistics.of) == task.data.classes:
        drawn, labels = statistics.sample(missing, (task.seed, "gas", "activations", number))
        z = torch.cat([z, drawn.to(z).view(-1, *z.shape[1:])])
        y = torch.cat([y, labels])
    return z[None], y[None], statistics.state()
