"""Transformers cut into blocks against Hugging Face's own whole models, and every algorithm on one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
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
from sflsim.errors import ScenarioError
from sflsim.learning.data.base import Data
from sflsim.learning.models.hugging_face import SUPPORTED
from sflsim.learning.models.transformer import Transformer
from sflsim.learning.network.split import Part, cut_blocks
from sflsim.learning.profiling.measure import derive_whole, workload_costs
from sflsim.learning.task import built
from sflsim.rows import Evaluation
from sflsim.session.session import Options, Session
from sflsim.streams import generator

LENGTH, WORDS, CLASSES = 7, 50, 3
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "vocab_size": WORDS}
DENSE = {**SIZES, "intermediate_size": 24}
GROUPED = {**DENSE, "num_key_value_heads": 1}
WINDOWED = {**GROUPED, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
SHORT = {"max_position_embeddings": 16}
IMAGE = {
    "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24,
    "image_size": 8, "patch_size": 4, "num_channels": 1,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {**DENSE, **SHORT},
    "bloom": SIZES,
    "deit": IMAGE,
    "distilbert": {**SIZES, "hidden_dim": 24, **SHORT},
    "gemma": {**GROUPED, "head_dim": 8},
    "gemma2": WINDOWED,
    "gemma3_text": WINDOWED,
    "gpt2": {**SIZES, "n_positions": 16},
    "gpt_neo": {**DENSE, **SHORT},
    "gpt_neox": DENSE,
    "llama": GROUPED,
    "mistral": GROUPED,
    "opt": {**SIZES, "ffn_dim": 24, "word_embed_proj_dim": 16, **SHORT},
    "phi": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "roberta": {**DENSE, **SHORT},
    "vit": IMAGE,
    "xglm": {**SIZES, "ffn_dim": 24, **SHORT},
}
OPT_350M = {**SIZES, "ffn_dim": 24, "word_embed_proj_dim": 8, **SHORT, "do_layer_norm_before": False}
"""Projections at both ends, norms after the sums."""
READ_FIRST = ("bert", "distilbert", "roberta", "vit", "deit")
IMAGES = ("vit", "deit")
NAMES = [*ARCHITECTURES, "opt-350m"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def model_of(name: str, layers: int = 3, **more: Any) -> Transformer:
    kind, sizes = ("opt", OPT_350M) if name == "opt-350m" else (name, ARCHITECTURES[name])
    config = {"model_type": kind, "num_hidden_layers": layers, **sizes}
    if kind == "gpt_neo":
        config["attention_types"] = [[["global"], 1], [["local"], layers - 1]]
    return Transformer(config=config, **more)


def inputs_of(name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a batch as the blocks take it, and as the library's model does; with padding at the end."""
    source = torch.Generator().manual_seed(3)
    if name in IMAGES:
        images = torch.randn(4, 1, 8, 8, generator=source)
        return images, {"pixel_values": images}
    ids = torch.randint(5, WORDS, (4, LENGTH), generator=source)
    mask = torch.ones(4, LENGTH, dtype=torch.int64)
    mask[1, 4:], mask[2, 1:] = 0, 0
    ids[mask == 0] = 1
    return torch.stack([ids, mask], dim=1), {"input_ids": ids, "attention_mask": mask}


def whole_of(model: Transformer) -> nn.Module:
    """Return the library's own model with the weights that `build` draws under the same seed."""
    torch.manual_seed(11)
    config = transformers.AutoConfig.for_model(**(model.config or {}))
    return transformers.AutoModel.from_config(config, attn_implementation=model.attention).eval()


def shape_of(name: str) -> tuple[int, ...]:
    return (1, 8, 8) if name in IMAGES else (2, LENGTH)


def built_under_seed(model: Transformer, name: str) -> list[tuple[str, nn.Module]]:
    torch.manual_seed(11)
    return model.build(shape_of(name), CLASSES)


def test_all_that_is_supported_and_documented_is_tested() -> None:
    """One list of architectures: in the code, in these tests, in the docs."""
    assert tuple(ARCHITECTURES) == SUPPORTED
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "transformers.md").read_text(encoding="utf-8")
    listed = next(line for line in page.splitlines() if line.startswith("| `model_type` |"))
    assert tuple(re.findall(r"`(\w+)`", page[page.index(listed) :].partition("\n\n")[0])[1:]) == SUPPORTED


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_cut_anywhere_it_computes_what_the_whole_model_does(name: str, layers: int) -> None:
    """Outputs bit by bit and gradients to rounding, at every cut, with padded sequences."""
    model = model_of(name, layers)
    blocks = built_under_seed(model, name)
    x, own_inputs = inputs_of(name)
    whole, score = whole_of(model), blocks[-1][1].score
    hidden = whole(**own_inputs).last_hidden_state
    is_last = name not in READ_FIRST
    places = own_inputs["attention_mask"].sum(1) - 1 if is_last else torch.zeros(4, dtype=torch.int64)
    logits = hidden[torch.arange(4), places] @ score.weight.detach().T
    loss_weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * loss_weights).sum().backward()
    wanted = [one.grad for one in whole.parameters() if one.grad is not None]
    norms = sorted(float(gradient.norm()) for gradient in wanted)

    for cut in range(1, len(blocks)):
        client, server = cut_blocks(blocks, cut)
        x_c, x_s = client.initial().requires_grad_(), server.initial().requires_grad_()
        z = client.apply(client.views(x_c[None]), x)
        assert z.shape[-1] == (16 if name in IMAGES else 17)
        received = z.detach().requires_grad_()
        split_logits = server.apply(server.views(x_s[None]), received)
        assert torch.equal(split_logits, logits)
        cut_gradient, g_s = torch.autograd.grad((split_logits * loss_weights).sum(), [received, x_s])
        (g_c,) = torch.autograd.grad(z, x_c, cut_gradient)
        found = [*client.views(g_c[None]), *server.views(g_s[None])[:-1]]
        assert sorted(float(one.norm()) for one in found if one.norm() > 0) == pytest.approx(
            [norm for norm in norms if norm > 0], rel=1e-4, abs=1e-9
        )


