"""What both sides do in a round, for each algorithm that the testbed has.

The same steps on the same batches and directions as the math in `algorithms`, in the places where
they belong: what a client computes in its process, what the server computes in the server's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sflsim.algorithms.common.first_order import train_part
from sflsim.algorithms.mu_splitfed import MuSplitFed, rates, server_steps
from sflsim.learning.calls import Model
from sflsim.learning.optimizers import Optimizer
from testbed.parties import Client, Peer


class Sides(NamedTuple):
    """A client's part of a round, given the tensors pulled; the server's, given the round's model."""

    client: Callable[[Client, Model], None]
    server: Callable[[Peer, Model], Model]


def v1_client(me: Client, pulled: Model) -> None:
    """Forward, activation and labels up, gradient down, backward; then the client part up."""
    task, config = me.task, me.config
    x_c = pulled["client"][None].clone()  # [1, n_c]
    own = task.client.leaves(x_c)
    optimizer = Optimizer(task.client.parameters(own), 1, config.client_optimizer.plain())
    for _ in range(config.local_iterations):
        name = me.next_name()
        x, y = task.batch([name])
        with me.computing():
            z = task.client.forward(own, x, task.training([name]))
        me.wire.send("activation", {"z": z, "y": y}, batch=name)
        above = me.receive("gradient").tensors["z"]
        with me.computing():
            optimizer.step(torch.autograd.grad(z, optimizer.leaves, above) if optimizer.leaves else ())
    me.wire.send("model", {"client": x_c[0]})


def v1_server(peer: Peer, model: Model) -> Model:
    """Client part down; step a replica on each activation that comes, and send its gradient back."""
    task, config = peer.server.task, peer.server.config
    x_s = model["server"][None].clone()  # [1, n_s]
    own = task.server.leaves(x_s)
    optimizer = Optimizer(task.server.parameters(own), 1, config.server_optimizer.plain())

    def step(z: Tensor, y: Tensor, batch: tuple[int, int]) -> Tensor:
        losses = task.loss(task.server.forward(own, z, task.training([batch])), y)
        *gradients, of_z = torch.autograd.grad(losses.sum(), [*optimizer.leaves, z])
        optimizer.step(gradients)
        return of_z

    peer.wire.send("model", {"client": model["client"]})
    for _ in range(config.local_iterations):
        came = peer.receive("activation")
        z, y = came.tensors["z"].requires_grad_(), came.tensors["y"]
        of_z = peer.serve(partial(step, z, y, tuple(came.fields["batch"]))).result()
        peer.wire.send("gradient", {"z": of_z})
    return {"client": peer.receive("model").tensors["client"], "server": x_s[0]}


def mu_client(me: Client, pulled: Model) -> None:
    """Send z, then z+ and z- of every direction; step along them as the slopes that come back say."""
    task, config = me.task, me.config
    x_c = pulled["client"][None].clone()  # [1, n_c]
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
        _, eta_c = rates(task, config.eta_s, config.eta_c, MuSplitFed.most_steps(config))
        for u, slope in zip(directions, slopes, strict=True):
            u.add_(x_c, slope[None] * (-eta_c / config.perturbations))
    me.wire.send("model", {"client": x_c[0]})


def mu_server(peer: Peer, model: Model) -> Model:
    """Step the replica tau times from the moment z is in, while z+ and z- come; then the slopes down."""
    task, config = peer.server.task, peer.server.config
    x_s = model["server"][None].clone()  # [1, n_s]

    def step(z: Tensor, y: Tensor, batch: tuple[int, int]) -> None:
        args = {"batch": batch, "tau": config.tau}
        settings = {name: getattr(config, name) for name in ("lam", "direction", "perturbations")}
        eta_s, _ = rates(task, config.eta_s, config.eta_c, MuSplitFed.most_steps(config))
        with torch.no_grad():
            server_steps(task, [args], x_s, z, y, eta_s=eta_s, **settings)

    def slopes_of(pairs: list[tuple[Tensor, Tensor]], y: Tensor) -> Tensor:
        with torch.no_grad():
            losses = [[task.server_loss(x_s, z, y) for z in pair] for pair in pairs]
        return torch.cat([(plus - minus) / (2.0 * config.lam) for plus, minus in losses])

    peer.wire.send("model", {"client": model["client"]})
    came = peer.receive("activation")
    z, y = came.tensors["z"], came.tensors["y"]
    steps = peer.serve(lambda: step(z, y, tuple(came.fields["batch"])))
    moved = [peer.receive("moved").tensors["z"] for _ in range(2 * config.perturbations)]
    steps.result()
    pairs = list(zip(moved[::2], moved[1::2], strict=True))
    slopes = peer.serve(lambda: slopes_of(pairs, y)).result()
    peer.wire.send("slopes", {"slopes": slopes})
    return {"client": peer.receive("model").tensors["client"], "server": x_s[0]}


def fedavg_client(me: Client, pulled: Model) -> None:
    """Train the whole model on the client's own batches and send it back."""
    task, config = me.task, me.config
    x = torch.cat([pulled["client"], pulled["server"]])[None].clone()  # [1, n]
    batches_per_epoch = -(-task.samples(me.index) // task.batch_size(me.index))
    count = config.local_iterations or (config.epochs or 1) * batches_per_epoch
    names = [[me.next_name()] for _ in range(count)]
    batches = [task.batch(name) for name in names]
    with me.computing():
        train_part(task, task.whole, x, names, batches, config.optimizer.plain())
    n_c = task.client.size
    me.wire.send("model", {"client": x[0, :n_c], "server": x[0, n_c:]})


def fedavg_server(peer: Peer, model: Model) -> Model:
    """Send the whole model and wait for it to come back."""
    peer.wire.send("model", model)
    return peer.receive("model").tensors


SIDES = {
    "splitfed-v1": Sides(v1_client, v1_server),
    "mu-splitfed": Sides(mu_client, mu_server),
    "fedavg": Sides(fedavg_client, fedavg_server),
}
