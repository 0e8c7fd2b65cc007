"""Values on disk, which outlive a process and are shared by several: training is done once.

Numbers lie in an SQLite file, weights in safetensors files beside it. Everything read is verified;
what is damaged is a miss and a warning. Trouble with the disk (full, read-only, gone) is a warning,
too, and the computation goes on without storing.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from sflsim.errors import SflsimError, SflsimWarning
from sflsim.learning.graph.disk_index import (
    ENTRY_BYTES,
    FORMAT,
    TROUBLE,
    Contents,
    Index,
    Row,
    checksum,
    is_damage,
)
from sflsim.learning.graph.disk_weights import WeightFiles, file_name
from sflsim.learning.graph.lineage import Value
from sflsim.learning.graph.locks import locked
from sflsim.learning.graph.serialization import Kind, decode, encode
from sflsim.readers.files import read_bytes

LIMIT_BYTES = 10 * 2**30
PRUNED_TO = 0.9  # of the limit, so that not every further value prunes
DURABLE_EVERY_S = 1.0  # a power cut loses at most this much work more than a killed process
COUNT_EVERY = 1000  # reads between two notes of them
DAMAGE_TOLD = 3  # damaged entries that are named; the others are counted
GENERATIONS = 1000  # of tables; a damaged one is left for the next


class StoreWarning(SflsimWarning):
    """Something about the store on disk that costs time, never a result."""


def default_folder() -> Path:
    """Return the place of the store in the user's cache directory."""
    from platformdirs import user_cache_path

    return user_cache_path("sflsim", appauthor=False) / "store"


def folder_of(cache: str | Path | bool | None) -> Path | None:
    """Return the place of the store that a caller names: True is the user's own, None and False are none."""
    if isinstance(cache, bool) or cache is None:
        return default_folder() if cache else None
    return Path(cache).absolute()


