"""The table of what a store on disk holds: one SQLite file, safe for several processes at once.

An entry's checksum covers its key, its kind and its content, so that nothing is taken for what it is
not. Numbers lie in the table itself, weights in a file each.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sflsim.learning.graph.serialization import Kind
from sflsim.readers.files import check_file

FORMAT = 1
ENTRY_BYTES = 200  # what a row takes beside its content
BUSY_S = 60.0
DISK_TROUBLE = ("FULL", "IOERR", "READONLY", "CANTOPEN", "PERM", "BUSY", "LOCKED", "NOMEM", "PROTOCOL")
TROUBLE = (OSError, sqlite3.Error, ValueError, TypeError)
"""What using a damaged table may raise: sqlite3's own errors, and those of text or numbers that are none."""
ADD = """INSERT OR IGNORE INTO entries (key, kind, content, bytes, checksum, used)
    VALUES (?, ?, ?, ?, ?, ?)"""
SCHEMA = (
    """CREATE TABLE entries (
        key TEXT PRIMARY KEY, kind INTEGER NOT NULL, content BLOB, bytes INTEGER NOT NULL,
        checksum BLOB NOT NULL, used REAL NOT NULL, hits INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    "CREATE INDEX oldest ON entries (used)",
    "CREATE TABLE totals (entries INTEGER, bytes INTEGER, hits INTEGER, misses INTEGER)",
    "INSERT INTO totals VALUES (0, 0, 0, 0)",
    """CREATE TRIGGER added AFTER INSERT ON entries BEGIN
        UPDATE totals SET entries = entries + 1, bytes = bytes + new.bytes;
    END""",
    """CREATE TRIGGER removed AFTER DELETE ON entries BEGIN
        UPDATE totals SET entries = entries - 1, bytes = bytes - old.bytes;
    END""",
    f"PRAGMA user_version = {FORMAT}",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One entry; `content` is None where it lies in a file."""

    kind: int
    content: bytes | None
    size_bytes: int
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """How many values a store holds, and how often it was asked for one that it had or had not."""

    numbers: int
    weights: int
    bytes: int
    hits: int
    misses: int


def checksum(key: str, kind: int, content: bytes) -> bytes:
    """Return the checksum of an entry."""
    digest = hashlib.blake2b(f"{key} {int(kind)} ".encode(), digest_size=16)
    digest.update(content)
    return digest.digest()


def is_damage(error: Exception) -> bool:
    """Tell whether an error comes from what the file holds, not from the disk or from a crowd."""
    if not isinstance(error, sqlite3.Error):
        return not isinstance(error, OSError)
    name: str = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")
    return not name.removeprefix("SQLITE_").startswith(DISK_TROUBLE)


class Index:
    """The open table. Every method may raise one of `TROUBLE`."""

    def __init__(self, file: Path) -> None:
        self.writable = True
        for end in ("", "-wal", "-shm", "-journal"):  # SQLite would wait for a FIFO
            with suppress(FileNotFoundError):
                check_file(f"{file}{end}")
        try:
            self._db = _opened(file)
        except TROUBLE as error:
            if is_damage(error):
                raise
            self._db = _opened_to_read(file)
            self.writable = False

    def get(self, key: str) -> Row | None:
        """Return the entry under `key`."""
        row = self._db.execute(
            "SELECT kind, content, bytes, checksum FROM entries WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else Row(*row)

    def add(self, rows: Mapping[str, Row], durable: bool) -> None:
        """Add entries in one step; `durable` waits until they are safe from a power cut."""
        now = time.time()
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        entries = [
            (key, int(row.kind), row.content, row.size_bytes, row.checksum, now) for key, row in rows.items()
        ]
        with self._db:
            self._db.executemany(ADD, entries)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries."""
        with self._db:
            self._db.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in keys])

    def count(self, used: Mapping[str, int], misses: int) -> None:
        """Note which entries have been read how often, and how often there was none."""
        now = time.time()
        with self._db:
            self._db.executemany(
                "UPDATE entries SET used = ?, hits = hits + ? WHERE key = ?",
                [(now, hits, key) for key, hits in used.items()],
            )
            self._db.execute(
                "UPDATE totals SET hits = hits + ?, misses = misses + ?", (sum(used.values()), misses)
            )

    def size_bytes(self) -> int:
        """Return the bytes of all entries."""
        (size,) = self._db.execute("SELECT bytes FROM totals").fetchone()
        return int(size)

    def contents(self) -> Contents:
        """Return what there is."""
        counts = dict(self._db.execute("SELECT kind, count(*) FROM entries GROUP BY kind").fetchall())
        totals = self._db.execute("SELECT bytes, hits, misses FROM totals").fetchone()
        return Contents(counts.get(Kind.NUMBERS, 0), counts.get(Kind.WEIGHTS, 0), *totals)

    def unused_since(self, moment: float) -> list[str]:
        """Return the keys of the entries last used before a moment (seconds since 1970)."""
        return [key for (key,) in self._db.execute("SELECT key FROM entries WHERE used < ?", (moment,))]

    def oldest(self, excess_bytes: int) -> list[str]:
        """Return the keys of the longest unused entries that together hold `excess_bytes`.

        Weights go before numbers: a number takes next to nothing and saves as much training.
        """
        keys: list[str] = []
        query = "SELECT key, bytes FROM entries ORDER BY kind = ?, used"
        for key, size in self._db.execute(query, (int(Kind.NUMBERS),)):
            if excess_bytes <= 0:
                break
            keys.append(key)
            excess_bytes -= size
        return keys

    def known(self) -> set[str]:
        """Return the keys of all weights."""
        rows = self._db.execute("SELECT key FROM entries WHERE kind = ?", (int(Kind.WEIGHTS),))
        return {key for (key,) in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _opened(file: Path) -> sqlite3.Connection:
    """Open the table to read and write; make it if there is none."""
    db = sqlite3.connect(file, timeout=BUSY_S)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA journal_mode = WAL")
        with db:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in SCHEMA:
                    db.execute(statement)
        _check_format(db)
    except BaseException:
        db.close()
        raise
    return db


def _opened_to_read(file: Path) -> sqlite3.Connection:
    """Open the table of a folder that cannot be written; changes not yet moved into the file are not seen."""
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        db = sqlite3.connect(f"{file.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_S)
        try:
            db.execute("PRAGMA trusted_schema = OFF")
            _check_format(db)
            return db
        except TROUBLE as error:
            db.close()
            if is_damage(error):
                raise
    raise OSError("it can neither be read nor be made")


def _check_format(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found == 0:
        raise OSError("there was no room to make it")
    if found != FORMAT:
        raise sqlite3.DatabaseError(f"its format is {found}, not {FORMAT}")
    db.execute("SELECT entries, bytes, hits, misses FROM totals").fetchone()
