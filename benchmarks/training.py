"""Training through sflsim, clock included, against the same mathematics in a loop by hand.

Ratio: time through sflsim / time by hand; both evaluate in the same rounds and must agree on
every accuracy and loss. sflsim lays images and convolutions out with their channels last; the loop is
timed in torch's default layout and in that one. Goals: at most 1.05 for the convolutional networks, 1.00
for the MLP, and 0.40 for the MLP with 50 clients (2.5 times as fast as client by client).
Run: `python benchmarks/training.py [--quick]`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from bench import Comparison, options, pair_ratios, report
from by_hand import Evaluations, Experiment, ZerothOrder, mu_splitfed, splitfed_v1
from pydantic import BaseModel
from torch import nn

import sflsim
from sflsim.fleet.population import build_fleet
from sflsim.learning.data.base import Data
from sflsim.learning.graph.store import MemoryStore
from sflsim.learning.task import Task, build_blocks
from sflsim.session import Options, Session
from sflsim.streams import seed_of

LR = 0.05
EVERY_ROUNDS = 5
TOLERANCE = 5e-6
"""Of losses: rounding makes 4e-8 to 4e-6 here, a client left out once or a rate 1 % off 5e-5 or more;
a single wrong sample makes 1e-6 to 1e-4 and is not always seen."""


@sflsim.register_dataset
class Colours(BaseModel):
    """Made-up images of 3x32x32 in 10 classes: each class a pattern of its own under noise."""

    kind: Literal["colours"] = "colours"
    sample_shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10

    def training_labels(self) -> Any:
        """Return the labels of the training samples."""
        return self.load().train_y.numpy()

    def load(self) -> Data:
        """Return 2,000 training and 200 held-out samples."""
        draws = torch.Generator().manual_seed(0)
        y = torch.randint(self.classes, (2200,), generator=draws)
        patterns = torch.randn(self.classes, *self.sample_shape, generator=draws)
        x = patterns[y] + 2 * torch.randn(len(y), *self.sample_shape, generator=draws)
        return Data(x[:2000], y[:2000], x[2000:], y[2000:], self.classes)


SCENARIO = """
name: benchmark
workload: {{dataset: {dataset}, model: {model}, cut: 1, batch_size: 32}}
fleet:
  clients: {clients}
  groups:
    - {{share: 70%, device: raspberry-pi-4, link: wifi}}
    - {{share: 30%, device: jetson-nano, link: {{up: 10 Mbit/s, down: 40 Mbit/s, latency: 35 ms}}}}
  straggler: {{kind: exponential, mean: 2 s}}
server: {{compute: 100 GFLOP/s}}
variants: [{variant}]
stop: {{rounds: {rounds}}}
evaluate: {{every: {every} rounds}}
"""
V1 = f"{{algorithm: splitfed-v1, client_optimizer: {{lr: {LR}}}, server_optimizer: {{lr: {LR}}}}}"
GENTLE_V1 = V1.replace(str(LR), "0.01")  # at 0.05 the made-up images train unstably: one bit decides
MU = "{algorithm: mu-splitfed, tau: 4, eta_s: 0.01, eta_c: 0.005}"

CASES = [
    ("SplitFed V1, CNN, digits", "digits", "cnn", 10, V1, 20, 1.05),
    ("SplitFed V1, CNN, 3x32x32", "colours", "cnn", 10, GENTLE_V1, 10, 1.05),
    ("SplitFed V1, AlexNet, 3x32x32", "colours", "alexnet", 10, GENTLE_V1, 5, 1.05),
    ("SplitFed V1, MLP, digits", "digits", "mlp", 10, V1, 80, 1.0),
    ("SplitFed V1, MLP, digits, 50 clients", "digits", "mlp", 50, V1, 20, 0.4),
    ("MU-SplitFed tau 4, MLP, digits", "digits", "mlp", 10, MU, 40, 1.0),
]


def through_sflsim(session: Session) -> Evaluations:
    """Run the scenario's one variant with nothing computed before; return the evaluations."""
    session.store = MemoryStore()
    outcome = session.run(0, 0, lambda row: None)
    assert outcome.status == "completed"
    return [(row.accuracy, row.loss) for row in outcome.evaluations]


