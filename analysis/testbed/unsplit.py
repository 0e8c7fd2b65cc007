"""FedAvg on the testbed: the whole model down, trained by the client, and up."""

from __future__ import annotations

import torch

from sflsim.algorithms.common.first_order import train_part
from sflsim.learning.calls import Model
from testbed.parties import Client, Peer
from testbed.sides import Sides
from testbed.wire import Message


class FedAvg(Sides):
    """Rounds of local training and averaging."""

    def client(self, me: Client, first: Message) -> None:
        """Train the whole model on the client's own batches and send it back."""
        task, config, pulled = self.task, self.config, first.tensors
        x = torch.cat([pulled["client"], pulled["server"]])[None].clone()  # [1, n]
        batches_per_epoch = -(-task.samples(me.index) // task.batch_size(me.index))
        count = config.local_iterations or (config.epochs or 1) * batches_per_epoch
        names = [[me.next_name()] for _ in range(count)]
        batches = [task.batch(name) for name in names]
        with me.computing():
            train_part(task, task.whole, x, names, batches, config.optimizer.plain())
        n_c = task.client.size
        me.wire.send("model", {"client": x[0, :n_c], "server": x[0, n_c:]})

    def serve(self, peer: Peer, model: Model) -> Model:
        """Send the whole model and wait for it to come back."""
        peer.send("model", {part: model[part] for part in ("client", "server")})
        return peer.receive("model").tensors