@pytest.mark.usefixtures("_words")
@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_each_is_validated_costed_and_trained(name: str, layers: int) -> None:
    """The costs of two cuts add up to one network, and two rounds end well."""
    model = model_of(name, layers)
    scenario = scenario_of(["splitfed-v1"], model, cut="layer-1")
    session = Session(scenario, Options())
    session.check()
    costs = {1: session.requirements.costs(1)}
    if layers > 2:  # deriving them takes most of this test
        costs |= workload_costs(scenario.workload, [layers])
    assert len({one.client_model_bytes + one.server_model_bytes for one in costs.values()}) == 1
    assert len({one.client_forward_flop + one.server_forward_flop for one in costs.values()}) == 1
    blocks = model.build(shape_of(name), scenario.workload.dataset.classes)
    parameters = sum(one.numel() for _, block in blocks for one in block.parameters())
    assert costs[1].client_model_bytes + costs[1].server_model_bytes == 4 * parameters
    rows: list[Evaluation] = []
    assert session.run(0, 0, rows.append).status == "completed"
    losses = [row.loss for row in rows]
    assert len(set(losses)) > 1
    assert np.isfinite(losses).all()


def test_where_it_is_read_is_found_by_what_it_computes() -> None:
    """BERT as a decoder knows nothing of later tokens: it is read at the last one, BERT at the first."""
    decoder = Transformer(config={**model_of("bert").config, "is_decoder": True})
    for model, is_last in ((decoder, True), (model_of("bert"), False)):
        blocks = built_under_seed(model, "bert")
        x, own_inputs = inputs_of("bert")
        places = own_inputs["attention_mask"].sum(1) - 1 if is_last else torch.zeros(4, dtype=torch.int64)
        hidden = whole_of(model)(**own_inputs).last_hidden_state
        for _, block in blocks:
            x = block(x)
        assert torch.equal(x, hidden[torch.arange(4), places] @ blocks[-1][1].score.weight.T)


@pytest.mark.parametrize("name", ["gpt2", "xglm", "bert"])
def test_costs_do_not_depend_on_where_it_is_read(name: str) -> None:
    """On the meta device nobody can find that out."""
    blocks = built_under_seed(model_of(name), name)
    read = []
    for is_last in (False, True):
        blocks[-1][1].reads_last = is_last
        with torch.device("meta"):
            z = torch.empty(2, LENGTH, 17)
        read.append(derive_whole(Part([(n, b.to("meta")) for n, b in blocks[-1:]]), z[0], 2))
    assert read[0] == read[1]


