"""Any torch optimizer by its name, for one participant or for stacked ones. Torch lazily.

Most optimizers are elementwise, so one instance serves stacked participants as it serves one; those that
look at whole tensors (Adafactor) or keep a learning rate (ASGD) get one instance per participant. Gradients
are clipped per participant.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim.errors import Problem, did_you_mean
from sflsim.learning.schedules import Rate, at_round
from sflsim.learning.signatures import misfits
from sflsim.learning.without_compiler import without_compiler
from sflsim.mistakes import mistake

if TYPE_CHECKING:
    from torch import Tensor

NAMES = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD",
    "Adafactor",
)  # fmt: skip
PER_TENSOR = {"Adafactor"}
PER_PARTICIPANT = PER_TENSOR | {"ASGD"}
"""Get one instance per participant; ASGD, as it keeps its last learning rate, which a schedule changes."""
COUNTERS = {"step", "mu_product", "eta", "mu"}
"""What a state holds that follows from the number of steps alone: one number for all stacked participants."""
Clip = Annotated[float, Field(strict=True, gt=0)]


class OptimizerConfig(BaseModel):
    """An optimizer of torch.optim: its name, its learning rate and its own further arguments.

    With `clip` a gradient that is longer, over all parameters of the part that the optimizer steps, is
    shortened to it first (torch.nn.utils.clip_grad_norm_).
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str = Field(default="SGD", description="a class of torch.optim: " + ", ".join(NAMES))
    lr: Rate = Field(default=0.05, description="learning rate, or a schedule of it")
    clip: Clip | None = Field(default=None, description="longest gradient of the part, in L2; null: any")

    @model_validator(mode="after")
    def _known(self) -> OptimizerConfig:
        if self.name not in NAMES:
            remedy = did_you_mean(self.name, NAMES)
            raise mistake("is unknown", f"name {self.name!r}", ", ".join(NAMES), remedy)
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments beside name and learning rate."""
        return dict(self.model_extra or {})

    def unknown_arguments(self) -> tuple[list[str], list[str]]:
        """Return (arguments that this optimizer does not take, those it takes)."""
        taken = _argument_names(self.name)
        return [name for name in self.arguments if name not in taken], taken

    def misfits(self) -> list[Problem]:
        """Return what is of another type than torch's signature says, at the argument's name."""
        import torch

        return misfits(getattr(torch.optim, self.name), self.arguments)

    def wrong_value(self) -> str:
        """Return why torch refuses these values, found by a trial step on a matrix and a vector; else ""."""
        import torch

        leaves = [torch.zeros(2, 2, requires_grad=True), torch.zeros(2, requires_grad=True)]
        try:
            Optimizer(leaves, 1, at_round(self.plain(), 0)).step([torch.ones_like(leaf) for leaf in leaves])
        except Exception as error:  # whatever torch raises where a value does not suit it
            return str(error)
        return ""

    @property
    def state_copies(self) -> int:
        """Return how many further numbers the optimizer keeps for each parameter."""
        if self.name == "SGD":
            return 1 if self.arguments.get("momentum") else 0
        return {"Adagrad": 1, "RMSprop": 1, "Adafactor": 0}.get(self.name, 2)

    def plain(self) -> dict[str, Any]:
        """Return the Config as plain values, for `Simulation.learn`; without what is not set."""
        rates = {"lr": self.lr, "clip": self.clip}
        given = {name: value for name, value in rates.items() if value is not None}
        return {"name": self.name, **given, **self.arguments}


def _argument_names(name: str) -> list[str]:
    import torch

    taken = inspect.signature(getattr(torch.optim, name)).parameters
    hidden = ("self", "params", "lr", "foreach", "fused", "capturable", "differentiable", "maximize")
    return [argument for argument in taken if argument not in hidden]


class Optimizer:
    """Steps the leaves of one part for C participants; `leaves` are [C, *shape], or [*shape] for C = 1.

    With `proximal` (FedProx's mu) in the settings, mu times the way from the start is added to each gradient.
    """

    @without_compiler()
    def __init__(self, leaves: Sequence[Tensor], participants: int, settings: dict[str, Any]) -> None:
        import torch

        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
        }
        name = str(arguments.pop("name"))
        self._clip: float | None = arguments.pop("clip", None)
        self._proximal: float = arguments.pop("proximal", 0.0)
        self._participants = participants
        plain = name == "SGD" and arguments.keys() == {"lr"}
        make: Any = PlainSGD if plain else getattr(torch.optim, name)
        self._stepping = nullcontext if plain else without_compiler
        self.leaves = list(leaves)
        self._start = [leaf.detach().clone() for leaf in leaves] if self._proximal else []
        if name in PER_PARTICIPANT and participants > 1:
            self._groups = [[leaf.detach()[i] for leaf in leaves] for i in range(participants)]
            self._split = True
        else:
            self._groups = [self.leaves]
            self._split = False
        self._optimizers = [make(group, **arguments) for group in self._groups if group]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Take one step along `gradients`, shaped as the leaves."""
        if not self._optimizers:
            return  # everything is frozen
        if self._start:
            triples = zip(gradients, self.leaves, self._start, strict=True)
            gradients = [own + self._proximal * (leaf.detach() - start) for own, leaf, start in triples]
        if self._clip is not None:
            gradients = clipped(gradients, self._participants, self._clip)
        with self._stepping():
            for i, (group, optimizer) in enumerate(zip(self._groups, self._optimizers, strict=True)):
                for leaf, gradient in zip(group, gradients, strict=True):
                    leaf.grad = gradient[i] if self._split else gradient
                optimizer.step()

    def started_from(self, start: Sequence[Tensor]) -> None:
        """Hold the steps near `start`, shaped as the leaves, in place of what the leaves were."""
        self._start = [tensor.detach() for tensor in start] if self._proximal else []

    @without_compiler()
    def states(self, prefix: str) -> list[dict[str, Tensor]]:
        """Return each participant's state as tensors named "<prefix>.<parameter>.<entry>"."""
        import torch

        if not self._optimizers:
            return [{} for _ in range(self._participants)]
        states = [
            {
                f"{prefix}.{index}.{entry}": torch.as_tensor(value)
                for index, entries in optimizer.state_dict()["state"].items()
                for entry, value in entries.items()
                if value is not None
            }
            for optimizer in self._optimizers
        ]
        return [
            {
                name: self._of_participant(name, value, i).clone()
                for name, value in states[i % len(states)].items()
            }
            for i in range(self._participants)
        ]

    @without_compiler()
    def resume(self, prefix: str, states: Sequence[dict[str, Tensor]]) -> None:
        """Restore what `states` returned under the same prefix; all participants have taken as many steps."""
        names = [name for name in states[0] if name.startswith(f"{prefix}.")]
        if not names:
            return
        for i, optimizer in enumerate(self._optimizers):
            of_optimizer = [states[i]] if self._split else states
            entries: dict[int, dict[str, Tensor]] = {}
            for name in names:
                index, entry = name.removeprefix(f"{prefix}.").split(".", 1)
                entries.setdefault(int(index), {})[entry] = self._of_all(name, of_optimizer)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})

    def _of_participant(self, name: str, value: Tensor, i: int) -> Tensor:
        """Return participant i's entry of an optimizer's state."""
        shared = self._split or self._participants == 1 or is_counter(name)
        return value if shared else value[i]

    def _of_all(self, name: str, states: Sequence[dict[str, Tensor]]) -> Tensor:
        """Return the entry of an optimizer's state from those of its participants."""
        import torch

        shared = self._split or self._participants == 1 or is_counter(name)
        return states[0][name].clone() if shared else torch.stack([state[name] for state in states])

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Return the state of a single participant (see `states`)."""
        (state,) = self.states(prefix)
        return state

    def restore(self, prefix: str, state: dict[str, Tensor]) -> None:
        """Restore the state of a single participant (see `resume`)."""
        self.resume(prefix, [state])


def is_counter(name: str) -> bool:
    """Tell whether an entry of a state follows from the number of steps alone."""
    return name.rpartition(".")[2] in COUNTERS


def clipped(gradients: Sequence[Tensor], participants: int, clip: float) -> list[Tensor]:
    """Return gradients [C, *shape] (or [*shape] for C = 1), each participant's scaled to `clip` in L2.

    By the rule of torch.nn.utils.clip_grad_norm_: times clip / (norm + 1e-6) where that is below 1.
    """
    import torch

    flat = [gradient.reshape(participants, -1) for gradient in gradients]  # [C, d of each]
    norms = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g, dim=1) for g in flat]), dim=0)
    factors = (clip / (norms + 1e-6)).clamp(max=1.0)  # [C]
    return [
        (factors[:, None] * own).view(gradient.shape) for own, gradient in zip(flat, gradients, strict=True)
    ]


class PlainSGD:
    """What torch.optim.SGD is without further arguments: no state.

    torch's classes load its compiler when the first of them is made, which takes longer than a short run.
    """

    def __init__(self, leaves: Sequence[Tensor], lr: float) -> None:
        self._leaves = list(leaves)
        self._lr = lr

    def step(self) -> None:
        """Take a step along the gradients of the leaves."""
        import torch
        from torch.optim.sgd import sgd

        gradients = [leaf.grad for leaf in self._leaves if leaf.grad is not None]
        assert len(gradients) == len(self._leaves)
        with torch.no_grad():
            sgd(
                self._leaves, gradients, [None] * len(gradients), lr=self._lr,
                weight_decay=0.0, momentum=0.0, dampening=0.0, nesterov=False, maximize=False,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return that there is no state, in torch's form."""
        return {"state": {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse a state: nobody can have been given one."""
        assert not state["state"]
