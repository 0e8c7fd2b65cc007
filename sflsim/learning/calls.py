"""Calls that every algorithm uses: the untrained model, evaluation, averages, stacking.

Each function is pure: it maps a `Task` and the arguments of C participants to C values. d is the number
of parameters. Torch is imported inside, so that protocols can record calls without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sflsim.learning.graph.lineage import Args

if TYPE_CHECKING:
    from torch import Tensor

    from sflsim.learning.task import Task

Model = dict[str, "Tensor"]
BatchName = tuple[int, int]

EVALUATION_BATCH = 1024


def stack(arguments: Iterable[Args], *path: str) -> Tensor:
    """Return the tensors under `path` in all `arguments`, stacked [C, ...]; a copy that may be changed."""
    import torch

    tensors = []
    for args in arguments:
        value: Any = args
        for name in path:
            value = value[name]
        tensors.append(value)
    return torch.stack(tensors)


def initial(task: Task, arguments: Sequence[Args]) -> list[Model]:
    """Return the untrained model."""
    return [task.initial_model() for _ in arguments]


def evaluate(task: Task, arguments: Sequence[Args]) -> list[tuple[float, float]]:
    """Return (accuracy, mean cross entropy) of each `model` on the held-out data.

    The second is inf where it is not finite.
    """
    return [_evaluate(task, args["model"]) for args in arguments]


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


def is_finite(task: Task, arguments: Sequence[Args]) -> list[tuple[float]]:
    """Return (1.0,) for each `model` with only finite values, else (0.0,)."""
    return [
        (float(all(bool(part.isfinite().all()) for part in args["model"].values())),) for args in arguments
    ]


def average(
    task: Task, arguments: Sequence[Args], *, weighting: str, eta: float = 1.0, states: str = ""
) -> list[Model]:
    """Move both parts of `model` by `eta` towards the weighted mean of `models`, those of `clients`.

    With `average` the client part moves from that model's.

    With `states`, the states of an optimizer under that name are averaged alike.
    """
    return [
        {
            **_average(task, args, weighting, eta),
            **mean_state(args["models"], client_weights(task, args["clients"], weighting), states),
        }
        for args in arguments
    ]


def _average(task: Task, args: Args, weighting: str, eta: float) -> Model:
    old, moved = args["model"], {}
    for part in ("client", "server"):
        mean = weighted_mean(task, args["models"], part, args["clients"], weighting)
        before = (args["average"] if part == "client" and "average" in args else old)[part]
        moved[part] = mean if eta == 1.0 else before + eta * (mean - before)
    return moved


def add_deltas(task: Task, arguments: Sequence[Args], *, states: str = "") -> list[Model]:
    """Return `model` + sum_i weights[i] (models[i] - starts[i]) in both parts.

    A parameter that is equal in all models and starts keeps every bit. With `states`, the states of an
    optimizer under that name are averaged by the weights, which then sum to 1.
    """
    return [_add_deltas(task, args) | _mean_state_of(task, args, states) for args in arguments]


def _mean_state_of(task: Task, args: Args, name: str) -> Model:
    import torch

    return mean_state(args["models"], torch.tensor(args["weights"], device=task.device), name)


def mean_state(models: Sequence[Model], weights: Tensor, name: str) -> Model:
    """Return the mean state of an optimizer; its step counters are the same in all `models`."""
    import torch

    from sflsim.learning.optimizers import is_counter

    return {
        entry: value
        if is_counter(entry)
        else torch.tensordot(weights, torch.stack([model[entry] for model in models]), dims=1)
        for entry, value in models[0].items()
        if name and entry.startswith(f"{name}.")
    }


def _add_deltas(task: Task, args: Args) -> Model:
    import torch

    weights = torch.tensor(args["weights"], device=task.device)
    moved = {}
    for part in ("client", "server"):
        deltas = [new[part] - old[part] for new, old in zip(args["models"], args["starts"], strict=True)]
        moved[part] = args["model"][part] + torch.tensordot(weights, torch.stack(deltas), dims=1)
    return moved


def weighted_mean(
    task: Task, models: Sequence[Model], part: str, clients: Sequence[int], weighting: str
) -> Tensor:
    """Return the mean of one part [d] over `models`, weighted by samples or uniformly."""
    import torch

    weights = client_weights(task, clients, weighting)
    mean: Tensor = torch.tensordot(weights, torch.stack([model[part] for model in models]), dims=1)
    return mean


def client_weights(task: Task, clients: Sequence[int], weighting: str) -> Tensor:
    """Return the weight of each client in a mean, by "samples", "batch" size or "uniform"; the sum is 1."""
    import torch

    count: dict[str, Callable[[int], int]] = {
        "samples": task.samples,
        "batch": task.batch_size,
        "uniform": lambda client: 1,
    }
    counts = [float(count[weighting](client)) for client in clients]
    return torch.tensor(counts, device=task.device) / sum(counts)


def in_groups(
    arguments: Sequence[Args],
    group_of: Callable[[Args], int],
    train: Callable[[list[Args]], list[Model]],
) -> list[Model]:
    """Call `train` once for the participants of each group; return the results in the order given."""
    results: dict[int, Model] = {}
    for group in sorted({group_of(args) for args in arguments}):
        members = [i for i, args in enumerate(arguments) if group_of(args) == group]
        results.update(zip(members, train([arguments[i] for i in members]), strict=True))
    return [results[i] for i in range(len(arguments))]


def by_cut(
    task: Task, arguments: Sequence[Args], train: Callable[[Task, list[Args]], list[Model]]
) -> list[Model]:
    """Call `train` once for each cut among the participants, on the task and the models cut there.

    A participant's `cut` is the number of blocks its client holds; its `start`, its `own` model if it has
    one, and the models returned are cut where `task` is.
    """

    def train_at_cut(arguments: list[Args]) -> list[Model]:
        cut = arguments[0]["cut"]
        task_at_cut = task if cut == task.cut else task.at(cut)
        recut_arguments = [
            args | {name: recut(args[name], task_at_cut) for name in ("start", "own") if name in args}
            for args in arguments
        ]
        return [recut(model, task) for model in train(task_at_cut, recut_arguments)]

    return in_groups(arguments, lambda args: int(args["cut"]), train_at_cut)


def arrived(task: Task, arguments: Sequence[Args], *, parts: Sequence[str], direction: str) -> list[Model]:
    """Return each `start` as it arrives when its parts are sent "up" or "down" around the named `batch`."""

    def at_cut(task: Task, arguments: list[Args]) -> list[Model]:
        name = (direction, *parts)
        return [task.received_model(args["start"], parts, *name, *args["batch"]) for args in arguments]

    return by_cut(task, arguments, at_cut)


def recut(model: Model, task: Task) -> Model:
    """Return a model with its two parts divided where `task` is cut."""
    import torch

    size = task.client.size
    if "client" not in model or model["client"].shape[0] == size:
        return model
    whole = torch.cat([model["client"], model["server"]])
    return {**model, "client": whole[:size], "server": whole[size:]}