def check_kept(folder: Path, why: str) -> None:
    """Refuse a folder whose store keeps nothing, where one is needed (raises SflsimError with the reason)."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", StoreWarning)
        store = DiskStore(folder)
        store.close()
    if not store.is_writable:
        raise SflsimError(f"{told[-1].message}; {why}")


class DiskStore:
    """A store on disk, opened once in each process; `device` is where weights are wanted.

    It holds at most about `limit_bytes`: then the longest unused weights go, and numbers last.
    """

    def __init__(
        self, folder: str | Path | None = None, limit_bytes: int = LIMIT_BYTES, device: str = "cpu"
    ) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self.limit_bytes = limit_bytes
        self.device = device
        self.reads = 0
        self._weights = WeightFiles(self.folder / "weights")
        self._used: Counter[str] = Counter()
        self._misses = 0
        self._durable_s = 0.0
        self._told: set[str] = set()
        self._damaged = 0
        self._index = self._opened()
        self._writes = self._index is not None and self._index.writable
        if self._index is not None and not self._writes:
            self._tell("cannot be written; what is there is used, nothing is added")

    @property
    def is_writable(self) -> bool:
        """Whether values can be put."""
        return self._writes

    # Reading.

    def get(self, key: str) -> Value | None:
        """Return the value under `key`; None if there is none, or none that is as it was put."""
        row = self._row(key)
        value = None if row is None else self._value(key, row)
        if value is None:
            self._misses += 1
            return None
        self.reads += 1
        self._used[key] += 1
        if len(self._used) >= COUNT_EVERY:
            self._note_reads()
        return value

    def _row(self, key: str) -> Row | None:
        if self._index is None:
            return None
        try:
            return self._index.get(key)
        except TROUBLE as error:
            self._trouble(error)
            return None

    def _value(self, key: str, row: Row) -> Value | None:
        """Return an entry's value, verified; an entry that is damaged or has lost its file is removed."""
        content = row.content
        try:
            if row.kind == Kind.WEIGHTS:
                content = read_bytes(self._weights.path(key), self.limit_bytes)
        except FileNotFoundError:  # pruned by another process at this moment
            self.remove([key])
            return None
        except OSError as error:
            self._tell(f"cannot be read ({error})")
            return None
        known_kind = row.kind in tuple(Kind)
        if known_kind and isinstance(content, bytes) and checksum(key, row.kind, content) == row.checksum:
            with suppress(ValueError):
                return decode(row.kind, content, self.device)
        self._damaged += 1
        if self._damaged <= DAMAGE_TOLD:
            self._tell(f"holds a damaged entry ({key}); it is computed again")
        self.remove([key])
        return None

    # Writing.

    def put(self, key: str, value: Value) -> None:
        """Keep a value."""
        self.put_all({key: value})

    def put_all(self, values: Mapping[str, Value]) -> None:
        """Keep several values: all of them are there afterwards, or none."""
        if self._index is None or not self._writes:
            return
        durable = time.monotonic() - self._durable_s >= DURABLE_EVERY_S
        rows = {}
        try:
            for key, value in values.items():
                encoded = encode(value)
                if encoded is not None:
                    rows[key] = self._written(key, *encoded, durable)
            self._index.add(rows, durable)
            if durable:
                self._durable_s = time.monotonic()
            excess_bytes = self._index.size_bytes() - self.limit_bytes
            if excess_bytes > 0:
                self._note_reads()
                self.remove(self._index.oldest(excess_bytes + int((1 - PRUNED_TO) * self.limit_bytes)))
        except TROUBLE as error:
            self._trouble(error)

    def _written(self, key: str, kind: Kind, content: bytes, durable: bool) -> Row:
        """Write what goes into a file, and return the row of an entry."""
        digest = checksum(key, kind, content)
        if kind == Kind.NUMBERS:
            return Row(kind, content, len(content) + ENTRY_BYTES, digest)
        self._weights.write(key, content, durable)
        return Row(kind, None, len(content) + ENTRY_BYTES, digest)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries; those that are not there are no mistake."""
        if self._index is None or not self._writes:
            return
        keys = list(keys)
        try:
            self._index.remove(keys)
            self._weights.remove(keys)
        except TROUBLE as error:
            self._trouble(error)

    # Sharing work.

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Wait until no other process computes what is under `key`; then it is this one's to compute.

        A lock ends with its process, however that ends. Look into the store again once it is held.
        """
        return locked(self.folder / "locks" / file_name(key))

    # Care.

    def contents(self) -> Contents:
        """Return what the store holds.

        Raises:
            SflsimError: it cannot be opened.
        """
        self._note_reads()
        try:
            return self._required().contents()
        except TROUBLE as error:
            raise SflsimError(self._message(f"cannot be read ({error})")) from error

    def prune(self, size_bytes: float | None = None, age_s: float | None = None) -> tuple[int, int]:
        """Remove what was not used for `age_s`, then the longest unused until `size_bytes` are left.

        Return how many entries and bytes went. Files that nobody knows of go, too.

        Raises:
            SflsimError: the store cannot be opened or written.
        """
        self._note_reads()
        try:
            index = self._required()
            before = index.contents()
            if age_s is not None:
                self.remove(index.unused_since(time.time() - age_s))
            if size_bytes is not None:
                self.remove(index.oldest(index.size_bytes() - int(size_bytes)))
            self._weights.remove_strays(index.known())
            self._remove_damaged_tables()
            after = index.contents()
        except TROUBLE as error:
            raise SflsimError(self._message(f"cannot be pruned ({error})")) from error
        gone = before.numbers + before.weights - after.numbers - after.weights
        return gone, before.bytes - after.bytes

    def _remove_damaged_tables(self) -> None:
        for mark in self.folder.glob("*.damaged"):
            for path in self.folder.glob(f"{mark.stem}.sqlite*"):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Note what was read, and close the files."""
        self._note_reads()
        if self._damaged > DAMAGE_TOLD:
            self._tell(f"held {self._damaged} damaged entries in all; they are computed again")
        if self._index is not None:
            with suppress(*TROUBLE):
                self._index.close()
            self._index = None

    def _note_reads(self) -> None:
        used, misses = dict(self._used), self._misses
        self._used.clear()
        self._misses = 0
        if self._index is not None and self._writes and (used or misses):
            try:
                self._index.count(used, misses)
            except TROUBLE as error:
                self._trouble(error)

    # Trouble.

    def _opened(self) -> Index | None:
        """Open the table; where it is damaged, mark it and begin another, so that nobody stumbles over it."""
        try:
            with suppress(OSError):
                (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            for number in range(1, GENERATIONS):
                file = self.folder / f"values-{FORMAT}-{number}.sqlite"
                if file.with_suffix(".damaged").exists():
                    continue
                try:
                    return Index(file)
                except TROUBLE as error:
                    if not is_damage(error):
                        raise
                    self._tell(f"has a damaged table ({error}); a new one is begun")
                    file.with_suffix(".damaged").touch()
        except TROUBLE as error:
            self._tell(f"cannot be opened ({error}); nothing is stored")
        return None

    def _trouble(self, error: Exception) -> None:
        """Go on without what does not work: with a new table, or without storing."""
        if is_damage(error) and self._index is not None:
            self._index.close()
            for file in self.folder.glob(f"values-{FORMAT}-*.sqlite"):
                with suppress(OSError):
                    file.with_suffix(".damaged").touch()
            self._tell(f"has a damaged table ({error}); a new one is begun")
            self._index = self._opened()
            self._writes = self._index is not None and self._index.writable
        elif "locked" not in str(error):  # a crowd: this one value is not stored
            self._writes = False
            self._tell(f"cannot be written ({error}); nothing more is stored")

    def _required(self) -> Index:
        if self._index is None:
            raise SflsimError(self._message("cannot be opened"))
        return self._index

    def _message(self, trouble: str) -> str:
        return f"the store at {self.folder} {trouble}"

    def _tell(self, trouble: str) -> None:
        """Warn, once for each trouble."""
        if trouble not in self._told:
            self._told.add(trouble)
            warnings.warn(self._message(trouble), StoreWarning, stacklevel=2)
