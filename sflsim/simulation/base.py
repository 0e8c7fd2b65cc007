"""What every algorithm is made of: a Config, a protocol on the clock, math called by key."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.errors import Problem, ScenarioError
from sflsim.learning.costs import Costs
from sflsim.mistakes import mistake, refusal
from sflsim.simulation.simulation import Simulation

Weighting = Literal["samples", "uniform"]
Count = Annotated[int, Field(strict=True, ge=1)]
UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, ends of lines and halves of characters: no name of a variant has them."""


class PerClientCut(BaseModel):
    """A cut of its own for every client: weak devices hold fewer layers.

    Each gets the deepest cut, up to `deepest`, that its memory holds (`by: memory`), and whose
    computing takes it at most `within` times as long as the fastest device of the fleet needs for
    `deepest` (`by: compute`); never less than one block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    by: Literal["compute", "memory"]
    deepest: int | str | None = Field(default=None, description="by default the model's last cut")
    within: float = Field(default=2.0, ge=1)


class AlgorithmConfig(BaseModel):
    """Fields that every variant of a scenario has."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    algorithm: str
    name: str = Field(default="", description="what tables and plots call the variant; made up where empty")
    cut: Annotated[int, Field(strict=True, ge=1)] | str | PerClientCut | None = Field(
        default=None,
        description="blocks the client holds, or its last block's name; the workload's cut by default",
    )

    why_no_state: ClassVar[str] = "it has no optimizer that keeps one; drop the key"
    """What an algorithm without `keep_state` answers to one that asks for it."""

    @model_validator(mode="before")
    @classmethod
    def _has_a_state_to_keep(cls, given: Any) -> Any:
        if isinstance(given, dict) and "keep_state" in given and "keep_state" not in cls.model_fields:
            allowed = "keep_state where clients' optimizers start afresh in each round"
            raise refusal(f"keep_state for {given.get('algorithm')}", allowed, cls.why_no_state)
        return given

    @field_validator("name")
    @classmethod
    def _in_one_line(cls, name: str) -> str:
        if UNNAMEABLE.search(name):
            raise mistake("is no name", repr(name), "text in one line, without control characters")
        return name


class Algorithm(ABC):
    """A split-federated-learning algorithm: made from its Config, run by its protocol."""

    Config: ClassVar[type[AlgorithmConfig]]
    per_client_cuts: ClassVar[str] = "its clients must hold the same layers"
    """Empty where participants may be cut at different layers, else the reason why not."""
    when_diverged: ClassVar[str] = "lower the learning rate (lr) of its optimizers"
    """What to turn where training has given a value that is not finite."""
    unread: ClassVar[tuple[str, ...]] = ()
    """Paths of the scenario that change nothing about this algorithm, e.g. `workload.cut`; `variants.cut`
    is a field of its own Config."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def protocol(self, sim: Simulation) -> Protocol:
        """Run the algorithm on the clock, for ever; the simulation ends it."""

    @abstractmethod
    def client_memory_bytes(self, costs: Costs) -> float:
        """Return the peak memory of a client's training."""

    def server_memory_bytes(self, costs: Costs, participants: int) -> float:
        """Return the bytes of the models that the server holds at once; here its one server part.

        Gradients and optimizer state are not counted.
        """
        return costs.server_model_bytes

    def server_places(self, costs: Costs, participants: int, memory_bytes: float | None) -> int | None:
        """Return how many participants the server can serve at a time; None where its memory bounds none."""
        return None

    def server_least_bytes(self, costs: Costs, participants: int) -> float:
        """Return the bytes of memory below which the server cannot serve anybody."""
        return self.server_memory_bytes(costs, participants)

    def server_peak_bytes(self, costs: Costs, participants: int, memory_bytes: float | None) -> float:
        """Return the bytes of the models that a server with this memory holds at once, at most."""
        return self.server_memory_bytes(costs, participants)

    def lost(self, sim: Simulation, client: Client) -> None:
        """Make good for a client that vanishes before its part is whole; what runs for it ends anyway.

        By default the server forgets its jobs that wait; those that it serves go on, as waste.
        """
        sim.server.forget(client.name, client.round)

    def check(self, costs: Costs) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse a Config that does not fit the workload (raises ScenarioError)."""

    def check_fleet(self, *, participants: int, clients: int, rounds: int | None) -> None:  # noqa: B027
        """Refuse a Config that does not fit the fleet, or the rounds to run (raises ScenarioError)."""


def refuse(path: str, found: object, allowed: str, remedy: str = "") -> ScenarioError:
    """Return the error for a Config that does not fit; `path` starts at the variant or at the root."""
    return ScenarioError(Problem(path, str(found), allowed, remedy))
