"""Transformers of Hugging Face's library (extra `llm`), cut after any layer, for classification.

Those in `SUPPORTED` and no others: each is compared with the library's whole model in the tests, and
again when it is built. The weights are drawn at random from a `config`, or come from a folder or the
hub by `name`. Code that a model's folder brings along is never run, and nothing is unpickled. Torch
and transformers lazily.
"""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sflsim.errors import ScenarioError, SflsimError, did_you_mean, refused
from sflsim.learning.models.base import ModelConfig
from sflsim.learning.network.lora import Adapters
from sflsim.learning.signatures import misfits
from sflsim.learning.stamps import stamp_of
from sflsim.mistakes import wrong_value

if TYPE_CHECKING:
    from torch import nn

SUPPORTED = (
    *("bert", "bloom", "deit", "distilbert", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox"),
    *("llama", "mistral", "opt", "phi", "qwen2", "qwen3", "roberta", "vit", "xglm"),
)
"""The architectures that can be cut, by the library's `model_type`."""
HUB = "huggingface.co"
HEAD = "head"


class Transformer(ModelConfig):
    """Blocks layer-1 (with the embeddings) ... layer-n and head (final norm, linear classifier).

    Give `name` (a folder, or a model of the hub) or `config` (its `model_type` and whatever differs
    from that architecture's defaults; random weights). Where the first token knows nothing of later
    ones the model is read at its last token, else at its first. With `labels` the classifier starts
    as the rows of the model's output embedding that belong to these words, one per class, as in
    prompt-based fine-tuning.
    """

    kind: Literal["transformer"] = "transformer"
    name: str | None = Field(default=None, description="folder with config.json and safetensors, or hub name")
    config: dict[str, Any] | None = Field(
        default=None, description="e.g. {model_type: opt, hidden_size: 64, num_hidden_layers: 4}"
    )
    labels: tuple[str, ...] | None = Field(
        default=None, description="with `name`: a word for each class, e.g. [' terrible', ' great']"
    )
    adapters: Adapters | None = Field(
        default=None, description="low-rank adapters; all but they and the classifier is frozen then"
    )
    attention: Literal["eager", "sdpa"] = Field(
        default="eager", description="'sdpa' keeps no matrix of attention, which costs do not know"
    )

    trained_head: ClassVar[str] = r"head\.score\..*"
    """Names of the parameters that are trained beside adapters."""

    @field_validator("name")
    @classmethod
    def _folder(cls, name: str | None, info: ValidationInfo) -> str | None:
        """Return the absolute path of a folder beside the scenario; a name of the hub as it is."""
        folder = Path((info.context or {}).get("base_dir") or ".") / (name or "")
        return str(folder.resolve()) if name and folder.is_dir() else name

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.config is None):
            found = "both name and config" if self.name else "neither name nor config"
            raise wrong_value(found, "one of them", "e.g. 'config: {model_type: opt, hidden_size: 64}'")
        if self.labels is not None and self.name is None:
            raise wrong_value("labels with a config", "labels with a name", "random weights know no words")
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise wrong_value("a config without model_type", "e.g. model_type: opt, gpt2, llama, bert, vit")
        return self

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        layers = int(self._settings().num_hidden_layers)
        return [f"layer-{number}" for number in range(1, layers + 1)] + [HEAD]

    @property
    def vocabulary(self) -> int | None:
        """Return how many tokens the model knows; None for one of images."""
        size = getattr(self._settings(), "vocab_size", None)
        return None if size is None else int(size)

    def build(self, sample_shape: tuple[int, ...], classes: int) -> list[tuple[str, nn.Module]]:
        """Return the named blocks, for text [2, length] (token ids, mask) or images.

        Raises:
            ScenarioError: the weights cannot be had, do not fit the data, or the installed version of
                the library builds the architecture in a way that cannot be cut.
        """
        import torch
        from torch import nn

        from sflsim.learning.network.transformer_blocks import split_transformer

        settings = self._settings()
        is_text = not hasattr(settings, "image_size")
        self._fits(settings, sample_shape, is_text)
        meta = torch.empty(0).is_meta
        base = _base_model(settings) if meta or self.name is None else _loaded(self.name, settings)
        width = _width(settings)
        score = nn.Linear(width, classes, bias=False)
        if self.labels is not None and not meta:
            assert self.name is not None
            with torch.no_grad():
                score.weight.copy_(_label_rows(self.name, base, self.labels, classes))
        try:
            blocks = split_transformer(base.eval(), score, sample_shape, is_text)
        except Exception as error:  # whatever another version of the library does
            version = _transformers().__version__
            found = f"{settings.model_type} of transformers {version}, which cannot be cut: {error}"
            raise refused("workload.model", found, "the version that sflsim was tested with") from error
        return list(zip(self.block_names, blocks, strict=True))

    def _fits(self, settings: Any, sample_shape: tuple[int, ...], is_text: bool) -> None:
        """Refuse data that the model does not take."""
        if is_text:
            longest = int(getattr(settings, "max_position_embeddings", None) or sample_shape[-1])
            if len(sample_shape) != 2 or sample_shape[0] != 2:
                allowed = "a data set of text (token ids and mask), e.g. sst-2"
                raise refused("workload.dataset", f"samples of shape {sample_shape}", allowed)
            if sample_shape[1] > longest:
                found = f"{sample_shape[1]} tokens"
                raise refused("workload.dataset", found, f"at most {longest} for this model")
            return
        side = settings.image_size if isinstance(settings.image_size, int) else settings.image_size[0]
        wanted = (settings.num_channels, side, side)
        if tuple(sample_shape) != wanted:
            remedy = "give image_size and num_channels in the config"
            raise refused("workload.model", f"a model for images of {wanted}", f"{sample_shape}", remedy)

    def _settings(self) -> Any:
        """Return the library's own config of the model."""
        changed = stamp_of(self.name and Path(self.name) / "config.json")
        return _settings(self.name, json.dumps(self.config, sort_keys=True), self.attention, changed)


