"""Optimizer states that stay with the clients between their rounds.

With `keep_state` a client's optimizer resumes where its last contribution left it (momentum, Adam's
moments and step count), but from the newest global parameters: as if each device made its optimizer
once and loaded the weights that it pulls into its model. States of clients are never averaged or
sent. A contribution that does not count (dropped, or interrupted) leaves the state unchanged.

The server's state continues with its model. A single server model always keeps its state. Replicas
keep it with `keep_state`; it is then averaged as the replicas are. All replicas start a round with the
same state and take the same number of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sflsim.errors import refused
from sflsim.learning.graph.lineage import Args, Handle
from sflsim.simulation.base import AlgorithmConfig, PerClientCut

if TYPE_CHECKING:
    from sflsim.learning.calls import Model
    from sflsim.learning.optimizers import Optimizer


class StateConfig(AlgorithmConfig):
    """Whether optimizers keep their states between rounds."""

    keep_state: bool = Field(
        default=False,
        strict=True,
        description="optimizers keep their states between rounds; false: they start afresh in each round",
    )


class KeptStates:
    """Where the state of each client is: in the model of its last contribution that counts."""

    def __init__(self, config: StateConfig) -> None:
        self._keep = config.keep_state
        self._of: dict[int, tuple[Handle, int]] = {}

    @property
    def of_replicas(self) -> Args:
        """Return the shared argument that makes averages include the states of the replicas."""
        return {"states": "server_optimizer"} if self._keep else {}

    @property
    def shared(self) -> Args:
        """Return the shared argument that makes the math return states; empty if none are kept."""
        return {"keep_state": True} if self._keep else {}

    def of(self, client: int) -> Args:
        """Return the arguments of a client's state: the model that holds it, and the steps that led to it."""
        if client not in self._of:
            return {}
        state, steps = self._of[client]
        return {"state": state, "steps": steps}

    def keep(self, contributions: Iterable[Args], trained: Iterable[Handle]) -> None:
        """Keep the states in what clients have `trained`, one step on each of their `batches`."""
        if self._keep:
            for contribution, handle in zip(contributions, trained, strict=True):
                _, before = self._of.get(contribution["client"], (None, 0))
                self._of[contribution["client"]] = (handle, before + len(contribution["batches"]))
                handle.held = True


def check_replicas(config: StateConfig) -> None:
    """Refuse to average the states of replicas that start at different layers."""
    if config.keep_state and isinstance(config.cut, PerClientCut):
        remedy = "replicas of different layers have no common state of the optimizer; give one cut"
        raise refused(
            "keep_state", "keep_state with a cut for each client", "keep_state with one cut", remedy
        )


def steps_before(args: Args) -> int:
    """Return the number of steps before the participant's state; stacked participants share it."""
    return int(args.get("steps", 0))


def resume(arguments: Sequence[Args], **optimizers: Optimizer) -> None:
    """Restore each optimizer, by the name of its states, from the participants' states, if they have any."""
    if arguments and "state" in arguments[0]:
        for name, optimizer in optimizers.items():
            optimizer.resume(name, [args["state"] for args in arguments])


def with_states(models: list[Model], keep_state: bool, **optimizers: Optimizer) -> list[Model]:
    """Return the participants' models, with the states of the optimizers if these are kept."""
    if keep_state:
        for name, optimizer in optimizers.items():
            for model, state in zip(models, optimizer.states(name), strict=True):
                model.update(state)
    return models
