"""What an algorithm consists of: a Config, a protocol on the clock, and math that is called by key."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sflsim.clock.client import Client
from sflsim.clock.engine import Protocol
from sflsim.errors import Problem, ScenarioError
from sflsim.fleet.selection.policy import Fact
from sflsim.learning.aggregation import Aggregation, Mean, move
from sflsim.learning.compression import Compression, Kind
from sflsim.learning.costs import Costs
from sflsim.learning.graph.lineage import Handle
from sflsim.mistakes import mistake, mistake_at, wrong_value
from sflsim.simulation.simulation import Simulation

Weighting = Literal["samples", "uniform"]
UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that no name of a variant may have: control characters, line ends, surrogates."""


OF_SOME = {
    "aggregation": ("aggregation where models are averaged", "it averages none; drop the key"),
    "proximal": (
        "proximal where clients take first-order steps from a model that is averaged",
        "its clients take none; drop the key",
    ),
}
"""Fields of some algorithms: where they have a meaning, and why others have none."""


class PerClientCut(BaseModel):
    """A cut per client: weak devices hold fewer layers.

    Each client gets the deepest cut, up to `deepest`, that its memory holds. With `by: compute`, its
    computing for that cut must also take at most `within` times as long as that of the fleet's fastest
    device for `deepest`. Each client holds at least one block.
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
    compression: Compression | None = Field(
        default=None, description="the codec of each kind of message that the algorithm sends"
    )

    why_no_state: ClassVar[str] = "it has no optimizer that keeps one; drop the key"
    """Why an algorithm has no `keep_state`, and what to do instead."""

    @property
    def cycle(self) -> int:
        """The rounds after which what a client sends and computes repeats, its first round apart."""
        return 1

    @model_validator(mode="before")
    @classmethod
    def _has_a_state_to_keep(cls, given: Any) -> Any:
        if isinstance(given, dict) and "keep_state" in given and "keep_state" not in cls.model_fields:
            allowed = "keep_state where clients' optimizers start afresh in each round"
            raise wrong_value(f"keep_state for {given.get('algorithm')}", allowed, cls.why_no_state)
        return given

    @model_validator(mode="before")
    @classmethod
    def _has_what_some_have(cls, given: Any) -> Any:
        for key, (allowed, why) in OF_SOME.items():
            if isinstance(given, dict) and key in given and key not in cls.model_fields:
                raise mistake_at(key, "", f"{key} for {given.get('algorithm')}", allowed, why)
        return given

    @field_validator("name")
    @classmethod
    def _in_one_line(cls, name: str) -> str:
        if UNNAMEABLE.search(name):
            raise mistake("is no name", repr(name), "text in one line, without control characters")
        return name


class AveragingConfig(AlgorithmConfig):
    """Base of those whose algorithm averages models: how the mean becomes the next global model."""

    averaged: ClassVar[tuple[str, ...]] = ("client", "server")
    """The parts of the model that are averaged."""
    aggregation: Aggregation = Field(
        default=Mean(), description="the mean as it is, or a step of the server's optimizer towards it"
    )

    @model_validator(mode="after")
    def _averages_every_round(self) -> AveragingConfig:
        every = getattr(self, "aggregate_clients_every", 1)
        if every > 1 and not isinstance(self.aggregation, Mean):
            found = f"{self.aggregation.kind} with aggregate_clients_every {every}"
            remedy = "its momentum would mix averages of every round with those of some; set one of the two"
            raise mistake_at(
                "aggregation", "", found, "mean, where clients are averaged in some rounds", remedy
            )
        return self


class Algorithm(ABC):
    """A split-federated-learning algorithm: made from its Config, run by its protocol."""

    Config: ClassVar[type[AlgorithmConfig]]
    per_client_cuts: ClassVar[str] = "its clients must hold the same layers"
    """Why participants may not be cut at different layers; empty if they may."""
    per_client_batches: ClassVar[str] = ""
    """Why devices may not have batch sizes of their own; empty if they may."""
    when_diverged: ClassVar[str] = "lower the learning rate (lr) of its optimizers"
    """What to change if training has diverged."""
    reports: ClassVar[frozenset[Fact]] = frozenset()
    """What a policy of selection may read of it."""
    sends: ClassVar[tuple[Kind, ...]] = ()
    """The kinds of message that can be compressed: their bytes are those of `client.sent`, and the math takes
    activations by `task.received`, models by `sim.pulled` and `sim.pushed`."""
    model_parts: ClassVar[tuple[str, ...]] = ("client",)
    """The parts of the model that a client pulls and pushes: client, server, auxiliary."""
    unread: ClassVar[tuple[str, ...]] = ()
    """Paths of the scenario that do not affect this algorithm, e.g. `workload.cut`; `variants.cut` is the
    field of its Config."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def protocol(self, sim: Simulation) -> Protocol:
        """Run the algorithm on the clock, without an end; the simulation stops it."""

    @abstractmethod
    def client_memory_bytes(self, costs: Costs) -> float:
        """Return the peak memory of a client's training."""

    def server_memory_bytes(self, costs: Costs, participants: int) -> float:
        """Return the bytes of the models that the server holds at once; by default one server part.

        Gradients and optimizer state are not counted.
        """
        return costs.server_model_bytes

    def server_replicas(self, costs: Costs, participants: int, memory_bytes: float | None) -> int | None:
        """Return how many replicas the server can hold at a time; None if its memory does not limit them."""
        return None

    def server_least_bytes(self, costs: Costs, participants: int) -> float:
        """Return the bytes of memory that the server needs at least."""
        return self.server_memory_bytes(costs, participants)

    def server_peak_bytes(self, costs: Costs, participants: int, memory_bytes: float | None) -> float:
        """Return the peak bytes of the models that a server with this memory holds."""
        return self.server_memory_bytes(costs, participants)

    def next_model(self, sim: Simulation, model: Handle, mean: Handle) -> Handle:
        """Return the global model after `model`, by `aggregation`, from the `mean` of the clients' models."""
        config = self.config
        if not isinstance(config, AveragingConfig) or isinstance(config.aggregation, Mean):
            return mean
        args = {"model": model, "mean": mean}
        return sim.learn(move, [args], parts=list(config.averaged), **config.aggregation.plain())[0]

    def on_drop_out(self, sim: Simulation, client: Client) -> None:
        """React to a client that drops out before its participation is complete.

        By default the server cancels its waiting jobs; running jobs continue, as waste. The client's
        processes end in any case.
        """
        sim.server.cancel_waiting(client.name, client.round)

    def check_compression(self) -> None:
        """Refuse a codec for a kind of message that the algorithm does not send (raises ScenarioError)."""
        given = self.config.compression.given if self.config.compression else []
        allowed = f"codecs for {', '.join(self.sends)}" if self.sends else "no compression"
        problems = [
            Problem(
                f"compression.{kind}",
                f"a codec for the {kind} of {self.config.algorithm}, which sends none",
                allowed,
                "drop the key: it would change nothing",
            )
            for kind in given
            if kind not in self.sends
        ]
        if problems:
            raise ScenarioError(problems)

    @property
    def unmasked(self) -> dict[str, tuple[str, str]]:
        """Return fields whose value allows no attention mask beside activations: the allowed one, and why."""
        return {}

    def check(self, costs: Costs) -> None:  # noqa: B027 (optional)
        """Refuse a Config that does not fit the workload (raises ScenarioError)."""

    def check_fleet(self, *, participants: int, clients: int, rounds: int | None) -> None:  # noqa: B027
        """Refuse a Config that does not fit the fleet, or the rounds to run (raises ScenarioError)."""