def test_a_version_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a new OPT added something between its layers: one sentence names the version."""
    kind = type(whole_of(model_of("opt")).decoder)
    plain = kind.forward

    def doubled(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = plain(self, *args, **kwargs)
        out.last_hidden_state = 2 * out.last_hidden_state
        return out

    monkeypatch.setattr(kind, "forward", doubled)
    with pytest.raises(
        ScenarioError, match=f"opt of transformers {transformers.__version__} .*do not compute"
    ):
        model_of("opt").build((2, LENGTH), CLASSES)


def test_every_parameter_of_the_model_lies_in_one_block() -> None:
    """Nothing is lost and nothing is there twice: the embeddings lie in the first block alone."""
    blocks = built_under_seed(model_of("opt"), "opt")
    sizes = [sum(parameter.numel() for parameter in block.parameters()) for _, block in blocks]
    layer = 4 * (16 * 16 + 16) + 2 * 2 * 16 + 2 * 16 * 24 + 24 + 16
    assert sizes == [WORDS * 16 + 18 * 16 + layer, layer, layer, 2 * 16 + CLASSES * 16]
    assert [name for name, _ in blocks] == ["layer-1", "layer-2", "layer-3", "head"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"config": {"model_type": "optt"}}, ["optt", "did you mean 'opt'?"]),
        ({"config": {"model_type": "opt", "hiden_size": 8}}, ["hiden_size", "did you mean 'hidden_size'?"]),
        ({"config": {"model_type": "t5"}}, ["'t5', which is not supported", "gpt2, gpt_neo"]),
        ({"config": {"model_type": "albert"}}, ["'albert', which is not supported"]),
        ({"config": {"model_type": "mamba"}}, ["'mamba', which is not supported"]),
        ({"config": {"model_type": "swin"}}, ["'swin', which is not supported"]),
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

    whole_of(model_of("opt")).save_pretrained(tmp_path / "model", safe_serialization=True)
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
    embedding = whole_of(model_of("opt")).get_input_embeddings().weight
    assert torch.equal(blocks[-1][1].score.weight, embedding[[7, 9]])
    x, own_inputs = inputs_of("opt")
    hidden = whole_of(model_of("opt"))(**own_inputs).last_hidden_state
    for _, block in blocks[:-1]:
        x = block(x)
    assert torch.equal(blocks[-1][1].tail(x[..., :-1]), hidden)
    with pytest.raises(ScenarioError, match="2 words"):
        model.build((2, LENGTH), 3)


# Adapters.


@pytest.mark.parametrize("name", ["opt", "gpt2", "vit"])
def test_adapters_start_as_the_model_and_are_all_that_is_trained(name: str) -> None:
    """B is zero: the same logits; queries and values get A and B, the classifier stays trained."""
    torch.manual_seed(11)
    adapted = built(model_of(name, adapters={"rank": 2, "alpha": 4.0}), shape_of(name), CLASSES, 1)
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
    with registry.forgetting():
        sflsim.register_dataset(Words)
        yield


def scenario_of(variants: list[Any], model: Transformer, **more: Any) -> sflsim.Scenario:
    is_image = model.config is not None and model.config["model_type"] in IMAGES
    return read(
        {
            "name": "words",
            "workload": {
                "dataset": "digits" if is_image else "random-words",
                "model": model.model_dump(mode="json", exclude_none=True),
                **{"cut": "layer-2", "batch_size": 4, **more},
            },
            "fleet": {"clients": 3, "groups": [{"device": "raspberry-pi-5"}]},
            "variants": variants,
            "stop": {"rounds": 2},
            "evaluate": {"every": "2 rounds" if is_image else "1 round"},
        }
    )


def trained(variants: list[Any], model: Transformer, rounds: int = 2, batch_size: int = 4) -> sflsim.Run:
    scenario = scenario_of(variants, model, batch_size=batch_size)
    stop = scenario.stop.model_copy(update={"rounds": rounds})
    return sflsim.simulate(scenario.model_copy(update={"stop": stop}))


ALGORITHMS = [name for name in registry.algorithms() if name != "fedlora"]
BUFFERED: dict[str, Any] = {"q_c": 3, "q_s": 2, "generate": False}
NEEDS: dict[str, dict[str, Any]] = {"gas": BUFFERED, "zo-gas": BUFFERED, "fedbuff": {"b": 2}}


@pytest.mark.usefixtures("_words")
@pytest.mark.slow
@pytest.mark.parametrize("adapters", [None, {"rank": 2}], ids=["full", "adapters"])
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
@pytest.mark.parametrize("name", ["opt", "vit"])
@pytest.mark.parametrize("variant", [{"algorithm": "psl", "share_gradient": 0.5}, {"algorithm": "gas"}])
def test_a_mask_is_neither_averaged_nor_generated(name: str, variant: dict[str, Any]) -> None:
    """EPSL goes back from the mean of activations, GAS draws some; text has a mask beside them."""
    session = Session(scenario_of([variant], model_of(name)), Options())
    if name == "opt":
        with pytest.raises(ScenarioError) as caught:
            session.check()
        (problem,) = caught.value.problems
        assert (
            problem.path == f"variants[0].{'generate' if variant['algorithm'] == 'gas' else 'share_gradient'}"
        )
    else:
        session.check()


@pytest.mark.slow
@pytest.mark.usefixtures("_words")
def test_the_mask_travels_beside_a_compressed_activation() -> None:
    """4 samples of 7 places: 16 channels in 8 bits with a range, a mask of 4 byte that has no gradient."""
    every = dict.fromkeys(("activation", "gradient"), "int8")
    variants = [
        {"algorithm": "splitfed-v1", "name": "plain"},
        {"algorithm": "splitfed-v1", "name": "coded", "compression": every},
    ]
    run = trained(variants, model_of("opt"))
    sums = run.evaluations.groupby("variant")[["uplink_bytes", "downlink_bytes", "loss"]].last()
    messages, places = 2 * 3, 4 * LENGTH
    more = sums.loc["plain"] - sums.loc["coded"]

    assert set(run.runs["status"]) == {"completed"}
    assert more["uplink_bytes"] == messages * (4 * 17 * places - (16 * places + 8 + 4 * places))
    assert more["downlink_bytes"] == messages * (4 * 17 * places - (16 * places + 8))
    assert sums["loss"]["coded"] == pytest.approx(sums["loss"]["plain"], abs=0.01)


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
