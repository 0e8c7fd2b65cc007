"""Keyed calls: what is to be computed, named before it is computed, and computed at most once.

A `Call` is a function of the math with the arguments of each participant and shared arguments. A
`Handle` stands for the value of one participant. Its key is a hash of everything that may change
the value: the function and its source, the task (data, model, cut, seed, dtype, torch version),
the arguments and the keys of the input handles. Participants called together may be computed stacked,
which changes the last bits, so the key of each covers its companions.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from sflsim.learning import user_code
from sflsim.learning.graph.own_source import version_of_all, version_of_every_value, version_of_own
from sflsim.learning.user_code import this_process, version_of

Args = dict[str, Any]
"""The arguments of one participant in a call: plain values and handles, by name."""
COVERED = ("sflsim", "torch", "pydantic", "builtins", "abc", "typing")
"""Packages whose code is in every key already, or says nothing about a value."""
Value = Any  # dict[str, Tensor], or a tuple of floats
MathFunction = Callable[..., Sequence[Value]]


class BatchNames(Sequence[tuple[int, int]]):
    """The names (client index, batch number) of consecutive batches of one client, made when asked for.

    To a key they are the list that they stand for.
    """

    __slots__ = ("_client", "_numbers")

    def __init__(self, client: int, numbers: range) -> None:
        self._client = client
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return BatchNames(self._client, self._numbers[place])
        return self._client, self._numbers[place]


class Handle:
    """Stands for one value before it is known.

    A handle that a protocol holds says that its value may still be needed (a resumed run goes on
    from there). Calls refer to their inputs by `internal` handles, which say nothing of the kind, as
    weak references do not keep an object alive. One that is `held` keeps its value in memory for as
    long as it lives: for what is needed again after many rounds.
    """

    __slots__ = ("__weakref__", "call", "held", "index", "key", "value")

    def __init__(self, call: Call, index: int, key: str) -> None:
        self.held = False
        self.value: Value | None = None
        self.call = call
        self.index = index
        self.key = key

    @property
    def internal(self) -> Handle:
        """Return the call's own handle of the same value."""
        return self.call.handles[self.index]


class Call:
    """One function applied to several participants at once; `handles` stand for the values.

    `length` is that of the text which names the call: the memory that it takes grows with it.
    """

    __slots__ = ("arguments", "function", "handles", "inputs", "key", "length", "shared")

    def __init__(
        self, task_key: str, function: MathFunction, arguments: Sequence[Args], shared: Args
    ) -> None:
        self.function = function
        self.arguments: tuple[Args, ...] = tuple(_internal(args) for args in arguments)
        self.shared = shared
        self.inputs = tuple(
            {handle.key: handle for args in self.arguments for handle in _handles(args)}.values()
        )
        name = f"{function.__module__}.{function.__qualname__}"
        text = repr(
            (task_key, name, source_version(function), _canonical(shared), _canonical(list(arguments)))
        )
        self.length = len(text)
        self.key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self.handles = tuple(Handle(self, index, f"{self.key}.{index}") for index in range(len(arguments)))


@cache
def source_version(function: MathFunction) -> str:
    """Return a hash of the source that a function's values rest on."""
    digest = hashlib.blake2b(version_of_every_value(), digest_size=8)
    if function.__module__.startswith("sflsim."):
        digest.update(version_of_own(function.__module__, function.__qualname__.partition(".")[0]))
    else:
        digest.update(_source(function).encode())
        digest.update(version_of(function.__module__))
        digest.update(version_of_all())
    return digest.hexdigest()


def look_again() -> None:
    """Have the versions of users' code looked up anew; it may have been edited, and imported again."""
    user_code.look_again()
    source_version.cache_clear()


def type_version(kind: type[Any]) -> str:
    """Return a hash of the source behind a class: a third party's package or module, or our own files.

    Of our data sets nothing counts: the numbers that they give do, in a task's key.
    """
    digest = hashlib.blake2b(digest_size=8)
    for one in kind.__mro__:
        if is_third_party(one):
            digest.update(f"{one.__module__}.{one.__qualname__}".encode())
            digest.update(version_of(one.__module__) or _source(one).encode())
            digest.update(version_of_all())
        elif one.__module__.startswith("sflsim.") and not one.__module__.startswith("sflsim.learning.data."):
            digest.update(version_of_own(one.__module__, one.__qualname__.partition(".")[0]))
    return digest.hexdigest()


def is_third_party(kind: type[Any]) -> bool:
    """Tell whether a class is neither sflsim's nor of what every key names by its version."""
    return kind.__module__.partition(".")[0] not in COVERED


def _source(thing: Any) -> str:
    """Return the source of the module of a function or class.

    What was typed at a prompt rests on things that nobody can see from here, so its values are for
    this process alone.
    """
    try:
        return inspect.getsource(sys.modules[thing.__module__])
    except (OSError, TypeError, KeyError):
        return f"{this_process()} {id(thing)}"


def _handles(argument: Any) -> Iterator[Handle]:
    if isinstance(argument, Handle):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for item in argument:
            yield from _handles(item)
    elif isinstance(argument, dict):
        for item in argument.values():
            yield from _handles(item)


def _internal(argument: Any) -> Any:
    """Return `argument` with every handle replaced by the call's internal one."""
    if isinstance(argument, Handle):
        return argument.internal
    if isinstance(argument, (list, tuple)):
        return type(argument)([_internal(item) for item in argument])
    if isinstance(argument, dict):
        return {name: _internal(item) for name, item in argument.items()}
    return argument


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
    if isinstance(argument, (list, tuple, BatchNames)):
        return [_canonical(item) for item in argument]
    if isinstance(argument, dict):
        return {name: _canonical(argument[name]) for name in sorted(argument)}
    raise TypeError(
        f"a keyed call takes numbers, text, lists, dicts and handles, not {type(argument).__name__}"
    )
