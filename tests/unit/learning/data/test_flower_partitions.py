"""Flower's partitioners by name: each holds what it promises, and the same seed gives the same."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app
from sflsim.errors import ScenarioError, SflsimError
from sflsim.learning.data.digits import Digits
from sflsim.registry import partitions
from sflsim.report.labels import labels_figure

LABELS = Digits().training_labels()
CLASSES = np.bincount(LABELS)
QUICKSTART = Path(__file__).parents[4] / "scenarios/quickstart.yaml"


def partition(kind: str, clients: int, seed: int = 0, **settings: Any) -> list[Any]:
    return partitions()[kind](**settings).partition(LABELS, clients, seed)


def counts(shares: list[Any]) -> Any:
    """Return how many samples [clients, classes] of each class each client holds."""
    return np.stack([np.bincount(LABELS[share], minlength=10) for share in shares])


EVERY = {
    "balanced-dirichlet": {"alpha": 0.5},
    "inner-dirichlet": {"alpha": 0.5},
    "shards": {},
    "pathological": {"classes_per_client": 3},
    "sizes": {"sizes": [100] * 6},
    "linear-sizes": {},
    "square-sizes": {},
    "exponential-sizes": {},
}


@pytest.mark.parametrize("kind", EVERY)
def test_shares_are_disjoint_sorted_and_repeatable(kind: str) -> None:
    """No sample twice, none empty; the seed alone decides, whatever the global generators' states."""
    np.random.seed(1)  # noqa: NPY002
    shares = partition(kind, 6, 3, **EVERY[kind])
    np.random.seed(2)  # noqa: NPY002
    again, other = partition(kind, 6, 3, **EVERY[kind]), partition(kind, 6, 4, **EVERY[kind])
    every = np.concatenate(shares)

    assert len(shares) == 6
    assert min(map(len, shares)) > 0
    assert len(np.unique(every)) == len(every) <= len(LABELS)
    assert all((np.diff(share) > 0).all() for share in shares)
    assert [share.tolist() for share in shares] == [share.tolist() for share in again]
    assert [share.tolist() for share in shares] != [share.tolist() for share in other]


def test_shards_hold_few_labels() -> None:
    """Two shards out of a sorted row hold at most four labels; sizes are alike; the rest is left over."""
    held = counts(partition("shards", 20))
    size = len(LABELS) // 40
    assert (held.sum(axis=1) == 2 * size).all()
    assert ((held > 0).sum(axis=1) <= 4).all()
    assert (held > 0).sum(axis=1).mean() < 3.1  # 2 shards, and a border in every fourth
    by_size = counts(partition("shards", 9, shard_size=100, keep_incomplete=True))
    assert by_size.sum() == len(LABELS)


@pytest.mark.parametrize("assignment", ["random", "deterministic", "first-deterministic"])
def test_pathological_clients_hold_so_many_classes(assignment: str) -> None:
    """Exactly so many each, and those who hold a class share it evenly."""
    held = counts(partition("pathological", 12, classes_per_client=2, assignment=assignment))
    assert ((held > 0).sum(axis=1) == 2).all()
    for label in range(10):
        shares = held[held[:, label] > 0, label]
        assert shares.sum() in (0, CLASSES[label])
        assert len(shares) == 0 or shares.max() - shares.min() <= 1


@pytest.mark.parametrize(("kind", "power"), [("linear-sizes", 1), ("square-sizes", 2)])
def test_sizes_grow_as_named(kind: str, power: int) -> None:
    """Shares 1, 2, 3, ... or their squares, rounded down, the rest to the last; labels mixed by chance."""
    shares = partition(kind, 8)
    units = np.arange(1, 9) ** power
    wanted = (units / units.sum() * len(LABELS)).astype(int)
    wanted[-1] += len(LABELS) - wanted.sum()
    assert [len(share) for share in shares] == wanted.tolist()
    expected = CLASSES / len(LABELS) * len(shares[-1])
    chi_square = ((counts(shares)[-1] - expected) ** 2 / expected).sum()
    assert chi_square < 9 + 4 * np.sqrt(18)


def test_exponential_sizes_grow_by_e() -> None:
    sizes = np.array([len(share) for share in partition("exponential-sizes", 5)])
    assert np.allclose(sizes[1:] / sizes[:-1], np.e, rtol=0.1)


def test_sizes_are_as_given() -> None:
    sizes = [5, 50, 500]
    assert [len(share) for share in partition("sizes", 3, sizes=sizes)] == sizes
    inner = partition("inner-dirichlet", 3, alpha=0.3, sizes=[300, 200, 100])
    assert [len(share) for share in inner] == [300, 200, 100]


def test_balanced_dirichlet_stops_at_the_fair_number() -> None:
    """No client passes its fair number by more than one class, unlike with the plain Dirichlet split."""
    fair = len(LABELS) / 5
    for seed in range(5):
        balanced = counts(partition("balanced-dirichlet", 5, seed, alpha=0.1)).sum(axis=1)
        assert balanced.max() <= fair + CLASSES.max()
        assert balanced.sum() == len(LABELS)
    plain = [counts(partition("dirichlet", 5, seed, alpha=0.1)).sum(axis=1).max() for seed in range(5)]
    assert max(plain) > fair + CLASSES.max()