@lru_cache(maxsize=64)
def _settings(name: str | None, config: str, attention: str, changed: str) -> Any:
    """Return the config of a folder, of a model of the hub, or of an architecture with some changes."""
    settings = _from_name(name) if name is not None else _for_model(dict(json.loads(config)))
    settings.use_cache = False
    settings._attn_implementation = attention
    return settings


def _transformers() -> Any:
    """Return the library.

    Raises:
        SflsimError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise SflsimError("model transformer needs transformers: pip install 'sflsim[llm]'") from error
    return transformers


def _for_model(changes: dict[str, Any]) -> Any:
    auto_config = _transformers().AutoConfig
    kind = changes.pop("model_type")
    _check_supported(kind, "workload.model.config")
    plain = auto_config.for_model(kind)
    taken = sorted({*plain.to_dict(), *plain.attribute_map})
    for key in changes:
        if key not in taken:
            remedy = did_you_mean(key, taken)
            raise refused("workload.model.config", f"the unknown key {key!r}", ", ".join(taken), remedy)
    names = {plain.attribute_map.get(key, key): key for key in changes}
    given = {name: changes[key] for name, key in names.items()}
    if wrong := misfits(type(plain), given, plain.to_dict()):
        place = "workload.model.config"
        raise ScenarioError([replace(one, path=f"{place}.{names[one.path]}") for one in wrong])
    try:
        return auto_config.for_model(kind, **changes)
    except Exception as error:
        raise refused("workload.model.config", repr(changes), f"what {kind} takes", str(error)) from error


def _from_name(name: str) -> Any:
    settings = _got(name, lambda **options: _transformers().AutoConfig.from_pretrained(name, **options))
    _check_supported(settings.model_type, "workload.model.name")
    return settings


def _check_supported(kind: str, path: str) -> None:
    if kind not in SUPPORTED:
        found = f"the architecture {kind!r}, which is not supported"
        raise refused(path, found, ", ".join(SUPPORTED), did_you_mean(kind, SUPPORTED))


def _base_model(settings: Any) -> nn.Module:
    """Return the model without a head, its weights drawn at random."""
    model: nn.Module = _transformers().AutoModel.from_config(copy.deepcopy(settings), trust_remote_code=False)
    return model


def _loaded(name: str, settings: Any) -> nn.Module:
    """Return the model without a head, its weights read from safetensors."""

    def load(**options: Any) -> nn.Module:
        model: nn.Module = _transformers().AutoModel.from_pretrained(
            name, config=copy.deepcopy(settings), use_safetensors=True, dtype="float32", **options
        )
        return model

    model: nn.Module = _got(name, load)
    return model


def _label_rows(name: str, base: Any, labels: tuple[str, ...], classes: int) -> Any:
    """Return the rows [K, H] of the embedding that belong to the first token of each label."""
    if len(labels) != classes:
        raise refused("workload.model.labels", f"{len(labels)} words", f"{classes}, one per class")
    tokenizer = _got(name, lambda **options: _transformers().AutoTokenizer.from_pretrained(name, **options))
    tokens = [tokenizer(label, add_special_tokens=False)["input_ids"][0] for label in labels]
    return base.get_input_embeddings().weight[tokens]


def _got(name: str, load: Callable[..., Any]) -> Any:
    """Return what `load` finds in a folder or, for a name, in the cache of the hub or on the hub itself."""
    options = {"trust_remote_code": False, "local_files_only": True}
    try:
        return load(**options)
    except Exception as error:
        if Path(name).is_dir():
            allowed = "a folder with config.json and model.safetensors (and a tokenizer, for labels)"
            raise refused("workload.model.name", repr(name), allowed, str(error).split("\n")[0]) from error
    try:
        socket.getaddrinfo(HUB, 443)
        return load(**{**options, "local_files_only": False})
    except Exception as error:
        remedy = (
            f"download config.json, model.safetensors and the tokenizer's files from the model's page on "
            f"https://{HUB} into a folder beside the scenario, and name that folder"
        )
        found = f"{name!r}, which is neither a folder nor in the cache, and the hub cannot be reached"
        if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
            found = f"{name!r}: {str(error).splitlines()[0]}"
        raise refused("workload.model.name", found, "a folder, or a model of the hub", remedy) from error


def _width(settings: Any) -> int:
    """Return the length of the vectors that the model's tail puts out."""
    return int(getattr(settings, "word_embed_proj_dim", None) or settings.hidden_size)
