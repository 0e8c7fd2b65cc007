"""Lists in a variant expand into one variant each, and every variant gets a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from sflsim.formatting import shorten
from sflsim.mistakes import wrong_value
from sflsim.registry import algorithms, config_of
from sflsim.scenario.yaml_lines import join

LISTS = (list, tuple, set, frozenset)
MAX_VARIANTS = 1000


@dataclass
class Resolved:
    """One variant without lists: its fields, and for each field from a list the index in it."""

    written: int  # index among the variants as written
    fields: dict[str, Any]
    chosen: dict[str, int]

    @property
    def algorithm(self) -> str:
        """The word that the variant gives, whether it is known or not."""
        return str(self.fields.get("algorithm"))


def takes_lists(annotation: Any) -> bool:
    """Return whether a field of this type may hold a list itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return takes_lists(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return any(takes_lists(choice) for choice in get_args(annotation))
    return origin in LISTS or annotation in LISTS


def expands(config: type[BaseModel], key: str) -> bool:
    """Return whether a list under `key` of a variant stands for one variant per entry."""
    field = config.model_fields.get(key)
    return key != "name" and field is not None and not takes_lists(field.annotation)


def resolve(variants: Sequence[Any]) -> tuple[list[Any], dict[str, str]]:
    """Return the variants with lists written out (the last list varies fastest) and names given.

    Also returns where each came from: "variants[4].tau" -> "variants[1].tau[2]". What is no
    variant at all is left as it is, for the schema to refuse.

    Raises:
        PydanticCustomError: more than MAX_VARIANTS.
    """
    resolved: list[Resolved | Any] = []
    origins: dict[str, str] = {}
    if (count := sum(map(_count, variants))) > MAX_VARIANTS:
        found = f"{count} variants, lists written out"
        raise wrong_value(found, f"at most {MAX_VARIANTS}", "shorten the lists")
    for written, variant in enumerate(variants):
        for one in _expand(written, variant):
            path, origin = f"variants[{len(resolved)}]", f"variants[{written}]"
            origins[path] = origin
            if isinstance(one, Resolved):
                origins |= {join(path, key): join(join(origin, key), i) for key, i in one.chosen.items()}
            resolved.append(one)
    _name([one for one in resolved if isinstance(one, Resolved)])
    return [one.fields if isinstance(one, Resolved) else one for one in resolved], origins


def _expand(written: int, variant: Any) -> list[Resolved | Any]:
    if isinstance(variant, BaseModel):
        keys = [
            key for key in type(variant).model_fields if key in variant.model_fields_set or key == "algorithm"
        ]
        return [Resolved(written, {key: getattr(variant, key) for key in keys}, {})]
    if isinstance(variant, str):
        variant = {"algorithm": variant}
    if not isinstance(variant, dict):
        return [variant]
    named = variant.get("algorithm")
    if isinstance(named, list) and named:
        return [
            Resolved(written, one.fields, {"algorithm": index, **one.chosen})
            for index, algorithm in enumerate(named)
            for one in _combinations(written, {**variant, "algorithm": algorithm})
        ]
    return list(_combinations(written, variant))


def _count(variant: Any) -> int:
    """Return a bound on the number of variants that one written variant makes."""
    values = variant.values() if isinstance(variant, dict) else ()
    return prod(len(value) for value in values if isinstance(value, list) and value)


def _combinations(written: int, variant: dict[str, Any]) -> list[Resolved]:
    """Return the cartesian product of a variant's lists."""
    config = _config(variant.get("algorithm"))
    lists = {
        key: value
        for key, value in variant.items()
        if isinstance(value, list) and value and config is not None and expands(config, key)
    }
    places = product(*(range(len(values)) for values in lists.values()))
    return [_chosen(written, variant, dict(zip(lists, place, strict=True))) for place in places]


def _chosen(written: int, variant: dict[str, Any], chosen: dict[str, int]) -> Resolved:
    fields = {key: value[chosen[key]] if key in chosen else value for key, value in variant.items()}
    return Resolved(written, fields, chosen)


def _config(algorithm: Any) -> type[BaseModel] | None:
    known = algorithms()
    return config_of(known[algorithm]) if isinstance(algorithm, str) and algorithm in known else None


def _name(variants: list[Resolved]) -> None:
    """Name each variant: its own name or its algorithm, and what tells it from its like.

    To a variant's own name the fields that came from lists are added; to an algorithm also those
    in which the nameless variants of the algorithm differ: "mu-splitfed tau=adaptive".
    """
    like: dict[str, list[Resolved]] = {}
    for one in variants:
        if not one.fields.get("name"):
            like.setdefault(one.algorithm, []).append(one)
    differing = {algorithm: _differing(others) for algorithm, others in like.items()}
    for one in variants:
        name = one.fields.get("name")
        telling = set(one.chosen) if name else set(one.chosen) | differing[one.algorithm]
        words = [
            f"{key}={_text(value)}"
            for key, value in one.fields.items()
            if key in telling - {"algorithm", "name"}
        ]
        if not name or isinstance(name, str):
            one.fields = {**one.fields, "name": " ".join([name or one.algorithm, *words])}


def _differing(variants: list[Resolved]) -> set[str]:
    """Return the fields whose values are not the same in all of `variants`."""
    keys = {key for one in variants for key in one.fields}
    return {key for key in keys if len({repr(one.fields.get(key, ...)) for one in variants}) > 1}


def _text(value: Any) -> str:
    """Return a value as one would write it in YAML, in one short line."""
    if isinstance(value, dict):
        return shorten("{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}")
    return shorten(str(value).lower() if isinstance(value, bool) else str(value))