@pytest.mark.parametrize("values", [["b", "a", "c"], [30, 10, 20]], ids=["words", "numbers"])
def test_natural_clients_come_in_the_order_of_their_values(values: list[Any]) -> None:
    """One client for each value; left out are those that a draw under the seed leaves out."""
    column = np.array([values[place % 3] for place in range(30)])
    natural = partitions()["natural-id"]
    shares = natural(by="user").partition(column, 3, 0)
    assert [set(column[share]) for share in shares] == [{value} for value in sorted(values)]
    with pytest.raises(ScenarioError, match="found 2; allowed: 3, the values of 'user'"):
        natural(by="user").partition(column, 2, 0)
    with pytest.raises(ScenarioError, match="found 4; allowed: at most 3"):
        natural(by="user", others="leave-out").partition(column, 4, 0)
    drawn = Counter()
    for seed in range(60):
        (share,) = natural(by="user", others="leave-out").partition(column, 1, seed)
        (value,) = set(column[share].tolist())
        drawn[value] += 1
    assert sorted(drawn) == sorted(values)
    assert max(abs(count - 20) for count in drawn.values()) < 4 * np.sqrt(60 * 2 / 9)


@pytest.mark.parametrize(
    ("kind", "settings", "clients", "words"),
    [
        ("exponential-sizes", {}, 50, "ExponentialPartitioner"),
        ("square-sizes", {}, 400, "SquarePartitioner"),
        ("pathological", {"classes_per_client": 11}, 4, "greater than the number of unique classes"),
        ("pathological", {"classes_per_client": 5}, 2000, "smaller than the number of samples"),
        ("shards", {}, 1000, "2000 shards; allowed: at most 1438"),
        ("shards", {"shard_size": 1000}, 4, "4 clients"),
        ("shards", {"shard_size": 200, "shards_per_client": 2}, 4, "4 clients"),
        ("sizes", {"sizes": [1, 2]}, 3, "2 sizes; allowed: 3"),
        ("sizes", {"sizes": [1000, 1000]}, 2, "2000 samples; allowed: at most 1438"),
        ("inner-dirichlet", {"alpha": 1.0}, 2000, "a client without samples"),
        ("balanced-dirichlet", {"alpha": 0.5, "min_samples": 300}, 5, "DirichletPartitioner"),
    ],
)
def test_what_cannot_be_dealt_is_told(kind: str, settings: dict[str, Any], clients: int, words: str) -> None:
    """A ScenarioError with Flower's own words where they are the reason."""
    with pytest.raises(ScenarioError) as caught:
        partition(kind, clients, **settings)
    assert words in str(caught.value)


def test_without_flower_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    with pytest.raises(SflsimError, match=r"pip install 'sflsim\[data\]'"):
        partition("linear-sizes", 3)


# The picture.


def test_label_counts_are_those_of_the_partition() -> None:
    """Every client and label has a row; together they are the samples, by the partition's own shares."""
    scenario = sflsim.load_scenario(
        QUICKSTART, ["workload.partition={kind: dirichlet, alpha: 0.3}", "seeds=[3]"]
    )
    table = sflsim.label_counts(scenario)
    held = table.pivot(index="client", columns="label", values="samples").to_numpy()
    assert np.array_equal(held, counts(partition("dirichlet", 10, 3, alpha=0.3)))
    assert not table.equals(sflsim.label_counts(scenario, seed=4))


def frame(clients: int, labels: int) -> pd.DataFrame:
    client, label = np.divmod(np.arange(clients * labels), labels)
    return pd.DataFrame({"client": client, "label": label, "samples": (client + 2 * label) % 5})


def test_discs_are_as_large_as_the_counts() -> None:
    """A few clients: a disc for each count above zero, its area in proportion, at its place."""
    table = frame(6, 4)
    top, main = labels_figure(table).axes
    (discs,) = (one for one in main.collections if isinstance(one, PathCollection))
    held = table[table.samples > 0].set_index(["client", "label"]).samples
    found = {
        tuple(map(int, place)): size
        for place, size in zip(discs.get_offsets(), discs.get_sizes(), strict=True)
    }
    assert {place: size / max(found.values()) * 4 for place, size in found.items()} == pytest.approx(
        held.to_dict()
    )
    assert [bar.get_height() for bar in top.patches] == table.groupby("client").samples.sum().tolist()


def test_many_clients_are_a_heat_map(tmp_path: Path) -> None:
    table = frame(60, 25)
    main = labels_figure(table).axes[1]
    (shades,) = main.images
    assert np.array_equal(shades.get_array(), table.pivot(index="label", columns="client", values="samples"))


def test_the_command_draws_and_sums_up(tmp_path: Path) -> None:
    """A picture where asked for, equal bytes for equal input, figures that add up; mistakes are told."""
    pictures = [tmp_path / "new" / name for name in ("one.png", "two.png")]
    for place in pictures:
        done = CliRunner().invoke(app, ["partition", str(QUICKSTART), "--out", str(place)])
        assert done.exit_code == 0, done.output
    assert "10 clients, 1 438 samples" in " ".join(done.output.split())
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
    wrong = ["--set", "workload.partition={kind: sizes, sizes: [1]}"]
    done = CliRunner().invoke(app, ["partition", str(QUICKSTART), "--out", str(pictures[0]), *wrong])
    assert done.exit_code == 2
    assert "workload.partition.sizes" in done.output
