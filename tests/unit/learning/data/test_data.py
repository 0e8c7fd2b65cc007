"""The digits, how they are partitioned among clients, in which order they are read; optimizers by name."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from oracle.harness import scenario
from pydantic import ValidationError
from sklearn.datasets import load_digits

from sflsim.errors import ScenarioError
from sflsim.learning.data.digits import Digits
from sflsim.learning.data.partition import IID, Dirichlet
from sflsim.learning.optimizers import NAMES, OptimizerConfig
from sflsim.learning.task import Task
from sflsim.session import Options, Session

LABELS = Digits().training_labels()


# Digits.


def test_digits_are_split_by_class() -> None:
    """A fifth of every class is held out; the sizes add up to the 1,797 digits."""
    data = Digits().load()
    for label in range(10):
        train, test = int((data.train_y == label).sum()), int((data.test_y == label).sum())
        assert test == round(0.2 * (train + test))
    assert len(data.train_y) + len(data.test_y) == 1797
    assert (data.sample_shape, data.classes) == ((1, 8, 8), 10)
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("held_out", [0.01, 0.2, 0.9])
def test_digits_parts_are_disjoint_and_whole(held_out: float) -> None:
    """Every image is in one part, once, with its own label, but for scale and shift."""
    data = Digits(held_out=held_out).load()
    x, y = torch.cat([data.train_x, data.test_x]).flatten(1), torch.cat([data.train_y, data.test_y])
    pixels = (x - x.min()) / (x.max() - x.min()) * 16  # 0 and 16 both occur
    found = Counter(
        (label, *image) for label, image in zip(y.tolist(), pixels.round().int().tolist(), strict=True)
    )
    bunch = load_digits()
    wanted = Counter(
        (label, *image)
        for label, image in zip(bunch.target.tolist(), bunch.data.astype(int).tolist(), strict=True)
    )

    assert found == wanted


def test_digits_are_the_same_each_time() -> None:
    """Two loads agree to the bit, whatever the global generators' states; another share is other data."""
    np.random.seed(1)  # noqa: NPY002
    first = Digits().load()
    np.random.seed(2)  # noqa: NPY002
    again = Digits().load()

    assert first.fingerprint == again.fingerprint
    assert torch.equal(first.test_x, again.test_x)
    assert Digits(held_out=0.3).load().fingerprint != first.fingerprint


def test_digits_are_standardised_by_the_training_part() -> None:
    """Mean 0 and deviation 1 over the training pixels; the held-out part is moved along, not fitted."""
    data = Digits().load()

    assert float(data.train_x.double().mean()) == pytest.approx(0, abs=1e-5)
    assert float(data.train_x.double().std(correction=0)) == pytest.approx(1, rel=1e-5)
    assert abs(float(data.test_x.double().mean())) > 1e-5


def test_training_labels_are_those_of_the_training_part() -> None:
    """The partition sees, without torch, the labels of the samples as they are loaded."""
    assert Digits().load().train_y.tolist() == LABELS.tolist()


# Partitions.


@pytest.mark.parametrize(
    "partition",
    [IID(), Dirichlet(alpha=0.1), Dirichlet(alpha=1.0, min_samples=5), Dirichlet(alpha=100)],
    ids=repr,
)
@pytest.mark.parametrize("clients", [1, 3, 20])
def test_partitions_deal_every_sample_once(partition: Any, clients: int) -> None:
    """Shares are disjoint, together all samples, none smaller than asked; the same under the same seed."""
    shares = partition.partition(LABELS, clients, 7)
    again, other = partition.partition(LABELS, clients, 7), partition.partition(LABELS, clients, 8)

    assert len(shares) == clients
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(LABELS)))
    assert min(map(len, shares)) >= getattr(partition, "min_samples", 1)
    assert [share.tolist() for share in shares] == [share.tolist() for share in again]
    assert clients == 1 or [share.tolist() for share in shares] != [share.tolist() for share in other]


def test_iid_shares_are_equal_and_mixed() -> None:
    """Sizes differ by one at most, and no client's classes stray from the whole's by chance's measure."""
    shares = IID().partition(LABELS, 10, 0)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    expected = np.bincount(LABELS) / 10
    squares = [
        ((np.bincount(LABELS[share], minlength=10) - expected) ** 2 / expected).sum() for share in shares
    ]

    assert sum(squares) < 81 + 4 * np.sqrt(2 * 81)  # chi-square with (10 - 1)(10 - 1) degrees of freedom


def skew(alpha: float) -> float:
    """Return the mean distance between a client's class shares and the whole's (0 to 1), by samples."""
    whole = np.bincount(LABELS, minlength=10) / len(LABELS)
    distances = []
    for seed in range(5):
        for share in Dirichlet(alpha=alpha).partition(LABELS, 10, seed):
            own = np.bincount(LABELS[share], minlength=10) / len(share)
            distances.append(np.abs(own - whole).sum() / 2)
    return float(np.mean(distances))


def test_dirichlet_skew_grows_as_alpha_falls() -> None:
    """From alpha 1000, near IID, to alpha 0.05, near one or two classes each."""
    skews = [skew(alpha) for alpha in (1000, 10, 1, 0.3, 0.1, 0.05)]

    assert all(one < two for one, two in pairwise(skews))
    assert skews[0] < 0.1 < 0.7 < skews[-1]


def test_impossible_partitions_are_refused() -> None:
    """More clients than samples, or a split that no draw gives: an error with a remedy."""
    for partition, clients, words in (
        (IID(), 2000, "at most 1438"),
        (Dirichlet(alpha=1.0, min_samples=200), 10, "at most 7"),
        (Dirichlet(alpha=1e-3, min_samples=50), 20, "raise alpha"),
    ):
        with pytest.raises(ScenarioError, match=words):
            partition.partition(LABELS, clients, 0)
    with pytest.raises(ValidationError):
        Dirichlet(alpha=0)


