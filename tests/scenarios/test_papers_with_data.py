"""The papers' scenarios that need data or weights from elsewhere, on small files of the same form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import sflsim
from sflsim import registry
from sflsim.errors import ScenarioError
from sflsim.session import Options, Session

PAPERS = Path(__file__).parents[2] / "scenarios" / "papers"
SHORT = ["stop={rounds: 2}", "seeds=[0]", "evaluate.every=1 round"]
GOOD = ("a great film", "warm and funny", "great fun", "a joy to watch")
BAD = ("a terrible film", "dull and cold", "terrible waste", "a pain to watch")


def write_sst2(folder: Path) -> list[str]:
    """Write GLUE's files with a few phrases; return the phrases."""
    folder.mkdir()
    texts = [text for pair in zip(GOOD, BAD, strict=True) for text in pair]
    for name, repeats in (("train", 10), ("dev", 3)):
        rows = [f"{text}\t{int(text in GOOD)}" for text in texts for _ in range(repeats)]
        (folder / f"{name}.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return texts


def write_opt(folder: Path, texts: list[str]) -> None:
    """Save a tiny OPT with random weights and a tokenizer trained on the phrases."""
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.train_from_iterator(
        [f" {text}" for text in texts], trainers.BpeTrainer(special_tokens=["<pad>", "<unk>"])
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(folder)
    config = transformers.OPTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, ffn_dim=24, word_embed_proj_dim=16,
        vocab_size=words.get_vocab_size(), max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    assert not list(folder.glob("*.bin"))


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario's folder as its comment says, in small."""
    folder = tmp_path_factory.mktemp("opt")
    write_opt(folder / "opt-1.3b", write_sst2(folder / "SST-2"))
    (folder / "opt_sst2.yaml").write_bytes((PAPERS / "opt_sst2.yaml").read_bytes())
    return folder


def test_opt_on_sst2(opt: Path) -> None:
    """As it is, but for its length: every tau trains, on texts cut into tokens, from the saved weights."""
    scenario = sflsim.load_scenario(opt / "opt_sst2.yaml", SHORT)
    run = sflsim.simulate(scenario)
    assert list(run.runs["status"]) == ["completed"] * 6
    assert np.isfinite(run.evaluations["loss"]).all()
    assert run.evaluations.groupby("variant")["loss"].nunique().min() > 1
    assert run.clients["samples"].tolist() == [80.0] * 6


def test_it_learns_from_saved_weights(opt: Path) -> None:
    """A first-order client and server tell all eight phrases apart in a few rounds: by chance, 1 in 256."""
    adam = {"name": "AdamW", "lr": 0.01}
    variant: dict[str, Any] = {
        "algorithm": "splitfed-v1", "local_iterations": 5, "client_optimizer": adam, "server_optimizer": adam,
    }  # fmt: skip
    changes = [f"variants=[{json.dumps(variant)}]", "stop={rounds: 10}", "workload.batch_size=8"]
    run = sflsim.simulate(sflsim.load_scenario(opt / "opt_sst2.yaml", changes))
    assert run.evaluations["accuracy"].iloc[-1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("adapters", [None, {"rank": 2}], ids=["full", "adapters"])
def test_every_algorithm_on_texts(opt: Path, adapters: dict[str, int] | None) -> None:
    """A tiny OPT with saved weights and a tokenizer trained on the texts goes through all algorithms."""
    buffered = {"q_c": 2, "q_s": 2, "generate": False}
    needs = {"gas": buffered, "zo-gas": buffered, "fedbuff": {"b": 2}}
    names = [name for name in registry.algorithms() if adapters or name != "fedlora"]
    variants = [{"algorithm": name, **needs.get(name, {})} for name in names]
    changes = [
        f"variants={json.dumps(variants)}", "stop={rounds: 2}", "workload.batch_size=4", "fleet.clients=2",
        f"workload.model.adapters={json.dumps(adapters)}",
    ]  # fmt: skip
    run = sflsim.simulate(sflsim.load_scenario(opt / "opt_sst2.yaml", changes))
    assert list(run.runs["algorithm"]) == names
    assert set(run.runs["status"]) == {"completed"}
    assert np.isfinite(run.evaluations["loss"]).all()
    assert run.evaluations.groupby("variant")["loss"].nunique().min() > 1


@pytest.mark.slow
def test_mu_splitfed_on_cifar10(tmp_path: Path) -> None:
    """As it is, but for rounds and images: these are written here in CIFAR's own binary form."""
    source = np.random.default_rng(1)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, size in [*((f"data_batch_{number}", 24) for number in range(1, 6)), ("test_batch", 20)]:
        rows = source.integers(0, 256, (size, 1 + 3 * 32 * 32), dtype=np.uint8)
        rows[:, 0] = np.arange(size) % 10
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (tmp_path / "cifar10.yaml").write_bytes((PAPERS / "mu_splitfed_cifar10.yaml").read_bytes())
    changes = [*SHORT, "workload.batch_size=4"]
    run = sflsim.simulate(sflsim.load_scenario(tmp_path / "cifar10.yaml", changes))
    assert set(run.runs["status"]) == {"completed"}
    assert len(run.runs) == 7
    assert run.clients["samples"].unique().tolist() == [12.0]
    assert run.evaluations.groupby("variant")["loss"].nunique().min() > 1
    assert Session(run.scenario, Options()).requirements.costs(2).activation_bytes == 4 * 4 * 64 * 8 * 8


def test_without_the_data_it_says_what_to_download(tmp_path: Path) -> None:
    """Neither the weights nor the texts are there: both are named, with the place where they belong."""
    file = tmp_path / "opt_sst2.yaml"
    file.write_bytes((PAPERS / "opt_sst2.yaml").read_bytes())
    with pytest.raises(ScenarioError) as caught:
        sflsim.simulate(sflsim.load_scenario(file, SHORT))
    assert "model.safetensors" in str(caught.value)
