"""Calls that every algorithm uses: the untrained model, evaluation, averages, stacking lanes.

Each call maps a `Task` and its lanes to one value per lane, and is pure. Shapes: C lanes, d
parameters. Torch is imported inside, so that protocols can name the calls without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sflsim.learning.graph.lineage import Lane

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.task import Task

Model = dict[str, "Tensor"]
BatchName = tuple[int, int]

EVALUATION_BATCH = 1024


def stack(lanes: Iterable[Lane], *path: str) -> Tensor:
    """Return the tensors under `path` of every lane, stacked [C, ...]; a copy, free to be changed."""
    import torch

    tensors = []
    for lane in lanes:
        value: Any = lane
        for name in path:
            value = value[name]
        tensors.append(value)
    return torch.stack(tensors)


def initial(task: Task, lanes: Sequence[Lane]) -> list[Model]:
    """Return the untrained model."""
    return [task.initial_model() for _ in lanes]


def evaluate(task: Task, lanes: Sequence[Lane]) -> list[tuple[float, float]]:
    """Return (accuracy, mean cross entropy) of each lane's `model` on the held-out data.

    The second is inf where it is not finite.
    """
    return [_evaluate(task, lane["model"]) for lane in lanes]


def _evaluate(task: Task, model: Model) -> tuple[float, float]:
    import torch
    from torch.nn import functional as F

    right, loss, size = 0, 0.0, len(task.data.test_y)
    client, server = task.client.views(model["client"][None]), task.server.views(model["server"][None])
    with torch.no_grad():
        for start in range(0, size, EVALUATION_BATCH):
            x, y = (
                task.data.inputs(task.data.test_x[start : start + EVALUATION_BATCH]),
                task.data.test_y[start : start + EVALUATION_BATCH],
            )
            logits = task.server.apply(server, task.client.apply(client, x))
            right += int((logits.argmax(dim=1) == y).sum())
            loss += float(F.cross_entropy(logits, y, reduction="sum"))
    mean = loss / size
    return right / size, mean if mean < float("inf") else float("inf")


def is_finite(task: Task, lanes: Sequence[Lane]) -> list[tuple[float]]:
    """Return (1.0,) for each lane whose `model` holds finite values alone, else (0.0,)."""
    return [(float(all(bool(part.isfinite().all()) for part in lane["model"].values())),) for lane in lanes]


def average(
    task: Task, lanes: Sequence[Lane], *, weighting: str, eta: float = 1.0, states: str = ""
) -> list[Model]:
    """Move both parts of `model` by `eta` towards the weighted mean of `models`, those of `clients`.

    With `states`, the states of an optimizer under that name are averaged alike.
    """
    return [
        {
            **_average(task, lane, weighting, eta),
            **mean_state(lane["models"], shares(task, lane["clients"], weighting), states),
        }
        for lane in lanes
    ]


def _average(task: Task, lane: Lane, weighting: str, eta: float) -> Model:
    old, moved = lane["model"], {}
    for part in ("client", "server"):
        mean = weighted_mean(task, lane["models"], part, lane["clients"], weighting)
        moved[part] = mean if eta == 1.0 else old[part] + eta * (mean - old[part])
    return moved


def add_deltas(task: Task, lanes: Sequence[Lane], *, states: str = "") -> list[Model]:
    """Return `model` + sum_i weights[i] (models[i] - starts[i]) in both parts.

    A parameter that no model has moved keeps every bit. With `states`, the states of an optimizer under
    that name are averaged by the weights, which then add up to 1.
    """
    return [_add_deltas(task, lane) | _mean_state_of(task, lane, states) for lane in lanes]


def _mean_state_of(task: Task, lane: Lane, name: str) -> Model:
    import torch

    return mean_state(lane["models"], torch.tensor(lane["weights"], device=task.device), name)


def mean_state(models: Sequence[Model], shares: Tensor, name: str) -> Model:
    """Return the mean state of an optimizer; what counts its steps is the same in all `models`."""
    import torch

    from sflsim.learning.optimizers import is_counter

    return {
        entry: value
        if is_counter(entry)
        else torch.tensordot(shares, torch.stack([model[entry] for model in models]), dims=1)
        for entry, value in models[0].items()
        if name and entry.startswith(f"{name}.")
    }


def _add_deltas(task: Task, lane: Lane) -> Model:
    import torch

    weights = torch.tensor(lane["weights"], device=task.device)
    moved = {}
    for part in ("client", "server"):
        deltas = [new[part] - old[part] for new, old in zip(lane["models"], lane["starts"], strict=True)]
        moved[part] = lane["model"][part] + torch.tensordot(weights, torch.stack(deltas), dims=1)
    return moved


def weighted_mean(
    task: Task, models: Sequence[Model], part: str, clients: Sequence[int], weighting: str
) -> Tensor:
    """Return the mean of one part [d] over `models`, by the clients' samples or alike ("uniform")."""
    import torch

    weights = shares(task, clients, weighting)
    mean: Tensor = torch.tensordot(weights, torch.stack([model[part] for model in models]), dims=1)
    return mean


def shares(task: Task, clients: Sequence[int], weighting: str) -> Tensor:
    """Return how much each client counts in a mean, by its samples or alike ("uniform"); the sum is 1."""
    import torch

    counts = [1.0 if weighting == "uniform" else float(task.samples(client)) for client in clients]
    return torch.tensor(counts, device=task.device) / sum(counts)


def in_groups(
    lanes: Sequence[Lane],
    group: Callable[[Lane], int],
    train: Callable[[list[Lane]], list[Model]],
) -> list[Model]:
    """Call `train` once for the lanes of each group; return the results in the order of the lanes."""
    results: dict[int, Model] = {}
    for number in sorted({group(lane) for lane in lanes}):
        chosen = [place for place, lane in enumerate(lanes) if group(lane) == number]
        results.update(zip(chosen, train([lanes[place] for place in chosen]), strict=True))
    return [results[place] for place in range(len(lanes))]


def by_cut(
    task: Task, lanes: Sequence[Lane], train: Callable[[Task, list[Lane]], list[Model]]
) -> list[Model]:
    """Call `train` once for each cut among the lanes, on the task cut there and models cut there.

    A lane's `cut` is the number of blocks its client holds; its `start` and the models returned
    are cut where the task is.
    """

    def train_there(lanes: list[Lane]) -> list[Model]:
        cut = lanes[0]["cut"]
        there = task if cut == task.cut else task.at(cut)
        moved = [{**lane, "start": recut(lane["start"], there)} for lane in lanes]
        return [recut(model, task) for model in train(there, moved)]

    return in_groups(lanes, lambda lane: int(lane["cut"]), train_there)


def recut(model: Model, task: Task) -> Model:
    """Return a model with its two parts as they are where `task` is cut."""
    import torch

    size = task.client.size
    if model["client"].shape[0] == size:
        return model
    whole = torch.cat([model["client"], model["server"]])
    return {**model, "client": whole[:size], "server": whole[size:]}
