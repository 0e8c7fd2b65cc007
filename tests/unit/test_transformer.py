"""Transformers cut into blocks against Hugging Face's own whole models, and every algorithm on one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers
from pydantic import BaseModel, ConfigDict
from support import read
from torch import Tensor, nn

import sflsim
from sflsim import registry
from sflsim.errors import ScenarioError, SflsimError
from sflsim.learning.data.base import Data
from sflsim.learning.models.transformer import Transformer
from sflsim.learning.split import cut_blocks
from sflsim.learning.task import built
from sflsim.streams import generator

LENGTH, WORDS, CLASSES = 7, 50, 3
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": WORDS}
GROUPED = {**SIZES, "intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 8}
IMAGE = {"image_size": 8, "patch_size": 4, "num_channels": 1}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "opt": {**SIZES, "ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 16},
    "opt-350m": {  # projections at both ends, norms after the sums
        **SIZES, "ffn_dim": 24, "word_embed_proj_dim": 8, "max_position_embeddings": 16,
        "do_layer_norm_before": False,
    },
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": WORDS, "n_positions": 16},
    "llama": GROUPED,
    "gemma3_text": {**GROUPED, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "qwen2": {**SIZES, "intermediate_size": 24, "num_key_value_heads": 1},
    "bert": {**SIZES, "intermediate_size": 24, "max_position_embeddings": 16},
    "vit": {**SIZES, "intermediate_size": 24, **IMAGE},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def model_of(name: str, **more: Any) -> Transformer:
    kind = "opt" if name == "opt-350m" else name
    sizes = dict(ARCHITECTURES[name])
    if kind == "vit":
        sizes.pop("vocab_size")
    return Transformer(config={"model_type": kind, **sizes}, **more)


def inputs_of(name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a batch as the blocks take it, and as the library's model does; with padding at the end."""
    source = torch.Generator().manual_seed(3)
    if name == "vit":
        images = torch.randn(4, 1, 8, 8, generator=source)
        return images, {"pixel_values": images}
    ids = torch.randint(5, WORDS, (4, LENGTH), generator=source)
    mask = torch.ones(4, LENGTH, dtype=torch.int64)
    mask[1, 4:], mask[2, 1:] = 0, 0
    ids[mask == 0] = 1
    return torch.stack([ids, mask], dim=1), {"input_ids": ids, "attention_mask": mask}


def whole_of(name: str) -> nn.Module:
    """Return the library's own model with the weights that `build` draws under the same seed."""
    settings = model_of(name)._settings()
    torch.manual_seed(11)
    return transformers.AutoModel.from_config(settings).eval()


def built_under_seed(model: Transformer, name: str) -> list[tuple[str, nn.Module]]:
    torch.manual_seed(11)
    return model.build((1, 8, 8) if name == "vit" else (2, LENGTH), CLASSES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cut_anywhere_it_computes_what_the_whole_model_does(name: str) -> None:
    """Outputs bit by bit and gradients to rounding, at every cut, with padded sequences."""
    blocks = built_under_seed(model_of(name), name)
    x, own_inputs = inputs_of(name)
    whole, score = whole_of(name), blocks[-1][1].score
    hidden = whole(**own_inputs).last_hidden_state
    causal = name not in ("bert", "vit")
    places = own_inputs["attention_mask"].sum(1) - 1 if causal else torch.zeros(4, dtype=torch.int64)
    logits = hidden[torch.arange(4), places] @ score.weight.detach().T
    loss_weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * loss_weights).sum().backward()
    wanted = {
        parameter: gradient.grad
        for parameter, gradient in whole.named_parameters()
        if gradient.grad is not None
    }
    norms = sorted(float(gradient.norm()) for gradient in wanted.values())

    for cut in range(1, len(blocks)):
        client, server = cut_blocks(blocks, cut)
        x_c, x_s = client.initial().requires_grad_(), server.initial().requires_grad_()
        z = client.apply(client.views(x_c[None]), x)
        assert z.shape[-1] == (17 if name != "vit" else 16)
        received = z.detach().requires_grad_()
        split_logits = server.apply(server.views(x_s[None]), received)
        assert torch.equal(split_logits, logits)
        cut_gradient, g_s = torch.autograd.grad((split_logits * loss_weights).sum(), [received, x_s])
        (g_c,) = torch.autograd.grad(z, x_c, cut_gradient)
        found = [*client.views(g_c[None]), *server.views(g_s[None])[:-1]]
        assert sorted(float(one.norm()) for one in found if one.norm() > 0) == pytest.approx(
            [norm for norm in norms if norm > 0], rel=1e-4, abs=1e-9
        )


