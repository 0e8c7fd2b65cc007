"""Keyed random streams: every draw is named by what it is for, never by when it is made.

A key is a tuple such as (scenario seed, "straggler", device name). Equal keys give equal draws
in any process and any order of events, so adding a device or an algorithm changes nobody
else's. Nothing here, or anywhere in the package, touches a global generator.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

Key = tuple[str | int, ...]
Sampler = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]

BLOCK = 64  # draws made at once: one generator per 64 draws keeps a draw below a microsecond


def seed_of(key: Key) -> int:
    """Return the 63-bit seed that a key stands for (fits torch's and numpy's generators)."""
    text = "\x1f".join(f"{type(part).__name__[0]}{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class _Seed(ISeedSequence):
    """A seed that is Philox's key as it is; given by `key=`, numpy asks for entropy that it never uses."""

    __slots__ = ("_seed",)

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> npt.NDArray[Any]:
        """Return the words of the key, the lowest first."""
        return np.array([self._seed, *[0] * (n_words - 1)], dtype=dtype)


def generator(*key: str | int) -> np.random.Generator:
    """Return numpy's counter-based generator (Philox) for a key."""
    seed = _Seed(seed_of(key))
    return np.random.Generator(np.random.Philox(seed))  # type: ignore[arg-type]  # not in numpy's stubs


class Stream:
    """An endless indexed sequence of draws from one distribution under one key.

    `stream[i]` is the i-th draw whatever was asked before; draws are made in blocks.
    """

    __slots__ = ("_block", "_key", "_mean", "_number", "_sampler")

    def __init__(
        self, sampler: Sampler, *key: str | int, mean: Callable[[], float] = lambda: math.nan
    ) -> None:
        """Take what draws; `mean` returns the expected value, where somebody may ask for it."""
        self._sampler = sampler
        self._mean = mean
        self._key = key
        self._number = -1
        self._block: list[float] = []

    @property
    def mean(self) -> float:
        """The expected value of a draw."""
        return self._mean()

    def __getitem__(self, index: int) -> float:
        number, offset = divmod(index, BLOCK)
        if number != self._number:
            draws = self._sampler(generator(*self._key, number), BLOCK)
            self._block = draws.tolist()
            self._number = number
        return self._block[offset]