def test_impossible_partition_is_a_scenario_error_before_anything_runs() -> None:
    """The check of a session finds it."""
    content = {"clients": 2000, "groups": [{"name": "all", "device": {"compute": "1 GFLOP/s"}}]}
    with pytest.raises(ScenarioError, match=r"fleet\.clients"):
        Session(scenario({"algorithm": "splitfed-v1"}, fleet=content), Options()).check()


# Batches.


def task(batch_size: int) -> Task:
    session = Session(scenario({"algorithm": "splitfed-v1"}, workload={"batch_size": batch_size}), Options())
    return session.materials.task(1, 0)


def read(task: Task, client: int, numbers: range) -> list[int]:
    """Return the training samples of a client's batches, in order, found by their pixels."""
    places = {sample.numpy().tobytes(): place for place, sample in enumerate(task.data.train_x)}
    assert len(places) == len(task.data.train_x)
    samples = []
    for number in numbers:
        x, y = task.batch([(client, number)])
        found = [places[sample.numpy().tobytes()] for sample in x[0]]
        assert y[0].tolist() == task.data.train_y[found].tolist()
        samples += found
    return samples


@pytest.mark.parametrize("batch_size", [7, 32, 479, 1000])
def test_batches_cover_each_epoch_once_end_to_end(batch_size: int) -> None:
    """A client reads its whole shard before any sample comes again, in a new order each epoch."""
    learned = task(batch_size)
    shard, epochs = sorted(learned.shards[1].tolist()), 3
    samples = read(learned, 1, range(-(-epochs * len(shard) // batch_size)))
    by_epoch = [samples[epoch * len(shard) : (epoch + 1) * len(shard)] for epoch in range(epochs)]

    assert all(sorted(epoch) == shard for epoch in by_epoch)
    assert by_epoch[0] != by_epoch[1] != by_epoch[2]
    assert by_epoch[0] != shard


def test_batches_are_named_not_drawn() -> None:
    """A batch is the same whenever it is asked for, alone or beside others."""
    learned, again = task(32), task(32)
    names = [(0, 40), (1, 0), (2, 17), (0, 0)]
    x, y = learned.batch(names)

    for i, name in reversed(list(enumerate(names))):
        alone_x, alone_y = again.batch([name])
        assert torch.equal(x[i], alone_x[0])
        assert torch.equal(y[i], alone_y[0])


# Optimizers by name.


def test_unknown_optimizer_is_refused_with_a_suggestion() -> None:
    """A misspelt name says what it may have meant, and what there is."""
    with pytest.raises(ValidationError) as caught:
        OptimizerConfig(name="AdmW")
    context = caught.value.errors()[0]["ctx"]

    assert context["remedy"] == "did you mean 'AdamW'?"
    assert all(name in context["allowed"] for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_named_optimizer_takes_its_own_arguments(name: str) -> None:
    """What an optimizer takes is read from torch: its arguments pass, another's are named as unknown."""
    assert OptimizerConfig(name=name, weight_decay=0.1).unknown_arguments()[0] == (
        ["weight_decay"] if name == "Rprop" else []
    )
    unknown, taken = OptimizerConfig(name=name, momentun=0.9, params=[], fused=True).unknown_arguments()
    assert unknown == ["momentun", "params", "fused"]
    assert not {"self", "params", "lr", "fused"} & set(taken)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "SGD", "momentun": 0.9}, ["client_optimizer.momentun", "momentum"]),
        ({"name": "Adam", "momentum": 0.9}, ["client_optimizer.momentum", "betas"]),
    ],
)
@pytest.mark.parametrize("algorithm", ["splitfed-v1", "splitfed-v2"])
def test_unknown_arguments_are_scenario_errors(
    algorithm: str, settings: dict[str, Any], words: list[str]
) -> None:
    """Arguments that torch's optimizer does not take are found before anything runs, with their path."""
    session = Session(scenario({"algorithm": algorithm, "client_optimizer": settings}), Options())
    with pytest.raises(ScenarioError) as caught:
        session.check()

    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "SGD", "momentum": -1.0},
        {"name": "SGD", "nesterov": True},
        {"name": "SGD", "momentum": "much"},
        {"name": "Adam", "betas": 0.9},
        {"name": "Adam", "betas": [0.9, 1.5]},
    ],
    ids=str,
)
def test_arguments_that_torch_refuses_are_scenario_errors(settings: dict[str, Any]) -> None:
    """Values that torch's optimizer does not take, or a model that it cannot train: no traceback later."""
    session = Session(scenario({"algorithm": "splitfed-v1", "server_optimizer": settings}), Options())
    with pytest.raises(ScenarioError, match="server_optimizer"):
        session.check()


def test_memory_of_optimizer_states() -> None:
    """Momentum keeps one more number for each parameter, Adam two."""
    copies = [
        OptimizerConfig(name=name, **settings).state_copies
        for name, settings in (("SGD", {}), ("SGD", {"momentum": 0.9}), ("Adam", {}), ("RMSprop", {}))
    ]
    assert copies == [0, 1, 2, 1]


def test_a_large_alpha_divides_small_classes_among_many_clients() -> None:
    """144 samples of a class for 200 clients: all get about as many."""
    labels = np.repeat(np.arange(10), 144)[:1438]
    shares = Dirichlet(alpha=1e6).partition(labels, 200, seed=0)
    sizes = np.array([len(share) for share in shares])
    assert sorted(np.concatenate(shares)) == list(range(1438))
    assert sizes.min() >= 1
    assert abs(sizes - 7.19).max() < 7
    held = np.stack([np.bincount(labels[share], minlength=10) for share in shares])
    assert held.max() <= 1
