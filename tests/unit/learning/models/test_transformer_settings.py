"""Settings of a transformer that its library refuses are mistakes at the model, in the library's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict
from support import data, read
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import sflsim
from sflsim import registry
from sflsim.errors import ScenarioError
from sflsim.learning.data import text
from sflsim.learning.data.base import Data
from sflsim.session import Options, Session

LENGTH = 8
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
KINDS: dict[str, dict[str, Any]] = {
    "bert": {"intermediate_size": 24, "max_position_embeddings": LENGTH},
    "gpt2": {"n_positions": LENGTH},
    "llama": {"num_key_value_heads": 1, "intermediate_size": 24},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": LENGTH},
    "roberta": {"intermediate_size": 24, "max_position_embeddings": LENGTH},
}


class Words(BaseModel):
    """Texts of one length, all of it read."""

    model_config = ConfigDict(frozen=True)
    sample_dtype: ClassVar[str] = "int64"

    kind: Literal["few-words"] = "few-words"
    classes: int = 2
    sample_shape: tuple[int, ...] = (2, LENGTH)

    def training_labels(self) -> np.ndarray:
        return np.arange(8) % 2

    def load(self) -> Data:
        x, y = torch.ones(8, 2, LENGTH, dtype=torch.int64), torch.arange(8) % 2
        return Data(x, y, x, y, 2)


@pytest.fixture(autouse=True)
def _words() -> Iterator[None]:
    with registry.forgetting():
        sflsim.register_dataset(Words)
        yield


def scenario(kind: str, **settings: Any) -> sflsim.Scenario:
    config = {"model_type": kind, **SIZES, **KINDS[kind], **settings}
    model = {"kind": "transformer", "config": config}
    workload = {"dataset": "few-words", "model": model, "cut": 1, "batch_size": 2}
    return read(data(workload=workload, fleet={"clients": 2, "groups": [{"device": "jetson-nano"}]}))


@pytest.mark.parametrize(("kind", "settings", "word"), [
    ("bert", {"num_attention_heads": 3}, "multiple"),
    ("bert", {"num_attention_heads": 0}, "ZeroDivisionError"),
    ("bert", {"hidden_act": "nope"}, "nope"),
    ("bert", {"hidden_dropout_prob": 5}, "between 0 and 1"),
    ("bert", {"vocab_size": 0}, ""),
    ("bert", {"vocab_size": -3}, "negative dimension"),
    ("bert", {"hidden_size": 0}, ""),
    ("bert", {"hidden_size": 1 << 40}, "overflow"),
    ("bert", {"dtype": "float16"}, ""),
    ("bert", {"pad_token_id": 500}, "num_embeddings"),
    ("bert", {"add_cross_attention": True}, ""),
    ("bert", {"initializer_range": -1.0}, "std"),
    ("bert", {"chunk_size_feed_forward": 3}, "chunk"),
    ("bert", {"num_hidden_layers": 10**7}, "10000000 layers"),
    ("gpt2", {"activation_function": "zzz"}, "zzz"),
    ("opt", {"word_embed_proj_dim": 0}, ""),
    ("llama", {"rope_parameters": {"rope_type": "zzz"}}, "zzz"),
    ("llama", {"num_key_value_heads": 0}, ""),
    ("roberta", {}, "out of"),  # its positions begin behind the padding's
])  # fmt: skip
def test_what_the_library_refuses(kind: str, settings: dict[str, Any], word: str) -> None:
    wrong = scenario(kind, **settings)
    with pytest.raises(ScenarioError) as caught:
        Session(wrong, Options()).check()
    (problem,) = caught.value.problems
    assert problem.path == "workload.model"
    assert word in problem.found
    assert problem.line == wrong.source.lines["workload.model"]


def test_no_layer_is_no_model() -> None:
    with pytest.raises(ScenarioError, match="0 layers"):
        Session(scenario("bert", num_hidden_layers=0), Options()).check()


@pytest.mark.parametrize(
    ("kind", "settings"), [("roberta", {"max_position_embeddings": LENGTH + 2}), ("bert", {})]
)
def test_texts_as_long_as_the_model_reads(kind: str, settings: dict[str, Any]) -> None:
    assert sflsim.simulate(scenario(kind, **settings)).status == "completed"


class Panic(BaseException):
    """As the library in Rust raises it: no Exception."""


def test_a_tokenizer_that_panics(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "tokenizer.json"
    Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>")).save(str(file))
    tokenizer = text.load_tokenizer(str(file))

    def panics(*texts: Any, **options: Any) -> Any:
        raise Panic("index out of bounds: the len is 1")

    monkeypatch.setattr(type(tokenizer), "__call__", panics)
    with pytest.raises(ScenarioError, match="the len is 1") as caught:
        text.tokens(["a b"], tokenizer, LENGTH)
    assert caught.value.problems[0].path == "workload.dataset.tokenizer"
    monkeypatch.setattr(type(tokenizer), "get_vocab", panics)
    with pytest.raises(ScenarioError, match="the len is 1"):
        text.vocabulary_of(str(file))
