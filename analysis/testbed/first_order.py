"""SplitFed V1 and V2 on the testbed: activations and labels up, cut gradients down, in every iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sflsim.algorithms.common.first_order import ClientSide, ServerSide
from sflsim.algorithms.splitfed_v2 import merge
from sflsim.learning.calls import BatchName, Model
from sflsim.learning.task import Task
from testbed.parties import Client, Peer
from testbed.sides import Synchronous
from testbed.wire import Message


def train_with_cut_gradients(me: Client, first: Message) -> None:
    """Forward, activation up, gradient down, backward for each batch; then the client part up."""
    x_c = first.tensors["client"][None].clone()  # [1, n_c]
    side = ClientSide(me.task, x_c, me.config.client_optimizer.plain())
    for _ in range(me.config.local_iterations):
        name = me.next_name()
        x, y = me.task.batch([name])
        with me.computing():
            z = side.forward([name], x)
        me.wire.send("activation", {"z": z, "y": y}, batch=name)
        cut_gradient = me.receive("gradient").tensors["z"]
        with me.computing():
            side.backward(cut_gradient)
    me.wire.send("model", {"client": x_c[0]})


class SplitFedV1(Synchronous):
    """A server replica for each participant, stepped on each activation that comes."""

    def client(self, me: Client, first: Message) -> None:
        """Train the client part with the server's gradients."""
        train_with_cut_gradients(me, first)

    def serve(self, peer: Peer, model: Model) -> Model:
        """Client part down; step on each activation that comes, and send its gradient back."""
        x_s, side = self._server_side(model)

        def step() -> Any:
            (cut_gradient,) = side.step(z, y, [name], z)
            self._stepped(name)
            return cut_gradient

        peer.send("model", {"client": model["client"]})
        for _ in range(self.config.local_iterations):
            z, y, name = peer.activation()
            z.requires_grad_()
            peer.send("gradient", {"z": peer.serve(step).result()})
        return {"client": peer.receive("model").tensors["client"], "server": x_s[0]}

    def _server_side(self, model: Model) -> tuple[Any, ServerSide]:
        """Return the flat server part [1, n_s] that a participant trains, and what trains it."""
        x_s = model["server"][None].clone()
        return x_s, ServerSide(self.task, x_s, self.config.server_optimizer.plain())

    def _stepped(self, name: BatchName) -> None:
        """Note a step."""


class SplitFedV2(SplitFedV1):
    """One server model that steps on the activations of all in the order of their arrival."""

    one_server_model = True

    def __init__(self, task: Task, config: Any) -> None:
        super().__init__(task, config)
        self._x_s, self._side = super()._server_side(task.initial_model())
        self.order: list[BatchName] = []
        """The batches, in the order in which the server model has stepped on them."""

    def close(self, model: Model, trained: Sequence[Model], participants: Sequence[int]) -> Model:
        """Return the mean of the client parts with the server model."""
        args = {"models": trained, "clients": participants, "server": {"server": self._x_s[0].clone()}}
        return merge(self.task, [args], weighting=self.config.weighting)[0]

    def _server_side(self, model: Model) -> tuple[Any, ServerSide]:
        return self._x_s, self._side

    def _stepped(self, name: BatchName) -> None:
        self.order.append(name)