def test_every_parameter_of_the_model_lies_in_one_block() -> None:
    """Nothing is lost and nothing is there twice: the embeddings lie in the first block alone."""
    blocks = built_under_seed(model_of("opt"), "opt")
    sizes = [sum(parameter.numel() for parameter in block.parameters()) for _, block in blocks]
    layer = 4 * (16 * 16 + 16) + 2 * 2 * 16 + 2 * 16 * 24 + 24 + 16
    assert sizes == [WORDS * 16 + 18 * 16 + layer, layer, layer, 2 * 16 + CLASSES * 16]
    assert [name for name, _ in blocks] == ["layer-1", "layer-2", "layer-3", "head"]


def test_models_that_are_no_chain_are_refused() -> None:
    """ALBERT runs through one layer many times: there is no layer to cut after."""
    albert = Transformer(config={"model_type": "albert", **SIZES, "intermediate_size": 24})
    with pytest.raises(SflsimError, match="does not pass once through each layer"):
        albert.build((2, LENGTH), 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"config": {"model_type": "optt"}}, ["optt", "did you mean 'opt'?"]),
        ({"config": {"model_type": "opt", "hiden_size": 8}}, ["hiden_size", "did you mean 'hidden_size'?"]),
        ({"config": {"model_type": "t5"}}, ["encoder-decoder", "one chain of layers"]),
        ({"name": "nobody/such-a-model"}, ["nobody/such-a-model", "download config.json", "safetensors"]),
    ],
)
def test_what_cannot_be_had_is_named(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ScenarioError) as caught:
        Transformer(**fields).build((2, LENGTH), 2)
    for word in words:
        assert word in str(caught.value)


def test_texts_longer_than_the_model_takes_are_refused() -> None:
    with pytest.raises(ScenarioError, match="at most 16 for this model"):
        model_of("opt").build((2, 17), 2)


