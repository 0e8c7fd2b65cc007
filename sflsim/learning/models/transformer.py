"""Transformers of Hugging Face's library (extra `llm`), cut after any layer, for classification.

Only the architectures in `hugging_face.SUPPORTED`: each is compared with the library's whole model in the
tests, and again when it is built. Weights are drawn at random from a `config`, or come from a folder or the
hub by `name`. Torch and transformers lazily.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sflsim.errors import refused
from sflsim.foreign import failed, foreign
from sflsim.learning.models.base import ModelConfig
from sflsim.learning.models.hugging_face import (
    base_model,
    for_architecture,
    from_name,
    label_rows,
    loaded,
    transformers_library,
)
from sflsim.learning.network.lora import Adapters
from sflsim.learning.stamps import stamp_of
from sflsim.mistakes import wrong_value
from sflsim.readers.files import absolute

if TYPE_CHECKING:
    from torch import nn

HEAD = "head"
MOST_LAYERS = 1000
COMPUTED = (
    "settings, and a length of texts, that the library computes; in a version that sflsim was tested with"
)


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
        return str(absolute(folder)) if name and os.path.isdir(folder) else name

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
        if not 1 <= layers <= MOST_LAYERS:
            raise refused("workload.model", f"{layers} layers", f"1 to {MOST_LAYERS}")
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

        from sflsim.learning.network.transformer_blocks import Unsupported
        from sflsim.learning.network.transformer_split import split_transformer

        settings = self._settings()
        is_text = not hasattr(settings, "image_size")
        self._fits(settings, sample_shape, is_text)
        meta = torch.empty(0).is_meta
        version = transformers_library().__version__
        text = f"{settings.model_type} of transformers {version} on samples {sample_shape}"
        with foreign("workload.model", text, COMPUTED):
            base = base_model(settings) if meta or self.name is None else loaded(self.name, settings)
            score = nn.Linear(_width(settings), classes, bias=False)
            if self.labels is not None and not meta:
                assert self.name is not None
                with torch.no_grad():
                    score.weight.copy_(label_rows(self.name, base, self.labels, classes))
            try:
                blocks = split_transformer(base.eval(), score, sample_shape, is_text)
            except Unsupported as error:  # by another version of the library, or settings nobody has tried
                raise failed("workload.model", text, error, COMPUTED) from error
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
    settings = from_name(name) if name is not None else for_architecture(dict(json.loads(config)))
    settings.use_cache = False
    settings._attn_implementation = attention
    return settings


def _width(settings: Any) -> int:
    """Return the length of the vectors that the model's tail puts out."""
    return int(getattr(settings, "word_embed_proj_dim", None) or settings.hidden_size)
