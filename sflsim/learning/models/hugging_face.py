"""Configs, weights and label rows from Hugging Face's library: a folder, its cache or the hub.

Needs the extra `llm`; transformers lazily. Code that a model brings along is never run.
"""

from __future__ import annotations

import copy
import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sflsim.errors import ScenarioError, SflsimError, did_you_mean, refused
from sflsim.learning.signatures import misfits
from sflsim.readers.files import SETTINGS_BYTES, NotAFile, check_all, read_bytes

if TYPE_CHECKING:
    from torch import nn

SUPPORTED = (
    *("bert", "bloom", "deit", "distilbert", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox"),
    *("llama", "mistral", "opt", "phi", "qwen2", "qwen3", "roberta", "vit", "xglm"),
)
"""The architectures that can be cut, by the library's `model_type`."""
HUB = "huggingface.co"


def transformers_library() -> Any:
    """Return the library.

    Raises:
        SflsimError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise SflsimError("model transformer needs transformers: pip install 'sflsim[llm]'") from error
    return transformers


def for_architecture(changes: dict[str, Any]) -> Any:
    """Return the config of an architecture (its `model_type`) with some changes."""
    auto_config = transformers_library().AutoConfig
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


def from_name(name: str) -> Any:
    """Return the config of a folder, or of a model of the hub."""
    settings = _got(
        name, lambda **options: transformers_library().AutoConfig.from_pretrained(name, **options)
    )
    _check_supported(settings.model_type, "workload.model.name")
    return settings


def _check_supported(kind: str, path: str) -> None:
    if kind not in SUPPORTED:
        found = f"the architecture {kind!r}, which is not supported"
        raise refused(path, found, ", ".join(SUPPORTED), did_you_mean(kind, SUPPORTED))


def base_model(settings: Any) -> nn.Module:
    """Return the model without a head, its weights drawn at random."""
    model: nn.Module = transformers_library().AutoModel.from_config(
        copy.deepcopy(settings), trust_remote_code=False
    )
    return model


def loaded(name: str, settings: Any) -> nn.Module:
    """Return the model without a head, its weights read from safetensors."""

    def load(**options: Any) -> nn.Module:
        model: nn.Module = transformers_library().AutoModel.from_pretrained(
            name, config=copy.deepcopy(settings), use_safetensors=True, dtype="float32", **options
        )
        return model

    model: nn.Module = _got(name, load)
    return model


def label_rows(name: str, base: Any, labels: tuple[str, ...], classes: int) -> Any:
    """Return the rows [K, H] of the embedding that belong to the first token of each label."""
    if len(labels) != classes:
        raise refused("workload.model.labels", f"{len(labels)} words", f"{classes}, one per class")
    tokenizer = _got(
        name, lambda **options: transformers_library().AutoTokenizer.from_pretrained(name, **options)
    )
    tokens = [tokenizer(label, add_special_tokens=False)["input_ids"][0] for label in labels]
    return base.get_input_embeddings().weight[tokens]


def _got(name: str, load: Callable[..., Any]) -> Any:
    """Return what `load` finds in a folder or, for a name, in the cache of the hub or on the hub itself."""
    options = {"trust_remote_code": False, "local_files_only": True}
    is_folder = os.path.isdir(name)
    try:
        if is_folder:
            _check_files(Path(name))
        return load(**options)
    except Exception as error:
        if is_folder:
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


def _check_files(folder: Path) -> None:
    """Refuse a folder with anything but files in it, or with weights that lie elsewhere.

    Raises:
        OSError: its text says which file is wrong, and how.
    """
    check_all(folder, ".json", SETTINGS_BYTES)
    for index in folder.glob("*.index.json"):
        named = json.loads(read_bytes(index, SETTINGS_BYTES))["weight_map"].values()
        wrong = next((one for one in named if not re.fullmatch(r"[^/\\]+\.safetensors", str(one))), None)
        if wrong is not None:
            raise NotAFile(f"{index.name} names {wrong!r}, which is no .safetensors file in its folder")
