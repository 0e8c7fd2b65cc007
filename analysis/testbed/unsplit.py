"""FedAvg and FedBuff on the testbed: the whole model down, trained by the client, and up."""

from __future__ import annotations

from typing import Any

import torch

from sflsim.algorithms.common.first_order import train_part
from sflsim.learning.calls import Model, add_deltas
from sflsim.learning.task import Task
from testbed.parties import Client, Peer
from testbed.sides import Asynchronous, Synchronous
from testbed.wire import Message


def train_whole(me: Client, first: Message) -> None:
    """Train the whole model on the client's own batches and send it back."""
    task, config, pulled = me.task, me.config, first.tensors
    x = torch.cat([pulled["client"], pulled["server"]])[None].clone()  # [1, n]
    batches_per_epoch = -(-task.samples(me.index) // task.batch_size(me.index))
    count = config.local_iterations or (config.epochs or 1) * batches_per_epoch
    names = [[me.next_name()] for _ in range(count)]
    batches = [task.batch(name) for name in names]
    with me.computing():
        train_part(task, task.whole, x, names, batches, config.optimizer.plain())
    n_c = task.client.size
    me.wire.send("model", {"client": x[0, :n_c], "server": x[0, n_c:]})


class FedAvg(Synchronous):
    """Rounds of local training and averaging."""

    def client(self, me: Client, first: Message) -> None:
        """Train the whole model."""
        train_whole(me, first)

    def serve(self, peer: Peer, model: Model) -> Model:
        """Send the whole model and wait for it to come back."""
        peer.send("model", model)
        return peer.receive("model").tensors


class FedBuff(Asynchronous):
    """A full buffer of deltas makes an update."""

    def __init__(self, task: Task, config: Any) -> None:
        super().__init__(task, config)
        self._model = task.initial_model()
        self._version = 0
        self._buffer: list[tuple[Model, Model, int]] = []  # trained, the model it started from, its version

    def client(self, me: Client, first: Message) -> None:
        """Train the whole model."""
        train_whole(me, first)

    def contribute(self, peer: Peer) -> None:
        """The newest model down; buffer what comes back."""
        with self.sharing:
            start, version = self._model, self._version
        peer.send("model", start)
        trained = peer.receive("model").tensors
        with self.sharing:
            self._buffer.append((trained, start, version))
            if len(self._buffer) == self.config.b:
                self._update()

    def _update(self) -> None:
        """Move the model along the buffered deltas, each by its staleness."""
        models, starts, versions = zip(*self._buffer, strict=True)
        rate = self.config.eta_g / self.config.b
        weights = [rate * (1 + self._version - version) ** -0.5 for version in versions]
        args = {"model": self._model, "models": models, "starts": starts, "weights": weights}
        (self._model,) = add_deltas(self.task, [args])
        self._buffer, self._version = [], self._version + 1
        self.publish(self._model)
