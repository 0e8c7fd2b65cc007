"""Runs an algorithm of the package through its real protocol and hands its inputs to an oracle.

`train` simulates one variant and records, per round, the calls of its math, the very batches, the
keys of the directions and the model that came out. A test turns these into the arguments of an
oracle in `references` (float64, no code of the package's math) and calls `Training.check`.

To add an algorithm: `train({"algorithm": ...})`, take the arguments of its math by the function's name
(`arguments("train")`: a list per round), build the oracle's arguments from them with `batch`, `normals`
and `weights`, and `check` the oracle's Result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from oracle.references import common as ref
from torch import Tensor, nn
from torch.func import functional_call

from sflsim.learning.graph.lineage import Args, Handle, MathFunction
from sflsim.learning.graph.store import Store
from sflsim.learning.learner import Learner
from sflsim.learning.network.split import Part
from sflsim.learning.task import Task
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session
from sflsim.streams import Key, seed_of

LINK = {"up": "8 Mbit/s", "down": "20 Mbit/s", "latency": "5 ms"}
SPEEDS = ("0.3 MFLOP/s", "3 MFLOP/s", "1 MFLOP/s")  # of clients 0, 1, 2: the first is the slowest
MLP = {"model": {"kind": "mlp", "hidden": [12, 9]}, "batch_size": 8}
SKEWED = {"partition": {"kind": "dirichlet", "alpha": 0.3}}
SGD = {"name": "SGD", "lr": 0.1}
HEAVY = {"name": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
ADAM = {"name": "Adam", "lr": 0.003, "betas": [0.8, 0.99], "weight_decay": 0.01}
CNN = {"model": {"kind": "cnn", "channels": [3, 4], "dense": 8}, "batch_size": 6, "cut": 2}

# float32 against float64: a parameter of size 1 carries 6e-8 for each of the some 30 additions that make
# it, and the finite difference of a loss near 2.3 carries 2.4e-7 / (2 lam), times a learning rate
RTOL, ATOL = 1e-5, 2e-6


def scenario(*variants: dict[str, Any], rounds: int = 3, **parts: Any) -> Scenario:
    """Return a small scenario: digits, three clients of different speeds; `parts` replace its parts."""
    groups = [
        {"name": f"speed-{number}", "count": 1, "device": {"compute": speed}, "link": LINK}
        for number, speed in enumerate(SPEEDS)
    ]
    parts["workload"] = {**MLP, **parts.get("workload", {})}
    return Scenario.model_validate(
        {
            "name": "small",
            "fleet": {"clients": 3, "groups": groups},
            "server": {"compute": "50 MFLOP/s", "slots": 2},
            "variants": list(variants),
            "stop": {"rounds": rounds},
            "evaluate": {"every": "1 round"},
            **parts,
        }
    )


@dataclass(frozen=True)
class Recorded:
    """One call of the math: its round (from 0), the function's name, its arguments and its handles."""

    round: int
    function: str
    arguments: list[Args]
    shared: Args
    handles: list[Handle]


class RecordingLearner(Learner):
    """A Learner that keeps every call and the value of every model that is evaluated."""

    def __init__(self, task: Task, store: Store) -> None:
        super().__init__(task, store)
        self.calls: list[Recorded] = []
        self.models: list[dict[str, Tensor]] = []

    def call(self, function: MathFunction, arguments: Sequence[Args], shared: Args) -> list[Handle]:
        handles = super().call(function, arguments, shared)
        self.calls.append(Recorded(len(self.models) - 1, function.__name__, list(arguments), shared, handles))
        return handles

    def evaluate(self, model: Handle) -> tuple[float, float]:
        self.models += self.executor.resolve([model])
        return super().evaluate(model)


