"""What a block does when it is called: outputs of its modules, random numbers drawn, what it keeps."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sflsim.errors import refused
from sflsim.foreign import foreign

SAMPLES = 4
CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4, "equal_nan": True}
FUNCTION = "a function of its input and parameters"
unfit = partial(refused, "workload.model")


@dataclass(frozen=True)
class Step:
    """What one module did in a pass: its output, and whether random numbers were drawn."""

    path: str
    module: nn.Module
    out: Any
    drew: bool


def gradients_by(out: Tensor, by: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return gradients of a weighted sum of an output, by name; zeros for what it does not depend on."""
    weights = torch.linspace(-1.0, 1.0, out.numel()).view_as(out)
    if not by or not out.requires_grad:
        return {name: torch.zeros_like(one) for name, one in by.items()}
    found = torch.autograd.grad((out * weights).sum(), list(by.values()), allow_unused=True)
    return {
        name: torch.zeros_like(one) if gradient is None else gradient
        for (name, one), gradient in zip(by.items(), found, strict=True)
    }


def observed(block: nn.Module, x: Tensor) -> list[Step]:
    """Run a block without gradients; return what its modules did, inner ones first."""
    names = {module: path for path, module in block.named_modules()}
    steps: list[Step] = []
    entered: list[Any] = []

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        kept = out.clone() if isinstance(out, Tensor) else out
        steps.append(Step(names[module], module, kept, entered.pop() != _generators()))

    hooks = [one.register_forward_pre_hook(lambda *_: entered.append(_generators())) for one in names]
    hooks += [one.register_forward_hook(leave) for one in names]
    try:
        with torch.no_grad(), foreign("workload.model", described("", "", block), FUNCTION):
            block(x)
    finally:
        for hook in hooks:
            hook.remove()
    return steps


def are_close(one: Any, other: Any) -> bool:
    """Tell whether two outputs are alike; what is no tensor is not compared."""
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return True
    return one.shape == other.shape and torch.allclose(one, other, **CLOSE)


def state_of(block: nn.Module) -> dict[str, Any]:
    """Return what a block may change while it runs: tensors, and plain attributes of its modules."""
    found: dict[str, Any] = {}
    for path, module in block.named_modules():
        for key, value in vars(module).items():
            if key != "training" and isinstance(value, int | float | str | None):
                found[f"{path}.{key}".lstrip(".")] = value
    tensors = (*block.named_parameters(), *block.named_buffers())
    return found | {path: tensor.detach().clone() for path, tensor in tensors}


def _generators() -> Any:
    """Return the states of the generators that everybody shares."""
    numbers = np.random.get_state(legacy=True)  # noqa: NPY002 (whether somebody else uses it)
    return torch.get_rng_state().numpy().tobytes(), numbers[1].tobytes(), numbers[2], random.getstate()  # type: ignore[index]


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the generators that everybody shares as they are."""
    numbers, plain = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(plain)


def described(name: str, path: str, module: nn.Module) -> str:
    """Return a module's name, its class, and where a user's class stands."""
    kind, full = type(module), f"{name}.{path}".strip(".")
    text = f"block {full} ({kind.__name__}" if full else f"a block ({kind.__name__}"
    if kind.__module__.partition(".")[0] != "torch":
        try:
            file, line = inspect.getsourcefile(kind), inspect.getsourcelines(kind)[1]
            text += f", {Path(str(file)).name}:{line}"
        except (OSError, TypeError):
            pass
    return f"{text})"
