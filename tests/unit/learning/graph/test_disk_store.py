"""The store on disk: what is read is what was put, or nothing, whatever has happened to the files."""

from __future__ import annotations

import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from support import within_bounds

import sflsim
from sflsim.learning.graph.disk_index import checksum
from sflsim.learning.graph.disk_store import DiskStore, StoreWarning
from sflsim.learning.graph.serialization import own_copy

NOBODY = 65534


def weights(number: int = 0, size: int = 100) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {"client": torch.randn(size, generator=generator), "server": torch.arange(3 + number)}


def same(one: Any, other: Any) -> bool:
    """Tell whether two values agree in every bit, and tensors in their layout."""
    if isinstance(one, tuple):
        return repr(one) == repr(other)
    return list(one) == list(other) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride() and torch.equal(a, b)
        for a, b in zip(one.values(), other.values(), strict=True)
    )


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreWarning)
        yield


# What comes back.

IMAGES = torch.randn(2, 3, 4, 5).movedim(1, -1).contiguous().movedim(-1, 1)
VALUES = [
    (0.1, 1 / 3),
    (0.0, -0.0, math.inf, 5e-324),
    (math.nan,),
    (),
    weights(),
    {"z": IMAGES, "flag": torch.tensor([True, False]), "one": torch.tensor(2.5), "none": torch.empty(0, 3)},
    {"half": torch.randn(3, dtype=torch.bfloat16), "double": torch.randn(2, 2, dtype=torch.float64)},
]


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_what_is_read_is_what_was_put(tmp_path: Path, number: int) -> None:
    """Every bit, type, shape and layout, in another process too."""
    first, second = DiskStore(tmp_path), DiskStore(tmp_path)
    first.put("a.0", VALUES[number])

    assert same(second.get("a.0"), VALUES[number])
    assert second.get("a.1") is None


def test_settled_tensors_own_their_memory() -> None:
    """A view is copied, as if it had come from disk, and keeps its layout; an owner stays as it is."""
    stacked, owner = torch.randn(3, 7), torch.randn(4)
    value = own_copy({"lane": stacked[1], "owner": owner, "image": IMAGES[1:]})

    assert torch.equal(value["lane"], stacked[1])
    assert value["lane"].untyped_storage().nbytes() == 28
    assert value["owner"] is owner
    assert value["image"].stride() == IMAGES[1:].stride()


def test_other_values_are_not_stored(tmp_path: Path) -> None:
    """What is neither numbers nor tensors is computed again, never pickled."""
    store = DiskStore(tmp_path)
    store.put("a", ("text",))

    assert store.get("a") is None


def test_all_or_none(tmp_path: Path) -> None:
    """Values put together are entered in one step."""
    store = DiskStore(tmp_path)
    store.put_all({"a": weights(), "b": (1.0,)})
    found = store.contents()

    assert (found.numbers, found.weights) == (1, 1)


