"""Keyed calls: what is to be computed, named before it is computed, and computed at most once.

A `Call` is a function of the math with its lanes (one per participant) and shared arguments; a
`Handle` stands for the value of one lane. A handle's key is a hash of everything that may change
the value: the function and its source, the task (data, model, cut, seed, dtype, torch version),
the arguments and the keys of the input handles. Lanes called together may be computed stacked,
which changes the last bits, so the key of each covers its companions. Imports no torch.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Lane = dict[str, Any]
Value = Any  # dict[str, Tensor], or a tuple of floats
MathFunction = Callable[..., Sequence[Value]]


class Handle:
    """Stands for one value before it is known."""

    __slots__ = ("call", "index", "key")

    def __init__(self, call: Call, index: int, key: str) -> None:
        self.call = call
        self.index = index
        self.key = key


class Call:
    """One function applied to several lanes at once; `handles` are the values to come."""

    __slots__ = ("function", "handles", "inputs", "key", "lanes", "shared")

    def __init__(self, task_key: str, function: MathFunction, lanes: Sequence[Lane], shared: Lane) -> None:
        self.function = function
        self.lanes = tuple(lanes)
        self.shared = shared
        self.inputs = tuple({handle.key: handle for lane in lanes for handle in _handles(lane)}.values())
        name = f"{function.__module__}.{function.__qualname__}"
        text = repr((task_key, name, source_version(function), _canonical(shared), _canonical(list(lanes))))
        self.key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self.handles = tuple(Handle(self, index, f"{self.key}.{index}") for index in range(len(lanes)))


@cache
def source_version(function: MathFunction) -> str:
    """Return a hash of the source of the function's module and of all that the package's math rests on."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(_source(function).encode())
    digest.update(_package_source())
    return digest.hexdigest()


@cache
def _package_source() -> bytes:
    """Return a hash of the streams, the learning plane and the algorithms, which share their math."""
    digest, package = hashlib.blake2b(digest_size=8), Path(__file__).parents[1]
    for folder in ("learning", "algorithms"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update((package / "streams.py").read_bytes())
    return digest.digest()


def _source(function: MathFunction) -> str:
    """Return the source of the function's module, or what can be had of one typed at a prompt."""
    for thing in (sys.modules.get(function.__module__), function):
        try:
            return inspect.getsource(thing)  # type: ignore[arg-type]
        except (OSError, TypeError):
            continue
    code = function.__code__
    return repr((code.co_code, code.co_names, code.co_consts))


def _handles(argument: Any) -> Iterator[Handle]:
    if isinstance(argument, Handle):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for item in argument:
            yield from _handles(item)
    elif isinstance(argument, dict):
        for item in argument.values():
            yield from _handles(item)


def substitute(argument: Any, values: dict[str, Value]) -> Any:
    """Return `argument` with every handle replaced by its value."""
    if isinstance(argument, Handle):
        return values[argument.key]
    if isinstance(argument, (list, tuple)):
        return type(argument)([substitute(item, values) for item in argument])
    if isinstance(argument, dict):
        return {name: substitute(item, values) for name, item in argument.items()}
    return argument


def _canonical(argument: Any) -> Any:
    """Return `argument` in a form whose repr is the same in every process."""
    if isinstance(argument, Handle):
        return ("handle", argument.key)
    if argument is None or isinstance(argument, (str, int, float, bool)):
        return argument
    if isinstance(argument, (list, tuple)):
        return [_canonical(item) for item in argument]
    if isinstance(argument, dict):
        return {name: _canonical(argument[name]) for name in sorted(argument)}
    raise TypeError(
        f"a keyed call takes numbers, text, lists, dicts and handles, not {type(argument).__name__}"
    )
