"""What a cut costs: FLOPs, bytes on the wire and memory, for one batch. No torch at the top.

`profiling` derives them from the real model on torch's meta device, without data or weights. One
convention: 2 FLOP per multiply-accumulate; only matrix products, convolutions and attention count
(see `profiling.flop`). A scenario may override any figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue

from sflsim.fields import COUNT, FLOP, TRAFFIC, Bytes, FieldFormat, Flop, Traffic
from sflsim.mistakes import mistake
from sflsim.work import Kinds, WorkByKind

SCALAR_BYTES = 4.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Figures of one cut for one batch of `batch_size` samples."""

    client_forward_flop: float
    client_backward_flop: float
    server_forward_flop: float
    server_backward_flop: float
    activation_bytes: float
    labels_bytes: float
    client_model_bytes: float
    server_model_bytes: float
    client_saved_bytes: float
    """Tensors that the client part saves for its backward pass."""
    client_live_bytes: float
    """Largest set of activations alive at once in the client's forward pass, input included."""
    whole_saved_bytes: float
    """Tensors that the unsplit network saves for its backward pass."""
    whole_live_bytes: float
    """Largest set of activations alive at once in the unsplit network's forward pass, input included."""
    auxiliary_forward_flop: float
    """Of a linear head on the activation, for algorithms whose clients have a loss of their own."""
    auxiliary_backward_flop: float
    auxiliary_model_bytes: float
    client_frozen_bytes: float = 0.0
    """Weights that the client part holds and nobody trains or sends (the base under adapters)."""
    server_frozen_bytes: float = 0.0
    scalar_bytes: float = SCALAR_BYTES
    client_step_bytes: float | None = None
    """What a training step of the client part holds at its worst moment beside the parameters: gradients
    so far, what is still saved, temporaries, the input. None where the figures above are given by hand."""
    whole_step_bytes: float | None = None
    """The same for the unsplit network."""

    def first_order_memory_bytes(self, optimizer_states: int) -> float:
        """Return a client's peak memory when it trains by backpropagation.

        Parameters, `optimizer_states` further copies, and the worst moment of a training step; where
        that is unknown, all gradients, what is saved for backward and once more what a forward pass
        holds alive, for the gradients of activations: more than a network takes, but for a few.
        """
        step_bytes = self.client_step_bytes
        if step_bytes is None:
            step_bytes = self.client_model_bytes + self.client_saved_bytes + self.client_live_bytes
        return (1 + optimizer_states) * self.client_model_bytes + self.client_frozen_bytes + step_bytes

    def whole_memory_bytes(self, optimizer_states: int) -> float:
        """Return a client's peak memory when it trains the unsplit model by backpropagation."""
        model_bytes = self.client_model_bytes + self.server_model_bytes
        step_bytes = self.whole_step_bytes
        if step_bytes is None:
            step_bytes = model_bytes + self.whole_saved_bytes + self.whole_live_bytes
        frozen_bytes = self.client_frozen_bytes + self.server_frozen_bytes
        return (1 + optimizer_states) * model_bytes + frozen_bytes + step_bytes

    def zeroth_order_memory_bytes(self) -> float:
        """Return a client's peak memory when it only runs forward passes: parameters and activations."""
        return self.client_model_bytes + self.client_frozen_bytes + self.client_live_bytes


class WorkConfig(BaseModel):
    """Work by kind of operation, for devices or a server with rates by kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    convolution: Flop = Field(default=0.0, description="of dense convolutions")
    depthwise: Flop = Field(default=0.0, description="of convolutions of each channel by itself")
    matmul: Flop = Field(default=0.0, description="of matrix products and attention")
    memory: Traffic = Field(default=0.0, description="what operations read and write")
    operations: Annotated[int, Field(strict=True, ge=0), COUNT] = Field(default=0, description="their number")
    passes: Annotated[int, Field(strict=True, ge=0), COUNT] = Field(default=1, description="of a batch")


class _Work(FieldFormat):
    """FLOP: a quantity, or a mapping of what they consist of by kind."""

    def read(self, value: Any, info: ValidationInfo | None = None) -> float:
        """Return the FLOP, as `WorkByKind` where their kinds are given."""
        if isinstance(value, WorkByKind):
            return value
        if not isinstance(value, Mapping):
            return FLOP.read(value)
        if not value:
            raise mistake("is empty", "no kind", "a quantity, or one or more of " + ", ".join(Kinds._fields))
        given = WorkConfig.model_validate(dict(value), context=info and info.context)
        return WorkByKind(Kinds(**{kind: float(amount) for kind, amount in given}))

    def write(self, value: float) -> Any:
        """Return what `read` turns into the same value."""
        if not isinstance(value, WorkByKind):
            return FLOP.write(value)
        kinds = value.kinds._asdict()
        counts = {key: int(kinds.pop(key)) for key in ("operations", "passes")}
        memory = {"memory": TRAFFIC.write(kinds.pop("memory"))}
        return {kind: FLOP.write(flop) for kind, flop in kinds.items()} | memory | counts

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is text with a unit, or a mapping."""
        return {"anyOf": [FLOP.json_schema(handler), handler(WorkConfig.__pydantic_core_schema__)]}


Work = Annotated[float, _Work()]


