"""FedAvg through sflsim, clock included, against a bare loop over the clients.

100 users of 50 samples, 10 per round, batches of 10, one epoch, 5 batches each. Ratio: time through sflsim
/ time of the loop; both evaluate in the same rounds and must agree on every accuracy and loss.
Goals: at most 1.05 for the CNN on 3x32x32, 0.60 for the MLP 64-64-10 on digits, whose clients are
stacked. Run: `python benchmarks/fedavg.py [--quick]`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Literal

import torch
from bench import Comparison, options, pair_ratios, report
from by_hand import Evaluations, Experiment, splitfed_v1
from pydantic import BaseModel
from torch import nn
from training import LR, agree, through_sflsim

import sflsim
from sflsim.fleet.population import build_fleet
from sflsim.learning.data.base import Data
from sflsim.learning.data.digits import Digits
from sflsim.session import Options, Session

USERS, ACTIVE, SAMPLES, BATCH = 100, 10, 50, 10
EVERY_ROUNDS = 10


@sflsim.register_dataset
class Photographs(BaseModel):
    """5,000 made-up images of 3x32x32 in 10 classes: each class a pattern of its own under noise."""

    kind: Literal["photographs"] = "photographs"
    sample_shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10

    def load(self) -> Data:
        """Return the training samples and 200 held-out ones."""
        draws, size = torch.Generator().manual_seed(0), USERS * SAMPLES
        y = torch.randint(self.classes, (size + 200,), generator=draws)
        patterns = torch.randn(self.classes, *self.sample_shape, generator=draws)
        x = (patterns[y] + torch.randn(len(y), *self.sample_shape, generator=draws)) / 2**0.5
        return Data(x[:size], y[:size], x[size:], y[size:], self.classes)

    def training_labels(self) -> object:
        """Return the labels of the training samples."""
        return self.load().train_y.numpy()


@sflsim.register_dataset
class RepeatedDigits(Digits):
    """Digits, its 1,438 training samples repeated to 5,000."""

    kind: Literal["repeated-digits"] = "repeated-digits"  # type: ignore[assignment]

    def load(self) -> Data:
        """Return the repeated training samples and the held-out ones."""
        data = super().load()
        taken = torch.arange(USERS * SAMPLES) % len(data.train_y)
        return Data(data.train_x[taken], data.train_y[taken], data.test_x, data.test_y, data.classes)

    def training_labels(self) -> object:  # type: ignore[override]
        """Return the labels of the training samples."""
        return self.load().train_y.numpy()


SCENARIO = """
name: benchmark
workload: {{dataset: {dataset}, model: {model}, cut: 1, batch_size: {batch}}}
fleet:
  clients: {users}
  participants: {active}
  groups: [{{device: raspberry-pi-4, link: wifi}}]
variants: [{{algorithm: fedavg, optimizer: {{lr: {lr}}}}}]
stop: {{rounds: {rounds}}}
evaluate: {{every: {every} rounds}}
"""
CASES = [
    ("FedAvg, CNN, 3x32x32", "photographs", "cnn", 20, 1.05),
    ("FedAvg, MLP 64-64-10, digits", "repeated-digits", "{kind: mlp, hidden: [64]}", 100, 0.60),
]


def by_hand(session: Session) -> Callable[[], Evaluations]:
    """Return the bare loop for the scenario's variant, with every draw ready-made."""
    scenario, data, task = session.scenario, session.materials.data(), session.materials.task(1, 0)
    assert scenario.stop.rounds is not None
    fleet = build_fleet(scenario.fleet, 0)
    taken: Counter[int] = Counter()
    participants = []
    for number in range(1, scenario.stop.rounds + 1):
        chosen = fleet.select(number, ACTIVE)
        epochs = [range(taken[client], taken[client] + SAMPLES // BATCH) for client in chosen]
        participants.append(list(zip(chosen, epochs, strict=True)))
        taken.update(dict.fromkeys(chosen, SAMPLES // BATCH))
    batches = {
        (client, batch): torch.from_numpy(task.indices(client, batch))
        for client in taken
        for batch in range(taken[client])
    }
    blocks = [copy.deepcopy(block) for _, block in task.blocks]
    model = nn.Sequential(*blocks)
    initial = copy.deepcopy(model.state_dict())
    tensors = (data.train_x, data.train_y, data.test_x, data.test_y)
    weights = [len(shard) for shard in task.shards]
    given = Experiment(model, 1, *tensors, participants, batches, weights, EVERY_ROUNDS)

    def loop() -> Evaluations:
        model.load_state_dict(initial)
        return splitfed_v1(given, LR)  # one network trained on its client's batches: FedAvg

    return loop


def main() -> None:
    """Run both comparisons and print the table."""
    given = options("FedAvg through sflsim against a bare loop over the clients")
    comparisons = []
    for name, dataset, model, rounds, goal in CASES:
        text = SCENARIO.format(
            dataset=dataset, model=model, batch=BATCH, users=USERS, active=ACTIVE, lr=LR,
            rounds=rounds // (2 if given.quick else 1), every=EVERY_ROUNDS,
        )  # fmt: skip
        session = Session(sflsim.parse_scenario(text), Options())
        loop = by_hand(session)
        agree(through_sflsim(session), loop())
        ratios = pair_ratios(lambda session=session: through_sflsim(session), loop, given.pairs)
        comparisons.append(Comparison(name, ratios, goal))
    report("time through sflsim / time of the bare loop", comparisons)


if __name__ == "__main__":
    main()