# Damage.


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_give_nothing_wrong(tmp_path: Path, seed: int) -> None:
    """Random bytes of any file are flipped: each value is as it was, or missing; and the store goes on."""
    rng = random.Random(seed)
    values = {f"{number}.0": weights(number) if number % 2 else (number / 3,) for number in range(40)}
    whole = tmp_path / "whole"
    store = DiskStore(whole)
    store.put_all(values)
    store.close()
    missing = 0
    for trial in range(20):
        place = tmp_path / str(trial)
        shutil.copytree(whole, place)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        chosen = next(iter(place.glob("*.sqlite"))) if trial % 2 else rng.choice(files)
        content = bytearray(chosen.read_bytes())
        for _ in range(rng.choice([1, 20, 400])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        chosen.write_bytes(content)
        with quiet():
            damaged = DiskStore(place)
            found = {key: damaged.get(key) for key in values}
            missing += sum(value is None for value in found.values())
            assert all(value is None or same(value, values[key]) for key, value in found.items())
            damaged.put("new", (1.0,))
            damaged.close()
            assert DiskStore(place).get("new") in ((1.0,), None)
    assert missing > 10


def forge(place: Path, key: str, kind: int, content: bytes) -> None:
    """Write an entry whose checksum is right."""
    store = DiskStore(place)
    store.put(key, weights() if kind else (1.0,))
    store.close()
    (file,) = place.glob("values-*.sqlite")
    with closing(sqlite3.connect(file)) as table, table:
        column = (None if kind else content, checksum(key, kind, content), key)
        table.execute("UPDATE entries SET content = ?, checksum = ? WHERE key = ?", column)
    if kind:
        (weight,) = place.glob("weights/*/*")
        weight.write_bytes(content)


@pytest.mark.parametrize(
    "layout", ["[1]", '{"x": 3}', '{"x": [[2, 9], [0, 1]]}', '{"x": [[4], [7]]}', "[" * 10**5]
)
def test_a_forged_entry_of_another_form_is_a_miss(layout: str, tmp_path: Path) -> None:
    """Its checksum is no secret, so anybody can write one."""
    forge(tmp_path, "a", 1, save({"x": torch.ones(4)}, metadata={"layout": layout}))
    forge(tmp_path, "b", 0, b"12345")
    store = DiskStore(tmp_path)
    with pytest.warns(StoreWarning, match="damaged entry"):
        assert (store.get("a"), store.get("b")) == (None, None)


def test_a_fifo_in_the_store_does_not_wait(tmp_path: Path) -> None:
    """In place of weights it is a miss, in place of the table nothing is stored."""
    store = DiskStore(tmp_path)
    store.put("a", weights())
    (file,) = tmp_path.glob("weights/*/*")
    file.unlink()
    os.mkfifo(file)
    with within_bounds(), pytest.warns(StoreWarning, match="a FIFO"):
        assert store.get("a") is None
    store.close()
    (table,) = tmp_path.glob("values-*.sqlite")
    table.unlink()
    os.mkfifo(table)
    with within_bounds(), pytest.warns(StoreWarning, match="a FIFO"):
        assert DiskStore(tmp_path).get("a") is None


def test_a_damaged_entry_warns_and_is_made_anew(tmp_path: Path) -> None:
    """The warning names the store; afterwards the entry can be put again."""
    store = DiskStore(tmp_path)
    store.put("a", weights())
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.warns(StoreWarning, match=r"damaged entry \(a\)"):
        assert store.get("a") is None
    store.put("a", weights())

    assert same(store.get("a"), weights())


@pytest.mark.parametrize("field", ["kind = 7", "kind = x'00'", "content = 'text'", "checksum = 1"])
def test_a_field_of_another_type_is_damage(tmp_path: Path, field: str) -> None:
    """A damaged table may hold anything anywhere."""
    store = DiskStore(tmp_path)
    store.put("a", (1.0,))
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as db:
        db.execute(f"UPDATE entries SET {field}")
    db.close()
    with pytest.warns(StoreWarning, match="damaged entry"):
        assert store.get("a") is None


def test_an_entry_under_another_key_is_damage(tmp_path: Path) -> None:
    """Whole content under the wrong name is not taken for the right one."""
    store = DiskStore(tmp_path)
    store.put_all({"a": (1.0,), "b": (2.0,)})
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as db:
        row = db.execute("SELECT content, checksum FROM entries WHERE key = 'b'").fetchone()
        db.execute("UPDATE entries SET content = ?, checksum = ? WHERE key = 'a'", row)
    db.close()
    with pytest.warns(StoreWarning):
        assert store.get("a") is None


def test_a_table_that_is_none(tmp_path: Path) -> None:
    """A file of rubbish in the table's place is set aside with a warning, and a new table is begun."""
    DiskStore(tmp_path).close()
    (file,) = tmp_path.glob("*.sqlite")
    file.write_bytes(b"rubbish" * 1000)
    with pytest.warns(StoreWarning, match="new one is begun"):
        store = DiskStore(tmp_path)
    store.put("a", (1.0,))

    assert store.get("a") == (1.0,)
    assert DiskStore(tmp_path).get("a") == (1.0,)


def test_a_lost_file_is_a_miss(tmp_path: Path) -> None:
    """Weights that somebody has deleted are computed again; no warning, for pruning does that."""
    store = DiskStore(tmp_path)
    store.put("a", weights())
    shutil.rmtree(tmp_path / "weights")

    assert store.get("a") is None
    store.put("a", weights())
    assert same(store.get("a"), weights())


# Trouble with the disk.


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take away the right to write from everybody, and be somebody whom that concerns."""
    paths = [folder, *folder.rglob("*")]
    modes = [(path, path.stat().st_mode) for path in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes:
            path.chmod(mode)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_store_is_read(open_folder: Path) -> None:
    """What is there is used; what cannot be written is a warning, once."""
    folder = open_folder / "store"
    store = DiskStore(folder)
    store.put_all({"a": (1.0,), "b": weights()})
    store.close()
    with read_only(folder), pytest.warns(StoreWarning, match="cannot be written") as told:  # noqa: PT031
        store = DiskStore(folder)
        assert store.get("a") == (1.0,)
        assert same(store.get("b"), weights())
        store.put("c", (2.0,))
        with store.lock("c"):
            assert store.get("c") is None
        store.close()
    assert len(told) == 1


def test_a_place_where_nothing_can_be_made(open_folder: Path) -> None:
    """The store says so and holds nothing; a file in its place is the same trouble."""
    with read_only(open_folder), pytest.warns(StoreWarning, match="nothing is stored"):  # noqa: PT031
        store = DiskStore(open_folder / "store")
        store.put("a", (1.0,))
        assert store.get("a") is None
    (open_folder / "file").write_text("")
    with pytest.warns(StoreWarning, match="nothing is stored"):
        assert DiskStore(open_folder / "file").get("a") is None


@contextmanager
def full_disk(place: Path, how: str) -> Iterator[Path]:
    """Yield a folder on a disk that is soon full: a tiny file system, or a limit to every file."""
    place.mkdir()
    if how == "file system":
        mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a file system is not permitted here")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, limits[1]))
    try:
        yield place
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


FULL = pytest.mark.parametrize("how", ["file system", "limit"])


@FULL
def test_a_full_disk_stops_storing_and_nothing_else(tmp_path: Path, how: str) -> None:
    """One warning; what was stored before is there, nothing wrong is."""
    with full_disk(tmp_path / "disk", how) as disk:
        store = DiskStore(disk)
        put = {f"{number}": weights(number, 1000 * 4**number) for number in range(6)}
        with pytest.warns(StoreWarning, match="nothing more is stored") as told:  # noqa: PT031
            for key, value in put.items():
                store.put(key, value)
        found = {key: store.get(key) for key in put}
        store.close()

        assert len(told) == 1
        assert found["0"] is not None
        assert found["5"] is None
        assert all(value is None or same(value, put[key]) for key, value in found.items())
        again = DiskStore(disk).get("0")
        assert same(again, put["0"])


@FULL
def test_a_full_disk_under_the_run_folder(tmp_path: Path, how: str) -> None:
    """A clear error, no folder that looks whole; with room again the same folder is written."""
    from support import data, read

    run = sflsim.simulate(read(data(stop={"rounds": 2000})), timing_only=True)
    with full_disk(tmp_path / "disk", how) as disk:
        folder = disk / "run"
        (disk / "filler").write_bytes(b"x" * 65_000)
        with pytest.raises(sflsim.RunError, match="cannot be written"):
            run.save(folder)
        with pytest.raises(sflsim.RunError, match=r"no run\.json"):
            sflsim.Run.load(folder)
        assert {path.name for path in disk.iterdir()} == {"filler"}  # no folder, and nothing half written
    run.save(tmp_path / "disk" / "run", plots=False)
    assert sflsim.Run.load(tmp_path / "disk" / "run").spans.equals(run.spans)


# Size and age.


def test_the_longest_unused_weights_go_first(tmp_path: Path) -> None:
    """Over its limit the store lets weights go, those just read last of all, and no numbers."""
    store = DiskStore(tmp_path, limit_bytes=60_000)
    store.put("number", (1.0,))
    for number in range(10):
        store.put(f"{number}", weights(number, 1500))
        assert store.get("0") is not None
    found = [store.get(f"{number}") is not None for number in range(10)]

    assert store.contents().bytes <= 60_000
    assert store.get("number") == (1.0,)
    assert found[0]
    assert found[9]
    assert not found[1]
    assert found[1:] == sorted(found[1:])
    assert len(list(tmp_path.rglob("*.safetensors"))) == sum(found)


def test_pruning_by_age_and_size(tmp_path: Path) -> None:
    """Age takes what was not used for so long, size the longest unused; strays of killed processes go."""
    store = DiskStore(tmp_path)
    for number in range(4):
        store.put(f"{number}", weights(number))
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as db:
        db.execute("UPDATE entries SET used = used - 86400 * CAST(key AS INTEGER)")
    db.close()
    stray = next(tmp_path.rglob("*.safetensors")).parent / ".part.lost"
    stray.write_bytes(b"half")
    os.utime(stray, (time.time() - 86400,) * 2)

    assert store.prune(age_s=2.5 * 86400)[0] == 1
    assert store.prune(size_bytes=store.contents().bytes - 1)[0] == 1
    assert [store.get(f"{number}") is not None for number in range(4)] == [True, True, False, False]
    assert not stray.exists()
    assert store.prune(size_bytes=0)[0] == 2
    assert store.contents().bytes == 0


def test_hits_are_counted(tmp_path: Path) -> None:
    """Over all processes, when they close."""
    for _ in range(2):
        store = DiskStore(tmp_path)
        store.put("a", (1.0,))
        store.get("a")
        store.get("b")
        store.close()
    found = DiskStore(tmp_path).contents()

    assert (found.hits, found.misses) == (2, 2)


# Locks.


def test_a_lock_makes_others_wait(tmp_path: Path) -> None:
    """Only one holds it at a time, over many who want it."""
    inside, most = [0], [0]

    def work() -> None:
        store = DiskStore(tmp_path)
        for _ in range(20):
            with store.lock("a"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1
        store.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]
    assert not list((tmp_path / "locks").iterdir())


HOLD = """
import sys, time
from sflsim.learning.graph.disk_index import checksum
from sflsim.learning.graph.disk_store import DiskStore
with DiskStore(sys.argv[1]).lock("a"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    """Killed, the holder lets go at once."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    got = threading.Event()

    def wait() -> None:
        with DiskStore(tmp_path).lock("a"):
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.2)
    holder.kill()

    assert got.wait(5)
    holder.communicate()
    waiting.join()
