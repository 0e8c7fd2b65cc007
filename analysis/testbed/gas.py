"""GAS on the testbed: nobody waits, and the server steps when enough activations have come."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor

from sflsim.algorithms.common.gas_buffers import mean_part
from sflsim.algorithms.gas import adjusted_loss, step
from sflsim.learning.calls import BatchName, Model
from sflsim.learning.task import Task
from testbed.first_order import train_with_cut_gradients
from testbed.parties import Client, Peer
from testbed.sides import Asynchronous
from testbed.wire import Message


class Gas(Asynchronous):
    """An activation buffer and a model buffer; the server's work is done in the order of arrival."""

    one_server_model = True
    redraws = False

    def __init__(self, task: Task, config: Any) -> None:
        super().__init__(task, config)
        self._client_part = self._server_part = self._stepped = task.initial_model()
        self._arrivals: list[Model] = []
        self._parts: list[tuple[int, Model]] = []
        self._steps: list[Future[Model]] = []
        self._count = 0

    def client(self, me: Client, first: Message) -> None:
        """Train the client part with the server's gradients."""
        train_with_cut_gradients(me, first)

    def contribute(self, peer: Peer) -> None:
        """The newest client part down; answer activations with gradients; buffer the part that comes."""
        peer.send("model", {"client": self._client_part["client"]})
        for _ in range(self.config.local_iterations):
            answer = self._answer(peer, *peer.activation())
            peer.send("gradient", {"z": answer.result()})
        part = peer.receive("model").tensors
        with self.sharing:
            self._buffer_part(peer.index, part)

    def _answer(self, peer: Peer, z: Tensor, y: Tensor, name: BatchName) -> Future[Tensor]:
        """Hand in the cut gradient, and the step of the server part where the buffer is full with that."""
        z.requires_grad_()

        def cut_gradient() -> Tensor:
            adjust = self.config.logit_adjustment
            loss = adjusted_loss(self.task, self._server_part["server"], z, y, name, adjust)
            return torch.autograd.grad(loss, z)[0]

        with self.sharing:  # so that a step is queued right behind the arrival that fills the buffer
            answer = peer.serve(cut_gradient)
            self._arrivals.append({"z": z.detach()[0], "y": y[0]})
            if len(self._arrivals) == self.config.q_s:
                arrivals, self._arrivals = self._arrivals, []
                self._steps.append(peer.server.serve(lambda: self._step(arrivals), "", peer.round))
        return answer

    def _step(self, arrivals: list[Model]) -> Model:
        """Step the server part on a full buffer."""
        self._count += 1
        args = {"server": self._server_part, "arrivals": arrivals, "step": self._count}
        settings = {name: getattr(self.config, name) for name in ("covariance", "generate")}
        optimizer = self.config.server_optimizer.plain()
        self._server_part = step(self.task, [args], optimizer=optimizer, **settings)[0]
        return self._server_part

    def _buffer_part(self, client: int, part: Model) -> None:
        """Buffer a client part; a full buffer makes the next global one."""
        self._parts.append((client, part))
        if len(self._parts) < self.config.q_c:
            return
        clients, models = zip(*self._parts, strict=True)
        args = {"models": models, "clients": clients}
        (self._client_part,) = mean_part(self.task, [args], weighting=self.config.weighting)
        self._parts = []
        while self._steps and self._steps[0].done():
            self._stepped = self._steps.pop(0).result()
        self.publish({**self._client_part, "server": self._stepped["server"]})
