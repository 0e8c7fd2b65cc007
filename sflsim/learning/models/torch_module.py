"""A user's own network: a function that returns its blocks. Runs that function's code, so it needs trust.

Torch lazily.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from sflsim.errors import ScenarioError, refused
from sflsim.foreign import foreign
from sflsim.learning.models.base import ModelConfig
from sflsim.learning.network.lora import Adapters
from sflsim.learning.signatures import misfits, unknown
from sflsim.learning.user_code import imported, version_of
from sflsim.mistakes import wrong_value
from sflsim.readers.files import absolute
from sflsim.trust import UNTRUSTED, Trust, trusted

if TYPE_CHECKING:
    from torch import nn

Blocks = list[tuple[str, "nn.Module"]]
INSIDE = "build each layer and tensor inside the function, or inside __init__ of a module that it makes"
PLACE = "workload.model.module"
TRUSTED_CODE = "a model whose code is trusted"


class TorchModule(ModelConfig):
    """The blocks that `function(**arguments)` returns: an nn.Sequential, a dict, or (name, module) pairs.

    `module` is "package.module:function", or "file.py:function" with the file beside the scenario.
    Each block maps one tensor to one; the network can be cut after any but the last.
    """

    kind: Literal["torch-module"] = "torch-module"
    module: str = Field(description="e.g. 'my_package.networks:small' or 'network.py:small'; needs --trust")
    arguments: dict[str, Any] = Field(default_factory=dict, description="what the function is called with")
    adapters: Adapters | None = Field(
        default=None, description="low-rank adapters; all else is frozen then (extra llm)"
    )

    _trust: Trust = PrivateAttr(default_factory=Trust)

    @field_validator("module")
    @classmethod
    def _placed(cls, module: str, info: ValidationInfo) -> str:
        """Return the place of a file as an absolute path; refuse code at once where trust is denied."""
        place, colon, function = module.rpartition(":")
        if not (colon and place and function.isidentifier()):
            raise wrong_value(repr(module), "'package.module:function' or 'file.py:function'")
        context = info.context if isinstance(info.context, dict) else {}
        if context.get("trust") is False:
            raise wrong_value(repr(module), TRUSTED_CODE, UNTRUSTED)
        if not place.endswith(".py"):
            return module
        path = absolute(Path(context.get("base_dir") or ".") / place)
        if trusted() and not os.path.isfile(path):
            raise wrong_value(f"no file {place}", "a Python file, beside the scenario or by its path")
        return f"{path}:{function}"

    @model_validator(mode="after")
    def _with_the_readers_trust(self) -> Self:
        self._trust = Trust(trusted(), self.module)
        return self

    @property
    def trusted(self) -> bool:
        """Whether this very module may be imported and called."""
        return self._trust.given and self._trust.module == self.module

    def with_trust(self) -> Self:
        """Return this model with trust in its module."""
        copy = self.model_copy()
        copy._trust = Trust(True, self.module)
        return copy

    @property
    def block_names(self) -> list[str]:
        """Return the names of the blocks in order."""
        names, kept = _looked_at(self._made, self.code_version)
        if kept:
            found = f"{kept}, which {self.module} does not make: two calls return the same"
            raise self._problem(found, "fresh layers from each call", INSIDE)
        return list(names)

    @property
    def code_version(self) -> str:
        """Return a hash of the Python files that the function rests on."""
        self._function()  # refuses what is not trusted
        return version_of(imported(self.module.rpartition(":")[0]).__name__).hex()

    def build(self, sample_shape: tuple[int, ...], classes: int) -> Blocks:
        """Return the blocks, with fresh weights; the function's own arguments say for what samples.

        Raises:
            ScenarioError: they do not map samples of this shape to a number for each class.
        """
        import torch

        blocks = self._made()
        for _, block in blocks:
            for module in block.modules():
                if getattr(module, "inplace", False) is True and type(module).__module__.startswith("torch."):
                    module.inplace = False  # type: ignore[assignment] # a block's input is not its own
        x = torch.zeros(2, *sample_shape, device="meta" if torch.empty(0).is_meta else "cpu")
        remedy = INSIDE if x.is_meta else ""
        for name, block in blocks:
            with torch.no_grad(), foreign(PLACE, f"block {name}", f"samples {sample_shape}", remedy):
                x = block.eval()(x)
            if not isinstance(x, torch.Tensor):
                found = f"block {name}, which returns a {type(x).__name__}"
                raise self._problem(found, "one tensor for one tensor")
        if tuple(x.shape) != (2, classes):
            raise self._problem(f"an output of shape {tuple(x.shape)} for 2 samples", f"(2, {classes})")
        return blocks

    def _function(self) -> Callable[..., Any]:
        """Import the function.

        Raises:
            ScenarioError: there is none, or nobody trusts it.
        """
        if not self.trusted:
            raise refused(PLACE, repr(self.module), TRUSTED_CODE, UNTRUSTED)
        return _function(self.module)

    def _made(self) -> Blocks:
        """Call the function; return what it made as named blocks."""
        from torch import nn

        function = self._function()
        self._refuse_arguments(function)
        with foreign(PLACE, self.module, "a function that takes 'arguments' and returns blocks"):
            made = function(**self.arguments)
        if isinstance(made, nn.Sequential):
            made = [(name, block) for name, block in made._modules.items() if block is not None]
        pairs = list(made.items()) if isinstance(made, Mapping) else made
        if not _are_blocks(pairs):
            allowed = "an nn.Sequential, a dict or (name, module) pairs: two blocks or more, no dot in a name"
            raise self._problem(f"{self.module} returned {type(made).__name__}", allowed)
        return [(str(name), block) for name, block in pairs]

    def _refuse_arguments(self, function: Callable[..., Any]) -> None:
        """Refuse arguments that the function does not take, by name or by type."""
        try:
            wrong = unknown(function, self.arguments) or misfits(function, self.arguments)
        except (TypeError, ValueError):  # what has no signature tells only when it is called
            return
        if wrong:
            place = "workload.model.arguments"
            raise ScenarioError([replace(one, path=f"{place}.{one.path}") for one in wrong])

    def _problem(self, found: str, allowed: str, remedy: str = "") -> ScenarioError:
        return refused(PLACE, found, allowed, remedy)


@lru_cache(maxsize=64)
def _looked_at(made: Callable[[], Blocks], code_version: str) -> tuple[tuple[str, ...], str]:
    """Return the names of the blocks that `made` makes, and of a tensor that two calls have in common."""
    import torch

    with torch.device("meta"):
        one, other = made(), made()
    kept = {id(tensor) for _, _, tensor in _tensors(one)}
    places = (f"{name}.{path}" for name, path, tensor in _tensors(other) if id(tensor) in kept)
    return tuple(name for name, _ in one), next(places, "")


def _tensors(blocks: Blocks) -> Iterator[tuple[str, str, Any]]:
    for name, block in blocks:
        for path, tensor in (*block.named_parameters(), *block.named_buffers()):
            yield name, path, tensor


def _are_blocks(pairs: Any) -> bool:
    from torch import nn

    return (
        isinstance(pairs, Sequence)
        and len(pairs) > 1
        and all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
        and all(isinstance(name, str) and "." not in name for name, _ in pairs)
        and all(isinstance(block, nn.Module) for _, block in pairs)
        and len({name for name, _ in pairs}) == len(pairs)
    )


def _function(place: str) -> Callable[..., Any]:
    """Import the function that `place` names.

    Raises:
        ScenarioError: there is none.
    """
    module, _, name = place.rpartition(":")
    with foreign(PLACE, f"the import of {module}", "a module that can be imported"):
        found = imported(module)
    function = getattr(found, name, None)
    if not callable(function):
        allowed = ", ".join(key for key, one in vars(found).items() if callable(one) and key[:1] != "_")
        raise refused(PLACE, f"no function {name!r} in {module}", allowed)
    found_function: Callable[..., Any] = function
    return found_function
