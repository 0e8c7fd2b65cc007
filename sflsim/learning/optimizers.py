"""Any torch optimizer by its name, for one participant or for stacked ones. Torch lazily.

Most optimizers treat every number alike, so one of them serves stacked lanes as it serves one;
those that look at whole tensors (Adafactor) get one instance per lane.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sflsim.errors import Problem, did_you_mean
from sflsim.learning.signatures import misfits

if TYPE_CHECKING:
    from torch import Tensor

NAMES = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD",
    "Adafactor",
)  # fmt: skip
PER_TENSOR = {"Adafactor"}


class OptimizerConfig(BaseModel):
    """An optimizer of torch.optim: its name, its learning rate and its own further arguments."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str = Field(default="SGD", description="a class of torch.optim: " + ", ".join(NAMES))
    lr: float = Field(default=0.05, gt=0)

    @model_validator(mode="after")
    def _known(self) -> OptimizerConfig:
        if self.name not in NAMES:
            raise PydanticCustomError(
                "one_of",
                "{reason}",
                {
                    "reason": "is unknown",
                    "found": f"name {self.name!r}",
                    "allowed": ", ".join(NAMES),
                    "remedy": did_you_mean(self.name, NAMES),
                },
            )
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

    def refusal(self) -> str:
        """Return why torch refuses these values, found by a trial step on a matrix and a vector; else ""."""
        import torch

        leaves = [torch.zeros(2, 2, requires_grad=True), torch.zeros(2, requires_grad=True)]
        try:
            Optimizer(leaves, 1, self.plain()).step([torch.ones_like(leaf) for leaf in leaves])
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
        """Return the Config as plain values, for a keyed call."""
        return {"name": self.name, "lr": self.lr, **self.arguments}


def _argument_names(name: str) -> list[str]:
    import torch

    taken = inspect.signature(getattr(torch.optim, name)).parameters
    hidden = ("self", "params", "lr", "foreach", "fused", "capturable", "differentiable", "maximize")
    return [argument for argument in taken if argument not in hidden]


class Optimizer:
    """Steps the leaves of one part for C lanes; `leaves` are [C, *shape], or [*shape] for C = 1."""

    def __init__(self, leaves: Sequence[Tensor], lanes: int, settings: dict[str, Any]) -> None:
        import torch

        arguments = {
            key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
        }
        name = str(arguments.pop("name"))
        plain = name == "SGD" and arguments.keys() == {"lr"}
        make: Any = PlainSGD if plain else getattr(torch.optim, name)
        self.leaves = list(leaves)
        if name in PER_TENSOR and lanes > 1:
            self._groups = [[leaf.detach()[lane] for leaf in leaves] for lane in range(lanes)]
            self._split = True
        else:
            self._groups = [self.leaves]
            self._split = False
        self._optimizers = [make(group, **arguments) for group in self._groups if group]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Take one step along `gradients`, shaped as the leaves."""
        if not self._optimizers:
            return  # everything is frozen
        for lane, (group, optimizer) in enumerate(zip(self._groups, self._optimizers, strict=True)):
            for leaf, gradient in zip(group, gradients, strict=True):
                leaf.grad = gradient[lane] if self._split else gradient
            optimizer.step()

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Return the state for one lane as tensors named "<prefix>.<parameter>.<entry>"."""
        import torch

        assert len(self._groups) == 1
        if not self._optimizers:
            return {}
        state = self._optimizers[0].state_dict()["state"]
        return {
            f"{prefix}.{index}.{entry}": torch.as_tensor(value).clone()
            for index, entries in state.items()
            for entry, value in entries.items()
            if value is not None
        }

    def restore(self, prefix: str, state: dict[str, Tensor]) -> None:
        """Take over a state that `state` returned under the same prefix."""
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith(f"{prefix}."):
                index, entry = name.removeprefix(f"{prefix}.").split(".", 1)
                entries.setdefault(int(index), {})[entry] = value.clone()
        if entries:
            (optimizer,) = self._optimizers
            optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})


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