def experiment(session: Session, channels_last: bool = False) -> Experiment:
    """Return what the loop by hand is given for the same scenario, seed 0.

    Images lie as torch makes them or, `channels_last`, as sflsim lays them out.
    """
    scenario = session.scenario
    data = session.materials.data() if channels_last else scenario.workload.dataset.load()
    workload, fleet = scenario.workload, build_fleet(scenario.fleet, 0)
    blocks = build_blocks(workload.model, data.sample_shape, data.classes, 0)
    shards = [torch.from_numpy(shard) for shard in session.materials.shards(0)]
    task = Task(data, blocks, workload.cut, shards, workload.batch_size, 0, torch.device("cpu"), "")
    assert scenario.stop.rounds is not None
    rounds = range(1, scenario.stop.rounds + 1)
    participants = [
        [(client, [number - 1]) for client in fleet.select(number, scenario.fleet.clients)]
        for number in rounds
    ]
    batches = {
        (client, batch): torch.from_numpy(task.indices(client, batch))
        for part in participants
        for client, (batch,) in part
    }
    modules = [
        layer for _, block in blocks for layer in (block if isinstance(block, nn.Sequential) else [block])
    ]
    first = blocks[0][1]
    cut = len(first) if isinstance(first, nn.Sequential) else 1
    model = nn.Sequential(*modules)
    tensors = (data.train_x, data.train_y, data.test_x, data.test_y)
    weights = [len(shard) for shard in shards]
    return Experiment(model, cut, *tensors, participants, batches, weights, EVERY_ROUNDS)


def by_hand(session: Session, channels_last: bool = False) -> Callable[[], Evaluations]:
    """Return the loop by hand that does the work of the scenario's one variant."""
    given, config = experiment(session, channels_last), session.scenario.variants[0]
    initial = copy.deepcopy(given.model.state_dict())

    @cache
    def seed(purpose: str, client: int, batch: int, step: int) -> int:
        steps = (step,) if purpose == "server" else ()
        return seed_of((0, "mu-splitfed", purpose, client, batch, *steps, 0))

    def loop() -> Evaluations:
        given.model.load_state_dict(initial)
        if config.algorithm == "splitfed-v1":
            return splitfed_v1(given, config.client_optimizer.lr)
        return mu_splitfed(
            given, ZerothOrder(config.tau, config.eta_s, config.eta_c, config.eta_g, config.lam, seed)
        )

    return loop


def agree(ours: Evaluations, theirs: Evaluations, tolerance: float = 1e-3) -> None:
    """Refuse to compare what does not compute the same.

    `tolerance` bounds the relative difference of losses, see TOLERANCE; one held-out sample of 200
    may flip.
    """
    assert len(ours) == len(theirs)
    for (accuracy, loss), (other_accuracy, other_loss) in zip(ours, theirs, strict=True):
        assert abs(accuracy - other_accuracy) < 0.006, (ours, theirs)
        assert abs(loss - other_loss) < tolerance * other_loss, (ours, theirs)


def main() -> None:
    """Run every comparison and print the table."""
    given = options("training through sflsim against a loop by hand")
    comparisons = []
    for name, dataset, model, clients, variant, rounds, goal in CASES:
        text = SCENARIO.format(
            dataset=dataset, model=model, clients=clients, variant=variant, every=EVERY_ROUNDS,
            rounds=max(EVERY_ROUNDS, rounds // (2 if given.quick else 1)),
        )  # fmt: skip
        session = Session(sflsim.parse_scenario(text), Options())
        layouts = (False,) if model == "mlp" else (False, True)
        for channels_last in layouts:
            loop = by_hand(session, channels_last)
            agree(through_sflsim(session), loop(), TOLERANCE)
            ratios = pair_ratios(lambda session=session: through_sflsim(session), loop, given.pairs)  # type: ignore[misc]
            comparisons.append(Comparison(name + ", both channels last" * channels_last, ratios, goal))
    report("time through sflsim / time by hand", comparisons)


if __name__ == "__main__":
    main()
