"""GAS (AAAI 2025, arXiv 2409.01251): asynchronous split learning with generated activations.

Active clients do not wait for each other. For each batch the server returns the cut gradient of the
logit-adjusted cross entropy at its current parameters, and the client steps at once. The server
steps only when the activation buffer is full, with plain cross entropy on the buffered and the
generated activations (see `gas_buffers`). Costs per iteration: client forward, up |z| + |y|, server
forward and backward, down |z|, client backward; per E iterations the client part down and up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from sflsim.algorithms.common.first_order import (
    ClientSide,
    check_optimizer,
    exchange_gradients,
    gradients_of,
)
from sflsim.algorithms.common.gas_buffers import (
    SERVER_MODEL,
    Buffers,
    BuffersConfig,
    adjustment,
    server_batch,
)
from sflsim.algorithms.common.kept import KeptStates, StateConfig
from sflsim.algorithms.common.proximal import ProximalConfig
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Args, Handle, MathFunction
from sflsim.learning.label_statistics import Covariance
from sflsim.learning.optimizers import Clip, Optimizer, OptimizerConfig
from sflsim.mistakes import mistake
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.calls import BatchName, Model
    from sflsim.learning.task import Task


class Clipped(OptimizerConfig):
    """An optimizer that clips by default, as in the paper."""

    clip: Clip | None = Field(
        default=10.0, description="largest L2 norm of the part's gradient; null: no limit"
    )


SGD = Clipped.model_validate({"name": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4})


class Gas(Buffers):
    """Generative activation-aided asynchronous split federated learning."""

    class Config(StateConfig, ProximalConfig, BuffersConfig):
        """A client's optimizer starts afresh from the global part; the server's keeps its state.

        With `keep_state` the client's resumes from the client's last contribution.
        """

        algorithm: Literal["gas"] = "gas"
        client_optimizer: Clipped = SGD
        server_optimizer: Clipped = SGD

        @model_validator(mode="before")
        @classmethod
        def _clip_belongs_to_optimizers(cls, given: Any) -> Any:
            if isinstance(given, dict) and "clip" in given:
                clip, allowed = given["clip"], "clip as a key of client_optimizer and of server_optimizer"
                remedy = f"write 'client_optimizer: {{clip: {clip}, ...}}', and the server's"
                raise mistake(
                    "is no key of gas any more", f"clip {clip}", f"{allowed} (10 by default)", remedy
                )
            return given

    sends = ("activation", "gradient", "model")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.kept = KeptStates(config)

    def start_of(self, client_model: Handle) -> Args:
        """Return the argument of the part that the client's steps are held near, if they are."""
        return {"start": client_model} if self.config.proximal else {}

    def kept_state(self, client: Client) -> Args:
        """Return the arguments of the state after the client's last contribution."""
        return self.kept.of(client.index)

    def keep_state(self, client: Client, client_model: Handle) -> None:
        """Let the client's next contribution resume from this one's state."""
        self.kept.keep([{"client": client.index, "batches": [client_model]}], [client_model])

    def iterate(self, sim: Simulation, client: Client, arrived: Callable[[], None]) -> Protocol:
        """Train the client part on one batch with the server's cut gradient."""
        yield from exchange_gradients(sim, client, SERVER_MODEL, arrived)

    def exchange_math(self) -> tuple[MathFunction, Args]:
        """Return the math of one exchange and its settings."""
        optimizer = self.config.held(self.config.client_optimizer.plain())
        adjust = self.config.logit_adjustment
        return exchange, {"optimizer": optimizer, "logit_adjustment": adjust}

    def step_math(self) -> tuple[MathFunction, Args]:
        """Return the math of one server step and its settings."""
        return step, {"optimizer": self.config.server_optimizer.plain()}

    def step_flop(self, costs: Costs) -> float:
        """Return the FLOP of one batch in a server step."""
        return costs.server_forward_flop + costs.server_backward_flop

    def client_memory_bytes(self, costs: Costs) -> float:
        """Return a client's peak memory: it trains by backpropagation."""
        return costs.first_order_memory_bytes(self.config.client_optimizer.state_copies)

    def check(self, costs: Costs) -> None:
        """Refuse arguments that an optimizer does not take."""
        check_optimizer("client_optimizer", self.config.client_optimizer)
        check_optimizer("server_optimizer", self.config.server_optimizer)


def exchange(
    task: Task, arguments: list[Args], *, optimizer: dict[str, Any], logit_adjustment: bool
) -> list[Model]:
    """Return each client part and its optimizer's state after one step, with the activation that arrived."""
    return [_exchange(task, args, optimizer, logit_adjustment) for args in arguments]


def _exchange(task: Task, args: Args, optimizer: dict[str, Any], adjust: bool) -> Model:
    import torch

    x, y = task.batch([args["batch"]])  # [1, B, ...], [1, B]
    x_c = args["client_model"]["client"][None].clone()  # [1, d_c]
    client = ClientSide(task, x_c, optimizer)
    state = args.get("state", {}) if args["fresh"] else args["client_model"]
    client.optimizer.restore("optimizer", state)
    if "start" in args:
        start = task.client.parameters(task.client.views(args["start"]["client"][None]))
        client.optimizer.started_from(start)
    sent = client.forward([args["batch"]], x).detach().requires_grad_()
    received = task.received(sent, [args["batch"]])
    loss = adjusted_loss(task, args["server"]["server"], received, y, args["batch"], adjust)
    client.backward(*torch.autograd.grad(loss, sent))
    return {
        "client": x_c[0],
        "z": received.detach()[0],
        "y": y[0],
        **client.optimizer.state("optimizer"),
    }


def adjusted_loss(task: Task, server: Tensor, z: Tensor, y: Tensor, batch: BatchName, adjust: bool) -> Tensor:
    """Return the loss [1] of a server part [n_s] whose gradient by activations z [1, B, ...] a client gets.

    If wanted, it is adjusted to the labels of the batch's client. Running statistics stay as they are.
    """
    views = task.server.views(server[None].clone())
    logits = task.server.forward(views, z, task.training([batch]))
    return task.loss(logits + adjustment(task, batch[0], adjust), y)


def step(
    task: Task,
    arguments: list[Args],
    *,
    optimizer: dict[str, Any],
    covariance: Covariance,
    generate: bool,
) -> list[Model]:
    """Return the server part, its optimizer's state and the statistics after one step on a full buffer."""
    return [_step(task, args, optimizer, covariance, generate) for args in arguments]


def _step(
    task: Task,
    args: Args,
    optimizer: dict[str, Any],
    covariance: Covariance,
    generate: bool,
) -> Model:
    z, y, statistics = server_batch(task, args, covariance=covariance, generate=generate)
    x_s = args["server"]["server"][None].clone()  # [1, n_s]
    server, training = task.server.leaves(x_s), task.training([("gas", args["step"])])
    trained = task.server.parameters(server)
    gradients = gradients_of(task.loss(task.server.forward(server, z, training), y).sum(), trained)
    steps = Optimizer(trained, 1, optimizer)
    steps.restore("optimizer", args["server"])
    steps.step(gradients)
    return {"server": x_s[0], **steps.state("optimizer"), **statistics}