def test_from_a_folder_with_words_for_labels(tmp_path: Any) -> None:
    """A saved model and a tokenizer trained here: the classifier starts as the words' embeddings."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    whole_of("opt").save_pretrained(tmp_path / "model", safe_serialization=True)
    vocabulary = {"<pad>": 1, "<unk>": 0, "bad": 7, "good": 9}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(
        tmp_path / "model"
    )
    model = Transformer.model_validate(
        {"name": "model", "labels": ["bad", "good"]}, context={"base_dir": tmp_path}
    )
    blocks = model.build((2, LENGTH), 2)
    embedding = whole_of("opt").get_input_embeddings().weight
    assert torch.equal(blocks[-1][1].score.weight, embedding[[7, 9]])
    x, own_inputs = inputs_of("opt")
    hidden = whole_of("opt")(**own_inputs).last_hidden_state
    for _, block in blocks[:-1]:
        x = block(x)
    assert torch.equal(blocks[-1][1].tail(x[..., :-1]), hidden)
    with pytest.raises(ScenarioError, match="2 words"):
        model.build((2, LENGTH), 3)


# Adapters.


@pytest.mark.parametrize("name", ["opt", "gpt2", "vit"])
def test_adapters_start_as_the_model_and_are_all_that_is_trained(name: str) -> None:
    """B is nought: the same logits; queries and values get A and B, the classifier stays trained."""
    torch.manual_seed(11)
    shape = (1, 8, 8) if name == "vit" else (2, LENGTH)
    adapted = built(model_of(name, adapters={"rank": 2, "alpha": 4.0}), shape, CLASSES, 1)
    plain = built_under_seed(model_of(name), name)
    x, _ = inputs_of(name)
    client, server = cut_blocks(adapted, 2)
    z = client.apply(client.views(client.initial()[None]), x)
    logits = server.apply(server.views(server.initial()[None]), z)
    for _, block in plain:
        x = block(x)
    assert torch.equal(logits, x)
    per_layer = {"opt": 2 * 2 * (16 + 16), "gpt2": 2 * (16 + 48), "vit": 2 * 2 * (16 + 16)}[name]
    assert client.dimension == 2 * per_layer
    assert server.dimension == per_layer + CLASSES * 16


def test_adapters_on_one_part_leave_the_other_trained_in_full() -> None:
    torch.manual_seed(11)
    blocks = built(model_of("opt", adapters={"rank": 2, "on": "client"}), (2, LENGTH), CLASSES, 1)
    client, server = cut_blocks(blocks, 1)
    assert client.dimension == 2 * 2 * (16 + 16)
    assert server.dimension == sum(
        parameter.numel()
        for _, block in built_under_seed(model_of("opt"), "opt")[1:]
        for parameter in block.parameters()
    )


def test_unknown_target_layers_are_refused() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'q_proj'"):
        built(model_of("opt", adapters={"targets": ["q_prj"]}), (2, LENGTH), CLASSES, 1)


# Every algorithm.


class Words(BaseModel):
    """Sequences of random words; the class is the remainder of the last that counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["random-words"] = "random-words"
    classes: int = CLASSES
    sample_shape: tuple[int, ...] = (2, LENGTH)
    sample_dtype: str = "int64"

    def _drawn(self, part: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        ids = generator("random-words", part).integers(5, WORDS, (size, LENGTH))
        return ids, ids[:, 4] % CLASSES

    def training_labels(self) -> np.ndarray:
        return self._drawn("train", 400)[1].astype(np.int64)

    def load(self) -> Data:
        parts = []
        for part, size in (("train", 400), ("test", 100)):
            ids, labels = self._drawn(part, size)
            mask = np.ones_like(ids)
            mask[:, 5:] = 0
            parts += [torch.from_numpy(np.stack([ids, mask], axis=1)), torch.from_numpy(labels)]
        return Data(*parts, self.classes)


@pytest.fixture
def _words() -> Iterator[None]:
    sflsim.register_dataset(Words)
    yield
    registry._registered["datasets"].remove(Words)


def trained(variants: list[Any], model: Transformer, rounds: int = 2, batch_size: int = 4) -> sflsim.Run:
    return sflsim.simulate(
        read(
            {
                "name": "words",
                "workload": {
                    "dataset": "random-words",
                    "model": model.model_dump(mode="json", exclude_none=True),
                    "cut": "layer-2",
                    "batch_size": batch_size,
                },
                "fleet": {"clients": 3, "groups": [{"device": "raspberry-pi-5"}]},
                "variants": variants,
                "stop": {"rounds": rounds},
                "evaluate": {"every": "1 round"},
            }
        )
    )


ALGORITHMS = [name for name in registry.algorithms() if name != "fedlora"]
NEEDS = {"gas": {"q_c": 3, "q_s": 2}, "zo-gas": {"q_c": 3, "q_s": 2}, "fedbuff": {"b": 2}}


@pytest.mark.usefixtures("_words")
@pytest.mark.parametrize(
    "adapters",
    [pytest.param(None, marks=pytest.mark.slow), {"rank": 2}],
    ids=["full", "adapters"],
)
def test_every_algorithm_trains_it(adapters: dict[str, Any] | None) -> None:
    """Losses are finite and change; with adapters only they and the classifier are sent."""
    names = ALGORITHMS if adapters is None else [*ALGORITHMS, "fedlora"]
    variants = [{"algorithm": name, **NEEDS.get(name, {})} for name in names]
    run = trained(variants, model_of("opt", adapters=adapters), batch_size=16)  # few of them in an epoch
    assert set(run.runs["status"]) == {"completed"}, run.runs
    losses = run.evaluations.groupby("variant")["loss"]
    assert np.isfinite(run.evaluations["loss"]).all()
    assert (losses.nunique() > 1).all(), losses.nunique()


@pytest.mark.usefixtures("_words")
def test_it_learns() -> None:
    """The last word decides the class; a first-order algorithm finds that out."""
    adam = {"name": "AdamW", "lr": 0.01}
    variant = {
        "algorithm": "splitfed-v1", "client_optimizer": adam, "server_optimizer": adam, "local_iterations": 5,
    }  # fmt: skip
    full = trained([variant], model_of("opt"), rounds=12).evaluations["accuracy"]
    assert full.iloc[-1] > 0.8
    assert full.iloc[0] < 0.6
