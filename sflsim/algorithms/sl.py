"""SL, plain split learning (Gupta and Raskar, 2018, arXiv 1810.06060): strictly sequential.

One client at a time trains E iterations with the server, then passes x_c to the next; nothing is
averaged. A round is one turn of each participant, in the order of the fleet. x_c passes through the
Fed Server: |x_c| up, then |x_c| down to the next client. Within a turn the costs are those of the
first-order exchange.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from sflsim.algorithms.common.first_order import FirstOrder, FirstOrderAlgorithm, FirstOrderConfig
from sflsim.algorithms.common.kept import resume, with_states
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import stack
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.simulation import Simulation

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task


class SL(FirstOrderAlgorithm):
    """Plain split learning."""

    class Config(FirstOrderConfig):
        """The client's optimizer starts afresh in every turn; the server's keeps its state.

        With `keep_state` each client's optimizer resumes from its own last turn.
        """

        algorithm: Literal["sl"] = "sl"

    per_client_cuts = "its clients pass on one client part"

    def protocol(self, sim: Simulation) -> Protocol:
        """Give each participant its turn, round after round."""
        model = sim.initial_model()
        for round in count(1):
            turns = 0
            while not turns:
                for client in (yield from sim.select_available(round)):
                    after = yield from self._next_turn(sim, client, model, round)
                    client.release()
                    turns, model = (turns, model) if after is None else (turns + 1, after)
            sim.finish_round(model, self.config.local_iterations * turns)

    def _next_turn(self, sim: Simulation, client: Client, model: Handle, round: int) -> Protocol:
        """Return `model` after a client's turn; None if the client is unavailable or disconnects."""
        if sim.always_available:
            return (yield from self._turn(sim, client, model, round))
        if not sim.is_available(client):
            return None
        client.begin(round)
        after = yield sim.take_part(self._turn(sim, client, model, round), client)
        if after is not None:
            sim.complete(client)
        return after

    def _turn(self, sim: Simulation, client: Client, model: Handle, round: int) -> Protocol:
        """Train the model of the last client; return it for the next."""
        client.begin(round)
        start = sim.pulled(client, model)
        batches = yield from self.take_turn(sim, client)
        args = {"start": start, "client": client.index, "batches": batches} | self.kept.of(client.index)
        trained = sim.learn(turn, [args], **self.optimizers(), **self.kept.shared)
        self.kept.keep([args], trained)
        return sim.pushed(trained, batches[-1:])[0]


def turn(
    task: Task,
    arguments: list[Args],
    *,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool = False,
) -> list[Model]:
    """Train both parts of `start` over `batches`; the server optimizer keeps its state."""
    return [_turn(task, args, client_optimizer, server_optimizer, keep_state) for args in arguments]


def _turn(
    task: Task,
    args: Args,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool,
) -> Model:
    x_c, x_s = stack([args], "start", "client"), stack([args], "start", "server")  # [1, d_c], [1, d_s]
    steps = FirstOrder(task, x_c, x_s, client_optimizer, server_optimizer)
    resume([args], client_optimizer=steps.client.optimizer)
    steps.server.optimizer.restore("server_optimizer", args["start"])
    for name in args["batches"]:
        steps.exchange([name])
    model = {"client": x_c[0], "server": x_s[0], **steps.server.optimizer.state("server_optimizer")}
    return with_states([model], keep_state, client_optimizer=steps.client.optimizer)[0]