class RecordingSession(Session):
    """A Session whose learner, batches and directions are recorded."""

    learner: RecordingLearner

    def __init__(
        self,
        scenario: Scenario,
        options: Options | None = None,
        learner: Callable[[Task, Store], RecordingLearner] = RecordingLearner,
    ) -> None:
        super().__init__(scenario, options or Options(), learning=self.recorded)
        self.new_learner = learner
        self.batches: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.drawn: dict[Key, int] = {}

    def recorded(self, variant: Any, cut: int, seed: int) -> RecordingLearner:
        """Return a learner on the task, which is made to record what it is asked for."""
        task = self.materials.task(cut, seed, variant.compression)
        batch, directions = task.batch, task.directions

        def recorded_batch(names: Any) -> tuple[Tensor, Tensor]:
            x, y = batch(names)
            self.batches.update({tuple(name): (x[i], y[i]) for i, name in enumerate(names)})
            return x, y

        def recorded_directions(keys: Any, part: Part, kind: Any) -> Any:
            self.drawn.update({tuple(key): part.dimension for key in keys})
            return directions(keys, part, kind)

        task.batch, task.directions = recorded_batch, recorded_directions  # type: ignore[method-assign]
        self.learner = self.new_learner(task, self.store)
        return self.learner


@dataclass
class Training:
    """What one run did, in the terms of the oracles; `x_c`, `x_s` are the initial parts in float64."""

    session: RecordingSession
    outcome: Outcome
    client: ref.Part
    server: ref.Part
    x_c: ref.Params
    x_s: ref.Params
    asked: set[Key] = field(default_factory=set)

    @property
    def split(self) -> ref.Split:
        """Return the split model as the run starts with it."""
        return ref.Split(self.client, self.server, self.x_c, self.x_s)

    @property
    def model(self) -> tuple[ref.Part, ref.Params]:
        """Return the model unsplit, and its parameters as the run starts with them."""
        return ref.whole(self.client, self.server, len(self.x_c)), [*self.x_c, *self.x_s]

    @property
    def rounds(self) -> range:
        """Return the numbers of the rounds, from 0."""
        return range(self.outcome.rounds)

    def arguments(self, function: str) -> list[list[Args]]:
        """Return the arguments of all calls of one function, a list per round."""
        calls = [call for call in self.session.learner.calls if call.function == function]
        return [[args for call in calls if call.round == r for args in call.arguments] for r in self.rounds]

    def batch(self, name: Sequence[int]) -> ref.Batch:
        """Return the inputs and labels of a batch as the package saw them, in float64."""
        x, y = self.session.batches[name[0], name[1]]
        return x.double(), y

    def local_rounds(self, function: str, weighting: str = "samples") -> ref.Rounds:
        """Return who trained on which batches in each round, from the arguments of `function`."""
        arguments = self.arguments(function)
        participants = [[args["client"] for args in of_round] for of_round in arguments]
        batches = [[self.batches_of(args) for args in of_round] for of_round in arguments]
        return ref.Rounds(
            participants, batches, self.weights(participants) if weighting == "samples" else None
        )

    def batches_of(self, args: Args) -> list[ref.Batch]:
        """Return the batches of one participant's local training."""
        return [self.batch(name) for name in args["batches"]]

    def weights(self, participants: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the sample counts of the participants of each round."""
        shards = self.session.learner.task.shards
        return [[float(len(shards[client])) for client in ids] for ids in participants]

    def normals(self, like: ref.Params, *key: str | int) -> ref.Params:
        """Return the raw Gaussian draw that the package made under `key`, shaped as the part `like`."""
        assert self.session.drawn[key] == dimension(like), "a draw in another part than the oracle's"
        self.asked.add(key)
        source = torch.Generator().manual_seed(seed_of((self.outcome.seed, *key)))
        return shaped(torch.randn(dimension(like), generator=source), like)

    def parts_at(self, cut: int) -> tuple[ref.Part, ref.Part, int]:
        """Return the oracle's parts at another cut, and how many tensors the client's then has."""
        blocks = [block for _, block in self.session.learner.task.blocks]
        client, server = nn.Sequential(*blocks[:cut]), nn.Sequential(*blocks[cut:])
        return oracle_part(client), oracle_part(server), len(list(client.parameters()))

    def check(self, result: ref.Result, moved: float = 1e-2, dropped: bool = False) -> None:
        """Compare every round's model with the oracle's to rounding.

        Every draw that the package made must have been asked for by the oracle, every client's
        batches must follow on each other (but where work was `dropped`), and the parameters must
        have moved by `moved` at least. A result whose model is whole has no `x_s`.
        """
        models = self.session.learner.models[1:]
        wanted_c, wanted_s = result.x_c_rounds, result.x_s_rounds or [[]] * len(result.x_c_rounds)
        assert len(models) == len(wanted_c) == self.outcome.rounds
        for model, x_c, x_s in zip(models, wanted_c, wanted_s, strict=True):
            close(whole(model), flat([*x_c, *x_s]))
        change = flat([*wanted_c[-1], *wanted_s[-1]]) - flat([*self.x_c, *self.x_s])
        assert float(change.abs().max()) > moved
        assert self.asked == set(self.session.drawn)
        for client in range(len(self.session.learner.task.shards)):
            numbers = sorted(number for owner, number in self.session.batches if owner == client)
            assert dropped or numbers == list(range(len(numbers)))


def train(
    variant: dict[str, Any], *, rounds: int = 3, seed: int = 0, stacks_images: bool = False, **parts: Any
) -> Training:
    """Simulate one variant on the small scenario and return what it did.

    Digits are small enough for their convolutions to be stacked; they are looped here unless told
    otherwise, as those of larger images are, so that both ways are tried.
    """
    session = RecordingSession(scenario(variant, rounds=rounds, **parts))
    with mock.patch("sflsim.learning.task.STACKED_PIXELS", 64 if stacks_images else 0):
        outcome = session.run(0, seed, lambda row: None)
    assert outcome.status == "completed"
    task = session.learner.task
    parts_of = [nn.Sequential(*[block for _, block in part.blocks]) for part in (task.client, task.server)]
    x_c, x_s = ([p.detach().double() for p in part.parameters() if p.requires_grad] for part in parts_of)
    close(whole(session.learner.models[0]), flat([*x_c, *x_s]))
    return Training(session, outcome, oracle_part(parts_of[0]), oracle_part(parts_of[1]), x_c, x_s)


def oracle_part(module: nn.Module) -> ref.Part:
    """Return a module as the oracles see a part: a function of its parameters and an input, in float64."""
    module = copy.deepcopy(module).double()
    names = [name for name, _ in module.named_parameters()]

    def part(parameters: ref.Params, x: Any) -> Tensor:
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    return part


def oracle_optimizer(settings: dict[str, Any]) -> ref.Opt:
    """Return an optimizer of a variant in the oracle's terms."""
    arguments = {"lr": 0.05, **settings}
    kind = str(arguments.pop("name", "SGD")).lower()
    betas = arguments.pop("betas", (0.9, 0.999))
    return ref.Opt(kind, beta1=betas[0], beta2=betas[1], **arguments)


def dimension(like: ref.Params) -> int:
    """Return the number of parameters of a part."""
    return sum(tensor.numel() for tensor in like)


def whole(model: dict[str, Tensor]) -> Tensor:
    """Return both parts of a model of the package as one vector."""
    return torch.cat([model["client"], model["server"]])


def flat(parameters: ref.Params) -> Tensor:
    """Return the tensors of a part as one vector; convolutions lie in it with their channels last."""
    laid_out = [tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor for tensor in parameters]
    return torch.cat([tensor.reshape(-1) for tensor in laid_out])


def shaped(vector: Tensor, like: ref.Params) -> ref.Params:
    """Return a vector cut into tensors shaped as `like`, in float64."""
    pieces = vector.double().split([tensor.numel() for tensor in like])
    return [
        piece.view(tensor.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
        if tensor.dim() == 4
        else piece.view(tensor.shape)
        for piece, tensor in zip(pieces, like, strict=True)
    ]


def close(found: Tensor, wanted: Tensor) -> None:
    """Assert that float32 numbers equal the oracle's up to rounding."""
    torch.testing.assert_close(found.double(), wanted.double(), rtol=RTOL, atol=ATOL)
