"""CSE-FSL on the testbed: local losses at the client, activations that nobody answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sflsim.algorithms.common.first_order import ServerSide
from sflsim.algorithms.common.local_loss import head, is_sent, merge, with_head
from sflsim.algorithms.cse_fsl import forward, gradients
from sflsim.learning.calls import BatchName, Model
from sflsim.learning.optimizers import Optimizer
from sflsim.learning.task import Task
from testbed.parties import Client, Peer
from testbed.sides import Synchronous
from testbed.wire import Message

BOTH = ("client", "auxiliary")


class CseFsl(Synchronous):
    """One server model; its steps that are not done when a round ends count in a later one."""

    one_server_model = True

    def __init__(self, task: Task, config: Any) -> None:
        super().__init__(task, config)
        self._x_s = task.initial_model()["server"][None].clone()
        self._side = ServerSide(task, self._x_s, config.server_optimizer.plain())
        self._submitting = threading.Lock()
        self._steps: list[tuple[BatchName, Future[Tensor]]] = []
        self.counted: list[list[BatchName]] = []
        """The batches whose steps count in each round, in the order of the steps."""

    def client(self, me: Client, first: Message) -> None:
        """Train part and head; the activation of every q-th batch up; both up."""
        task, config, both = self.task, self.config, with_head(self.task)
        x = torch.cat([first.tensors[part] for part in BOTH])[None].clone()  # [1, n_c + n_a]
        optimizer = Optimizer(both.parameters(both.leaves(x)), 1, config.client_optimizer.plain())
        for exchange in range(config.local_iterations):
            name = me.next_name()
            inputs, y = task.batch([name])
            with me.computing():
                leaves, z = forward(task, both, x, [name], inputs)
            if is_sent(exchange, config.q):
                me.wire.send("activation", {"z": z, "y": y}, batch=name)
            with me.computing():
                optimizer.step(gradients(task, both, leaves, z, y, [name]))
        n_c = task.client.size
        me.wire.send("model", {"client": x[0, :n_c], "auxiliary": x[0, n_c:]})

    def serve(self, peer: Peer, model: Model) -> Model:
        """Part and head down; hand in a step on each activation that comes; part and head up."""
        peer.send("model", {"client": model["client"], "auxiliary": head(self.task, model)})
        for _ in range(self.config.local_iterations // self.config.q):
            z, y, name = peer.activation()
            with self._submitting:
                self._steps.append((name, peer.serve(partial(self._step, z, y, name))))
        return peer.receive("model").tensors

    def _step(self, z: Tensor, y: Tensor, name: BatchName) -> Tensor:
        """Return the server part [n_s] after a step."""
        self._side.step(z, y, [name])
        return self._x_s[0].clone()

    def close(self, model: Model, trained: Sequence[Model], participants: Sequence[int]) -> Model:
        """Return the mean parts and heads, and the server part after the steps that are done."""
        args = {"model": model, "models": trained, "clients": participants, "arrivals": []}
        optimizer = self.config.server_optimizer.plain()
        merged = merge(self.task, [args], weighting=self.config.weighting, server_optimizer=optimizer)[0]
        done = [(name, step.result()) for name, step in self._steps if step.done()]
        self._steps = self._steps[len(done) :]
        self.counted.append([name for name, _ in done])
        return {**merged, "server": done[-1][1]} if done else merged
