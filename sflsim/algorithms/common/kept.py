"""States of optimizers that stay with the clients between their rounds.

With `keep_state` a client's optimizer goes on where its last contribution left it (momentum, Adam's
moments and step count), though the parameters that it starts from are the newest global ones: as if
each device made its optimizer once and loaded the weights that it pulls into its model; states of
clients are never averaged or sent. A contribution that does not count (dropped, or cut by absence)
leaves the state as it was before.

The server's state goes on with its model: where there is one server model, in any case; where every
client has a replica, with `keep_state`, averaged as the replicas are. All begin a round with the same
state and take as many steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sflsim.errors import refused
from sflsim.learning.graph.lineage import Handle
from sflsim.simulation.base import AlgorithmConfig, PerClientCut
from sflsim.simulation.simulation import Lane

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.optimizers import Optimizer


class StateConfig(AlgorithmConfig):
    """What becomes of the optimizer's state of a client that takes part again."""

    keep_state: bool = Field(
        default=False,
        strict=True,
        description="optimizers go on from where the last round left them; false: they start afresh in each",
    )


class KeptStates:
    """Where the state of each client lies: in what its last contribution that counts has made."""

    def __init__(self, config: StateConfig) -> None:
        self._wanted = config.keep_state
        self._of: dict[int, tuple[Handle, int]] = {}

    @property
    def of_replicas(self) -> Lane:
        """Return the argument by which averages are told to take the states of the replicas in."""
        return {"states": "server_optimizer"} if self._wanted else {}

    @property
    def shared(self) -> Lane:
        """Return the arguments by which the math is told to return states; none where nothing is kept."""
        return {"keep_state": True} if self._wanted else {}

    def of(self, client: int) -> Lane:
        """Return what a lane says of the client's state: where it lies, and the steps that made it."""
        if client not in self._of:
            return {}
        state, steps = self._of[client]
        return {"state": state, "steps": steps}

    def keep(self, lanes: Iterable[Lane], trained: Iterable[Handle]) -> None:
        """Take note of what clients have trained, a step on each of their `batches`."""
        if self._wanted:
            for lane, handle in zip(lanes, trained, strict=True):
                _, before = self._of.get(lane["client"], (None, 0))
                self._of[lane["client"]] = (handle, before + len(lane["batches"]))
                handle.held = True


def check_replicas(config: StateConfig) -> None:
    """Refuse to average the states of replicas that begin at different layers."""
    if config.keep_state and isinstance(config.cut, PerClientCut):
        remedy = "replicas of different layers have no common state of the optimizer; give one cut"
        raise refused(
            "keep_state", "keep_state with a cut for each client", "keep_state with one cut", remedy
        )


def steps_before(lane: Lane) -> int:
    """Return how many steps made the state that a lane starts from; stacked lanes have as many."""
    return int(lane.get("steps", 0))


def resume(lanes: Sequence[Lane], **optimizers: Optimizer) -> None:
    """Let each optimizer, by the name of its states, go on from the lanes' states, if they have any."""
    if lanes and "state" in lanes[0]:
        for name, optimizer in optimizers.items():
            optimizer.resume(name, [lane["state"] for lane in lanes])


def with_states(models: list[Model], keep_state: bool, **optimizers: Optimizer) -> list[Model]:
    """Return the lanes' models, with the states of the optimizers if they are to be kept."""
    if keep_state:
        for name, optimizer in optimizers.items():
            for model, state in zip(models, optimizer.states(name), strict=True):
                model.update(state)
    return models
