"""How the mean of the clients' models becomes the next global model: as it is, by FedAvgM or by FedAdam.

With x the global model, Delta = mean - x and the symbols of the papers:

    mean      x' = mean
    fedavgm   v' = momentum v + Delta;  x' = x + rate v'                (Hsu et al., 2019, arXiv 1909.06335)
    fedadam   m' = beta_1 m + (1 - beta_1) Delta;  v' = beta_2 v + (1 - beta_2) Delta^2
              x' = x + rate m' / (sqrt(v') + adaptivity)                (Reddi et al., 2021, arXiv 2003.00295)

Both start from m = 0; v starts from 0 (fedavgm) or from adaptivity^2 (fedadam, as in the paper, which calls
it tau and has no bias correction). They are kept with the model, from round to round. Running statistics of
batch norm are no parameters: they are those of the mean. Where an algorithm moves only a part of the way to
the mean (eta_g, alpha), Delta is what it moves by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sflsim.component_fields import OneOf
from sflsim.fields import StepSize
from sflsim.learning.calls import Model
from sflsim.learning.graph.lineage import Args
from sflsim.learning.schedules import Rate

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.task import Task

Decay = Annotated[float, Field(ge=0, lt=1)]


class AggregationConfig(BaseModel):
    """Base of the rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str

    def plain(self) -> dict[str, Any]:
        """Return the rule as plain values, for `Simulation.learn`."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class Mean(AggregationConfig):
    """The mean is the next global model."""

    kind: Literal["mean"] = "mean"


class FedAvgM(AggregationConfig):
    """Momentum on the mean's way; with momentum 0 and rate 1 the mean itself."""

    kind: Literal["fedavgm"] = "fedavgm"
    rate: Rate = Field(default=1.0, description="learning rate of the server's step, or a schedule of it")
    momentum: Decay = Field(default=0.9, description="share of the last step's velocity that is kept")


class FedAdam(AggregationConfig):
    """Adam on the mean's way, without bias correction."""

    kind: Literal["fedadam"] = "fedadam"
    rate: Rate = Field(default=0.01, description="learning rate of the server's step, or a schedule of it")
    beta_1: Decay = Field(default=0.9, description="decay of the mean way")
    beta_2: Decay = Field(default=0.99, description="decay of the mean squared way")
    adaptivity: StepSize = Field(
        default=1e-3, description="added to the root of the mean squared way; called tau in the paper"
    )


KINDS: dict[str, type[Any]] = {"mean": Mean, "fedavgm": FedAvgM, "fedadam": FedAdam}
Aggregation = Annotated[Any, OneOf(lambda: KINDS)]


def move(
    task: Task, arguments: Sequence[Args], *, parts: Sequence[str], kind: str, **settings: float
) -> list[Model]:
    """Return each `mean` with the given parts moved from those of `model` by a rule, and the rule's state."""
    rule = RULES[kind]
    results = []
    for args in arguments:
        old, result = args["model"], dict(args["mean"])
        for name in parts:
            part, mean = getattr(task, name), args["mean"][name]
            x = old[name] if name in old else part.initial().to(mean)  # a head that no client has trained yet
            state = {
                key.removeprefix(f"aggregation.{name}."): value
                for key, value in old.items()
                if key.startswith(f"aggregation.{name}.")
            }
            moved, state = rule(x, mean, state, **settings)
            statistics, of_mean = part.statistics(moved[None]), part.statistics(mean[None])
            for statistic, one in zip(statistics, of_mean, strict=True):
                statistic.copy_(one)
            result |= {name: moved, **{f"aggregation.{name}.{key}": value for key, value in state.items()}}
        results.append(result)
    return results


def _fedavgm(x: Tensor, mean: Tensor, state: Model, *, rate: float, momentum: float) -> tuple[Tensor, Model]:
    """Return the next parameters and the velocity; with momentum 0 and rate 1 they have the mean's bits."""
    delta = mean - x
    v = momentum * state["v"] + delta if state else delta
    return mean + (rate * v - delta), {"v": v}


def _fedadam(
    x: Tensor, mean: Tensor, state: Model, *, rate: float, beta_1: float, beta_2: float, adaptivity: float
) -> tuple[Tensor, Model]:
    """Return the next parameters and both moments."""
    delta = mean - x
    m = (1 - beta_1) * delta + (beta_1 * state["m"] if state else 0.0)
    v = (1 - beta_2) * delta.square() + beta_2 * (state["v"] if state else adaptivity**2)
    return x + rate * m / (v.sqrt() + adaptivity), {"m": m, "v": v}


RULES: dict[str, Callable[..., tuple[Tensor, Model]]] = {"fedavgm": _fedavgm, "fedadam": _fedadam}
