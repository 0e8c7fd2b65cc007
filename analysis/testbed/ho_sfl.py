"""HO-SFL on the testbed: three exchanges and two barriers in each step, and no model ever sent."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sflsim.algorithms.ho_sfl import mean_gradients, rebuilt, scalars_along, shared_directions, step
from sflsim.learning.calls import Model
from sflsim.learning.optimizers import Optimizer
from sflsim.learning.task import Task
from sflsim.learning.zeroth_order import Directions
from testbed.parties import PATIENCE_S, Client, Peer
from testbed.sides import Synchronous
from testbed.wire import Message


class HoSfl(Synchronous):
    """A client holds x_c and its optimizer's state; what it missed comes with its next seeds.

    A seed is the number of its round, as directions are named by round and place.
    """

    def __init__(self, task: Task, config: Any) -> None:
        super().__init__(task, config)
        self._x_c = task.initial_model()["client"][None].clone()  # [1, n_c], that a client holds
        part, optimizer = task.client, config.client_optimizer.plain()
        self._optimizer = Optimizer(part.parameters(part.leaves(self._x_c)), 1, optimizer)
        self._means: dict[int, Tensor] = {}  # the mean scalars [P] of each round
        self._synced: dict[int, int] = {}  # the last round whose means a client has
        self._gradient: Tensor

    def client(self, me: Client, first: Message) -> None:
        """Catch up, send z, answer its gradient with scalars, and step along the means."""
        rounds, missed = first.tensors["seeds"][:, 0].int().tolist(), first.tensors["missed"]
        for round, means in zip(rounds[:-1], missed, strict=True):
            self._step(me, means, self._directions(round))
        name = me.next_name()
        x, y = self.task.batch([name])
        with me.computing(), torch.no_grad():
            z = self.task.activation(self._x_c, x)
        me.wire.send("activation", {"z": z, "y": y}, batch=name)
        cut_gradient = me.receive("gradient").tensors["z"]
        with me.computing():
            u = self._directions(rounds[-1])
            scalars = scalars_along(self.task, self._x_c, x, z, cut_gradient, u, self.config.mu)
        me.wire.send("scalars", {"scalars": scalars})
        self._step(me, me.receive("means").tensors["means"], u)

    def _directions(self, round: int) -> list[Directions]:
        return shared_directions(self.task, round, self.config.perturbations, self.config.direction)

    def _step(self, me: Client, means: Tensor, u: list[Directions]) -> None:
        """Take the step that all clients take."""
        with me.computing():
            g = rebuilt(means, u, self.config.mu, self._x_c[0])[None]
            self._optimizer.step(self.task.client.parameters(self.task.client.views(g)))

    def open(self, model: Model, participants: Sequence[int]) -> None:
        """Wait for the scalars of all participants."""
        self._of: dict[int, Model] = {}
        self._all_in = threading.Barrier(len(participants), self._average, PATIENCE_S)

    def _average(self) -> None:
        """Find the means of a round when all of its scalars are in."""
        clients = sorted(self._of)
        samples = [1 if self.config.weighting == "uniform" else self.task.samples(one) for one in clients]
        weights = torch.tensor(samples) / sum(samples)  # [M]
        means = {
            name: torch.tensordot(weights, torch.stack([self._of[one][name] for one in clients]), dims=1)
            for name in ("scalars", "gradient")
        }
        self._means[len(self._means) + 1], self._gradient = means["scalars"], means["gradient"]

    def serve(self, peer: Peer, model: Model) -> Model:
        """Seeds down; the gradient of the activation that comes down; then the mean scalars down."""
        missed = range(self._synced.get(peer.index, 0) + 1, peer.round)
        each = self.config.perturbations
        seeds = torch.tensor([*missed, peer.round], dtype=torch.float32)[:, None].expand(-1, each)
        means = torch.cat([torch.empty(0, each), *(self._means[round][None] for round in missed)])
        peer.send("seeds", {"seeds": seeds, "missed": means})
        z, y, name = peer.activation()
        training = self.task.training_joined([name])
        cut_gradient, gradient = peer.serve(
            lambda: mean_gradients(self.task, model["server"], z, y, torch.ones(1), training)
        ).result()
        peer.send("gradient", {"z": cut_gradient})
        scalars = peer.receive("scalars").tensors["scalars"]
        self._of[peer.index] = {"scalars": scalars, "gradient": gradient}
        self._all_in.wait()
        peer.send("means", {"means": self._means[peer.round]})
        self._synced[peer.index] = peer.round
        peer.wire.flush()
        return {}

    def close(self, model: Model, trained: Sequence[Model], participants: Sequence[int]) -> Model:
        """Return both parts after the step from the means, with the optimizers' states."""
        round = len(self._means)
        aggregate = {"scalars": self._means[round], "gradient": self._gradient}
        optimizers = {
            key: getattr(self.config, key).plain() for key in ("client_optimizer", "server_optimizer")
        }
        settings = {key: getattr(self.config, key) for key in ("perturbations", "mu", "direction")}
        args = {"model": model, "round": round, "aggregate": aggregate}
        return step(self.task, [args], **optimizers, **settings)[0]