class CostOverrides(BaseModel):
    """`workload.costs:` fixed figures in place of the derived ones, each per batch."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    client_forward: Work | None = None
    client_backward: Work | None = None
    server_forward: Work | None = None
    server_backward: Work | None = None
    activation: Traffic | None = None
    labels: Traffic | None = None
    client_model: Traffic | None = Field(
        default=None, description="the client part, as sent to the Fed Server"
    )
    server_model: Traffic | None = None
    client_saved: Bytes | None = Field(default=None, description="saved for backward by the client part")
    client_live: Bytes | None = Field(default=None, description="activations alive in a forward pass")
    whole_saved: Bytes | None = Field(default=None, description="saved for backward by the unsplit network")
    whole_live: Bytes | None = Field(default=None, description="activations alive in its forward pass")
    auxiliary_forward: Work | None = Field(default=None, description="linear head on the activation")
    auxiliary_backward: Work | None = None
    auxiliary_model: Traffic | None = None
    client_frozen: Traffic | None = Field(
        default=None, description="held by the client, never trained or sent"
    )
    server_frozen: Traffic | None = None
    scalar: Traffic | None = Field(default=None, description="one scalar on the wire")
    client_step: Bytes | None = Field(
        default=None, description="worst moment of the client's training step beside its parameters"
    )
    whole_step: Bytes | None = Field(default=None, description="the same, of the unsplit network")

    def figures(self) -> dict[str, float]:
        """Return the overridden figures by the field names of `Costs`."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return {name + _suffix(name): value for name, value in given.items() if value is not None}

    def for_batches(self, factor: float) -> CostOverrides:
        """Return the figures for batches that are `factor` times as large.

        Of the memory of a training step, the gradients of the parameters stay as they are.
        """
        if factor == 1.0:
            return self
        given = {name: getattr(self, name) for name in FOLLOWS["batch_size"]}
        scaled = {name: value * factor for name, value in given.items() if value is not None}
        for step, parts in STEP_PARTS.items():
            name = step.removesuffix("_bytes")
            models = [getattr(self, part.removesuffix("_bytes")) or 0.0 for part in parts if "model" in part]
            if name in scaled:
                gradients = min(sum(models), given[name])
                scaled[name] = gradients + (given[name] - gradients) * factor
        return self.model_copy(update=scaled)

    def of_unknown_kinds(self) -> list[str]:
        """Return the keys of given FLOP above zero whose kinds are not given."""
        given = {name: getattr(self, name) for name in type(self).model_fields if _suffix(name) == "_flop"}
        return [name for name, flop in given.items() if flop and not isinstance(flop, WorkByKind)]

    def asked(self, workload: Callable[[], Costs], known: Mapping[str, float], asked: set[str]) -> Costs:
        """Return costs whose missing figures are derived on first access.

        `known` are figures that need no model, `workload` derives all; `asked` collects the keys of those
        that were derived.
        """
        figures = self.figures()
        outdated = {name: None for name, parts in STEP_PARTS.items() if parts & set(figures)}
        return Deferred({**known, **outdated, **figures}, workload, asked)

    def complete(self) -> Costs | None:
        """Return the costs where all are given, so that no model has to be asked."""
        figures = self.figures()
        needed = {field.name for field in fields(Costs) if field.default is not None}
        return Costs(**figures) if needed <= set(figures) else None

    def applied(self, derived: Costs) -> Costs:
        """Return `derived` with the given figures; a step's memory goes with figures that contradict it."""
        figures = self.figures()
        outdated: dict[str, Any] = {name: None for name, parts in STEP_PARTS.items() if parts & set(figures)}
        return replace(derived, **{**outdated, **figures})


class Deferred(Costs):
    """`Costs` whose missing figures are derived on first access.

    Python calls `__getattr__` only for a slot without a value, so later accesses are as fast as in `Costs`.
    """

    __slots__ = ("_asked", "_derive")

    def __init__(
        self, figures: Mapping[str, float | None], derive: Callable[[], Costs], asked: set[str]
    ) -> None:
        for name, value in {**figures, "_derive": derive, "_asked": asked}.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in {field.name for field in fields(Costs)}:
            raise AttributeError(name)
        value = getattr(self._derive(), name)
        self._asked.add(name.rpartition("_")[0])
        object.__setattr__(self, name, value)
        return value


STEP_PARTS = {
    "client_step_bytes": {"client_model_bytes", "client_saved_bytes", "client_live_bytes"},
    "whole_step_bytes": {
        "client_model_bytes",
        "server_model_bytes",
        "whole_saved_bytes",
        "whole_live_bytes",
    },
}
"""The figures that the memory of a training step rests on."""


EVERY_KEY = frozenset(CostOverrides.model_fields)
FOLLOWS = {
    "cut": EVERY_KEY - {"labels", "scalar", "whole_saved", "whole_live", "whole_step"},
    "batch_size": EVERY_KEY
    - {"client_model", "server_model", "auxiliary_model", "client_frozen", "server_frozen", "scalar"},
    "model": EVERY_KEY - {"labels", "scalar"},
    "dataset": EVERY_KEY - {"labels", "scalar"},
}
"""By a field of the workload, the keys of `workload.costs` whose derived figures change with it."""


def _suffix(name: str) -> str:
    return "_flop" if name.endswith(("forward", "backward")) else "_bytes"
