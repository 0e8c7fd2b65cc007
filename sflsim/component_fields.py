"""Fields of Configs that hold the Config of one component: of a model, a data set, a distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic.json_schema import JsonSchemaValue

from sflsim.errors import SflsimError, did_you_mean
from sflsim.fields import FieldFormat
from sflsim.foreign import words
from sflsim.mistakes import mistakes, wrong_value
from sflsim.registry import config_of, offered
from sflsim.trust import UNTRUSTED, trusted


@dataclass(frozen=True)
class OneOf(FieldFormat):
    """A field that holds the Config of one registered component.

    `Annotated[Any, OneOf(models)]` reads {kind: mlp, ...}, the shorthand 'mlp', or a Config
    itself; `tag` is the key that names the component. `shorthands` are further words, each with what it
    stands for (None: no component). Errors carry no tag in their path.
    """

    components: Callable[[], Mapping[str, type[Any]]]
    tag: str = "kind"
    shorthands: tuple[tuple[str, Any], ...] = ()

    def read(self, value: Any, info: ValidationInfo | None = None) -> BaseModel | None:
        """Return the Config that `value` describes."""
        for word, meaning in self.shorthands:
            value = meaning if isinstance(value, str) and value == word else value
        if value is None and self.shorthands:
            return None
        configs = {name: config_of(component) for name, component in self.components().items()}
        if isinstance(value, BaseModel) and type(value) in configs.values():
            return value
        if isinstance(value, str):
            return self._config(configs, value, {}, (), info)
        if not isinstance(value, Mapping):
            raise wrong_value(repr(value), self._allowed(configs))
        name = value.get(self.tag)
        rest = {key: item for key, item in value.items() if key != self.tag}
        return self._config(configs, name, rest, (self.tag,), info)

    def _config(
        self,
        configs: dict[str, type[BaseModel]],
        name: Any,
        rest: dict[Any, Any],
        where: tuple[str, ...],
        info: ValidationInfo | None,
    ) -> BaseModel:
        if not isinstance(name, str) or name not in configs:
            words_known = [*(() if where else self._words), *configs]
            near = [key for key in rest if did_you_mean(str(key), [self.tag])] if name is None else []
            meant = did_you_mean(str(name), words_known)
            remedy = f"'{near[0]}' may be meant as '{self.tag}'" if near else meant
            if isinstance(name, str) and name in offered() and not trusted():
                remedy = f"the installed {offered()[name].value.partition(':')[0]} offers it: {UNTRUSTED}"
            error = wrong_value("nothing" if name is None else repr(name), ", ".join(words_known), remedy)
            raise mistakes([(where, error)])
        try:
            return configs[name].model_validate({self.tag: name, **rest}, context=info and info.context)
        except (ValidationError, SflsimError):
            raise
        except Exception as error:  # a plug-in's own validator
            text = f"{name}, whose settings fail: {words(error, configs[name])}"
            raise wrong_value(text, f"settings that {name} takes") from error

    def _allowed(self, configs: Iterable[str]) -> str:
        return f"one of {', '.join([*self._words, *configs])}, or a mapping with the key '{self.tag}'"

    @property
    def _words(self) -> list[str]:
        return [word for word, _ in self.shorthands]

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is a component's name, or a mapping that names it."""
        configs = {name: config_of(component) for name, component in self.components().items()}
        choices = [handler(config.__pydantic_core_schema__) for config in configs.values()]
        return {
            "anyOf": [
                {"type": "string", "enum": [*self._words, *configs]},
                {"type": "object", "required": [self.tag], "oneOf": choices},
            ]
        }
