"""MU-SplitFed on the testbed: the server steps each replica while z+ and z- still come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sflsim.algorithms.mu_splitfed import MuSplitFed as Simulated
from sflsim.algorithms.mu_splitfed import rates, server_step
from sflsim.learning.calls import BatchName, Model
from sflsim.learning.task import Task
from sflsim.learning.zeroth_order import slope, step_along_
from testbed.parties import Client, Peer
from testbed.sides import Synchronous
from testbed.wire import Message


class MuSplitFed(Synchronous):
    """Tau server steps from the moment z is in; or, if tau is adaptive, until everybody's z+- are in."""

    def __init__(self, task: Task, config: Any) -> None:
        super().__init__(task, config)
        self.eta_s, self.eta_c = rates(task, config.eta_s, config.eta_c, Simulated.most_steps(config))
        self.taus: list[dict[int, int]] = []
        """The steps made in each round, by client."""
        self._arrival = threading.Lock()
        self._awaited = 0  # participants of the round whose embeddings have not all come
        self._threads = ThreadPoolExecutor()

    def client(self, me: Client, first: Message) -> None:
        """Send z, then z+ and z- of every direction; step along them as the slopes that come back say."""
        task, config = self.task, self.config
        x_c = first.tensors["client"][None].clone()  # [1, n_c]
        name = me.next_name()
        x, y = task.batch([name])
        with torch.no_grad():
            with me.computing():
                z = task.activation(x_c, x)
            me.wire.send("activation", {"z": z, "y": y}, batch=name)
            directions = []
            for p in range(config.perturbations):
                with me.computing():
                    u = task.directions([("mu-splitfed", "client", *name, p)], task.client, config.direction)
                    u.add_(x_c, config.lam)
                    z_plus = task.activation(x_c, x)
                me.wire.send("moved", {"z": z_plus})
                with me.computing():
                    u.add_(x_c, -2.0 * config.lam)
                    z_minus = task.activation(x_c, x)
                    u.add_(x_c, config.lam)
                me.wire.send("moved", {"z": z_minus})
                directions.append(u)
            slopes = me.receive("slopes").tensors["slopes"]
            step_along_(x_c, directions, list(slopes[:, None]), self.eta_c)
        me.wire.send("model", {"client": x_c[0]})

    def open(self, model: Model, participants: Sequence[int]) -> None:
        """Wait for the embeddings of all participants."""
        self._awaited = len(participants)
        self.taus.append({})

    def serve(self, peer: Peer, model: Model) -> Model:
        """Step the replica from the moment z is in, while z+ and z- come; then the slopes down."""
        task, config = self.task, self.config
        x_s = model["server"][None].clone()  # [1, n_s]

        def slopes() -> Tensor:
            pairs = zip(moved[::2], moved[1::2], strict=True)
            with torch.no_grad():
                losses = [[task.server_loss(x_s, z, y) for z in pair] for pair in pairs]
            return torch.cat([slope(plus, minus, config.lam) for plus, minus in losses])

        peer.send("model", {"client": model["client"]})
        z, y, name = peer.activation()
        tau = self._steps(peer, x_s, z, y, name)
        moved = [peer.receive("moved").tensors["z"] for _ in range(2 * config.perturbations)]
        with self._arrival:
            self._awaited -= 1
        self.taus[-1][peer.index] = tau.result()
        peer.send("slopes", {"slopes": peer.serve(slopes).result()})
        return {"client": peer.receive("model").tensors["client"], "server": x_s[0]}

    def _steps(self, peer: Peer, x_s: Tensor, z: Tensor, y: Tensor, name: BatchName) -> Future[int]:
        """Step the replica in place; return the number of steps, once they are made.

        A fixed tau is one job of the server, an adaptive one a job for each step, so that replicas take
        turns. A step that starts after the last embeddings have come is none.
        """

        def step(number: int) -> None:
            settings = {key: getattr(self.config, key) for key in ("lam", "direction", "perturbations")}
            with torch.no_grad():
                server_step(self.task, [name], number, x_s, z, y, eta_s=self.eta_s, **settings)

        def all_of(tau: int) -> int:
            for number in range(tau):
                step(number)
            return tau

        def wanted(number: int) -> bool:
            if number and not self._awaited:
                return False
            step(number)
            return True

        def one_by_one() -> int:
            tau = 0
            while tau < self.config.tau_max and peer.serve(partial(wanted, tau)).result():
                tau += 1
            return tau

        if self.config.tau == "adaptive":
            return self._threads.submit(one_by_one)
        return peer.serve(lambda: all_of(self.config.tau))
