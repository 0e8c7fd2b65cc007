"""Samples and weights that a run refuses before it trains, refused by `validate` and `partition` as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from support import data
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app

MLP = {"kind": "mlp", "hidden": [4]}
BERT = {
    "kind": "transformer",
    "config": {
        "model_type": "bert",
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 300,
        "max_position_embeddings": 8,
    },
}


def images(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for label in ("cat", "dog"):
            (folder / "it" / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "it" / split / label / f"{number}.png")
    return {"dataset": {"kind": "huggingface", "path": "it"}, "model": MLP, "cut": 1, "batch_size": 2}


def texts(folder: Path) -> dict[str, Any]:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    (folder / "it").mkdir()
    for split, count in (("train", 12), ("test", 4)):
        rows = [f"{split} {number},{number % 2}" for number in range(count)]
        (folder / "it" / f"{split}.csv").write_text("\n".join(["text,label", *rows, ""]))
    return {"dataset": {"kind": "huggingface", "path": "it", "tokenizer": "tokenizer.json", "max_length": 8},
            "model": BERT, "cut": 1, "batch_size": 2}  # fmt: skip


def damaged(folder: Path) -> None:
    (folder / "it/train/dog/3.png").write_bytes(b"no picture")


def another_size(folder: Path) -> None:
    Image.new("RGB", (9, 8)).save(folder / "it/train/dog/3.png")


def damaged_to_evaluate_on(folder: Path) -> None:
    (folder / "it/test/dog/1.png").write_bytes(b"no picture")


def no_test_part(folder: Path) -> None:
    (folder / "it/test").rename(folder / "other")


def one_colour(folder: Path) -> None:
    for file in (folder / "it").rglob("*.png"):
        Image.new("RGB", (8, 8)).save(file)


def the_same_twice(folder: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            for file in (folder / "it" / split / label).iterdir():
                file.unlink() if split == "test" or file.stem > "1" else None
            for file in (folder / "it/train" / label).iterdir():
                (folder / "it/test" / label / file.name).write_bytes(file.read_bytes())


BROKEN: list[Callable[[Path], None]] = [
    damaged, another_size, damaged_to_evaluate_on, no_test_part, one_colour, the_same_twice
]  # fmt: skip


def scenario(folder: Path, workload: dict[str, Any]) -> Path:
    fleet = {"clients": 2, "groups": [{"device": "jetson-nano"}]}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(data(workload=workload, fleet=fleet), sort_keys=False))
    return path


def refused_by_all(path: Path, partition: bool = True) -> None:
    """The run, which is right, `validate` and `partition` report the same problems."""
    loaded = sflsim.load_scenario(path)
    with pytest.raises(sflsim.ScenarioError) as wanted:
        sflsim.simulate(loaded)
    if partition:
        with pytest.raises(sflsim.ScenarioError) as found:
            sflsim.label_counts(loaded)
        assert found.value.problems == wanted.value.problems
    result = CliRunner().invoke(app, ["validate", str(path)])
    assert result.exit_code == 2
    for problem in wanted.value.problems:
        assert problem.found in " ".join(result.stderr.split())
        assert f"{path}:{problem.line}" in result.stderr


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda one: one.__name__)
def test_pictures(break_it: Callable[[Path], None], tmp_path: Path) -> None:
    path = scenario(tmp_path, images(tmp_path))
    assert sflsim.label_counts(sflsim.load_scenario(path))["samples"].sum() == 12
    assert CliRunner().invoke(app, ["validate", str(path)]).exit_code == 0
    break_it(tmp_path)
    refused_by_all(path)


@pytest.mark.parametrize("rewrite", [
    ("test.csv", "text,label"),
    ("test.csv", "words,label\na,0\nb,1"),
    ("train.csv", "words,label\na,0\nb,1\nc,0\nd,1"),
])  # fmt: skip
def test_tables(rewrite: tuple[str, str], tmp_path: Path) -> None:
    path = scenario(tmp_path, texts(tmp_path))
    assert CliRunner().invoke(app, ["validate", str(path)]).exit_code == 0
    (tmp_path / "it" / rewrite[0]).write_text(f"{rewrite[1]}\n")
    refused_by_all(path)


def test_weights_of_another_model(tmp_path: Path) -> None:
    """They are no matter of the partition."""
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    workload = {"model": {**MLP, "weights": "weights.safetensors"}, "cut": 1, "batch_size": 2}
    path = scenario(tmp_path, workload | {"costs": data()["workload"]["costs"]})
    refused_by_all(path, partition=False)
