"""SL, plain split learning (Gupta and Raskar, 2018, arXiv 1810.06060): strictly sequential.

One client at a time trains E iterations with the server, then hands x_c to the next; nothing is
averaged. A round is one turn of each participant, in the order of the fleet. x_c is handed on
through the Fed Server: |x_c| up from the one, |x_c| down to the next. Within a turn the costs are
those of the first-order exchange.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from sflsim.algorithms.common.first_order import FirstOrderAlgorithm, FirstOrderConfig, local_iterations
from sflsim.algorithms.common.kept import resume, with_states
from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.learning.calls import stack
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.simulation import Lane, Simulation

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.task import Task


class SL(FirstOrderAlgorithm):
    """Plain split learning."""

    class Config(FirstOrderConfig):
        """The client's optimizer starts afresh in every turn: x_c alone is handed on. The server's lasts.

        With `keep_state` each client's goes on from its own last turn, whatever others have made of x_c.
        """

        algorithm: Literal["sl"] = "sl"

    per_client_cuts = "its clients hand one client part on"

    def protocol(self, sim: Simulation) -> Protocol:
        """Give every participant its turn, one after another, round after round."""
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
        """Return what a client's turn makes of `model`; None where the client is away or vanishes."""
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
        """Train what the last client has handed on; return it for the next."""
        client.begin(round)
        batches = yield from self.take_turn(sim, client)
        lane = {"start": model, "client": client.index, "batches": batches} | self.kept.of(client.index)
        trained = sim.learn(turn, [lane], **self.optimizers(), **self.kept.shared)
        self.kept.keep([lane], trained)
        return trained[0]


def turn(
    task: Task,
    lanes: list[Lane],
    *,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool = False,
) -> list[Model]:
    """Train both parts of `start` over `batches`; the server optimizer's state goes on."""
    return [_turn(task, lane, client_optimizer, server_optimizer, keep_state) for lane in lanes]


def _turn(
    task: Task,
    lane: Lane,
    client_optimizer: dict[str, Any],
    server_optimizer: dict[str, Any],
    keep_state: bool,
) -> Model:
    x_c, x_s = stack([lane], "start", "client"), stack([lane], "start", "server")  # [1, d_c], [1, d_s]
    steps = local_iterations(task, x_c, x_s, client_optimizer, server_optimizer)
    resume([lane], client_optimizer=steps.client_optimizer)
    steps.server_optimizer.restore("server_optimizer", lane["start"])
    for name in lane["batches"]:
        steps.exchange([name])
    model = {"client": x_c[0], "server": x_s[0], **steps.server_optimizer.state("server_optimizer")}
    return with_states([model], keep_state, client_optimizer=steps.client_optimizer)[0]
