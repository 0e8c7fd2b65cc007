"""Parquet and Arrow files of others: one that is damaged is refused, and never ends the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sflsim.errors import RunError, ScenarioError
from sflsim.learning.data.table_files import read_file
from sflsim.learning.data.tables import TableSource
from sflsim.readers import columnar
from sflsim.readers.columnar import read_frame
from sflsim.record import tables

TEXTS = [f"text number {number}" for number in range(1000)]
LABELS = [number % 2 for number in range(1000)]
PLAIN = pa.table({"text": TEXTS, "label": LABELS})
CODED = pa.table({"text": pa.array(TEXTS).dictionary_encode(), "label": LABELS})


def written(file: Path, table: pa.Table = PLAIN) -> Path:
    """Write a table without compression, so that its parts lie there to be changed."""
    if file.suffix == ".parquet":
        pq.write_table(table, file, compression="none", use_dictionary=False)
        return file
    make = pa.ipc.new_stream if file.stem == "stream" else pa.ipc.new_file
    with pa.OSFile(str(file), "wb") as sink, make(sink, table.schema) as writer:
        writer.write_table(table)
    return file


def changed(file: Path, old: bytes, new: bytes) -> Path:
    content = file.read_bytes()
    assert content.count(old) >= 1
    file.write_bytes(content.replace(old, new))
    return file


ENDS = np.cumsum([0] + [len(text) for text in TEXTS]).astype("<i4")
FAR = np.where(np.arange(1001) == 500, 2**30, ENDS).astype("<i4")
BACK = np.where(np.arange(1001) == 500, 0, ENDS).astype("<i4")
PLACES = np.arange(1000, dtype="<i4")
BEYOND = np.where(PLACES == 500, 2**30, PLACES).astype("<i4")

READ = """
import os, sys
from pathlib import Path
import numpy as np
from sflsim.errors import ScenarioError
from sflsim.learning.data.tables import TableSource
for name in sys.argv[1:]:
    source = TableSource({"train": [Path(name)]}, ("text",), "label")
    try:
        source.labels("train")
        if "cut-later" in name:
            os.truncate(name, 4096)
        print(Path(name).name, len(source.inputs("train", np.arange(1000))), flush=True)
    except ScenarioError as error:
        print(Path(name).name, "refused", flush=True)
"""


def rows_of_one_value(file: Path) -> None:
    """Write 800 MB of zeros in some 400 kB."""
    zeros = pa.table({"text": pa.array(np.zeros(5_000_000, np.int64))})
    with pq.ParquetWriter(file, zeros.schema) as writer:
        for _ in range(20):
            writer.write_table(zeros)


def rows_of_one_text(file: Path) -> None:
    """Write 10 GB of one text of 100 kB in some 1 kB."""
    codes = pa.array(np.zeros(100_000, np.int32))
    coded = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"text": coded}), file, store_schema=False)


@pytest.mark.parametrize("bomb", [rows_of_one_value, rows_of_one_text])
def test_a_small_file_of_gigantic_columns_is_refused(
    bomb: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than the bound, here of 64 MiB, is ever in memory, and some batches."""
    monkeypatch.setattr(columnar, "LEAST_BYTES", 2**26)
    bomb(tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").stat().st_size < 600_000
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool := pa.proxy_memory_pool(usual))
    try:
        with pytest.raises(ScenarioError, match="unpacks to more than 64 MiB"):
            read_file(tmp_path / "train.parquet")
    finally:
        pa.set_memory_pool(usual)
    assert pool.max_memory() < 1.5 * 2**26


def test_what_a_parquet_file_says_of_its_size_is_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columnar, "LEAST_BYTES", 2**20)
    monkeypatch.setattr(columnar, "MOST_TIMES", 1)
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": ["x" * 10**7]}), file, use_dictionary=False)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(ScenarioError, match="unpacks to more than 1 MiB"):
        read_file(file)


def test_a_table_of_many_batches_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its types: what is read in batches equals what pyarrow reads at once."""
    monkeypatch.setattr(columnar, "ROWS", 7)
    monkeypatch.setattr(columnar, "LEAST_BYTES", 2**20)
    monkeypatch.setattr(columnar, "MOST_TIMES", 10)
    columns = {"text": TEXTS, "label": LABELS, "coded": pa.array(TEXTS).dictionary_encode(),
               "nested": [{"bytes": text.encode(), "list": [1.5]} for text in TEXTS]}  # fmt: skip
    for rows in (1000, 0):
        table = pa.table(columns).slice(0, rows).replace_schema_metadata({"huggingface": "{}"})
        pq.write_table(table, tmp_path / "train.parquet", row_group_size=300)
        read = read_file(tmp_path / "train.parquet")
        wanted = pq.read_table(tmp_path / "train.parquet")
        assert read.schema.equals(wanted.schema, check_metadata=True)
        assert read.to_pylist() == wanted.to_pylist()


def test_no_file_ends_the_process(tmp_path: Path) -> None:
    """Offsets far out or backwards, codes without a word, a file that is cut while it is in use."""
    files = [
        changed(written(tmp_path / "far.arrow"), ENDS.tobytes(), FAR.tobytes()),
        changed(written(tmp_path / "stream.arrow"), ENDS.tobytes(), FAR.tobytes()),
        changed(written(tmp_path / "back.arrow"), ENDS.tobytes(), BACK.tobytes()),
        changed(written(tmp_path / "codes.arrow", CODED), PLACES.tobytes(), BEYOND.tobytes()),
        written(tmp_path / "cut-later.arrow"),
        written(tmp_path / "cut-later.parquet"),
        written(tmp_path / "whole.arrow"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, files)], capture_output=True, text=True, check=False
    )
    whole = {"cut-later.arrow", "cut-later.parquet", "whole.arrow"}
    wanted = [f"{file.name} {1000 if file.name in whole else 'refused'}" for file in files]
    assert (done.stdout.splitlines(), done.returncode) == (wanted, 0)


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_half_a_file_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    """Cut anywhere, or empty: with its name."""
    file = written(tmp_path / f"train{suffix}")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ScenarioError, match=f"train{suffix}: cannot be read"):
        TableSource({"train": [file]}, ("text",), "label").labels("train")


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_a_text_that_is_none_is_refused(suffix: str, tmp_path: Path) -> None:
    """Bytes that are no UTF-8, in the column or in the names."""
    for old, new in ((b"text number 500", b"\xffext number 500"), (b"label", b"lab\xffl")):
        file = changed(written(tmp_path / f"train{suffix}"), old, new)
        with pytest.raises(ScenarioError, match=f"train{suffix}: cannot be read"):
            TableSource({"train": [file]}, ("text",), "label").labels("train")


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_two_columns_of_one_name_are_refused(suffix: str, tmp_path: Path) -> None:
    """Neither is taken."""
    table = pa.Table.from_arrays([pa.array(TEXTS), pa.array(LABELS), pa.array(LABELS[::-1])], names=[*"abb"])
    file = written(tmp_path / f"train{suffix}", table)
    with pytest.raises(ScenarioError, match="two columns 'b'; allowed: a name of its own for each column"):
        TableSource({"train": [file]}, ("a",), "b").labels("train")


# The tables of run, sweep and plan folders.


def evaluations(folder: Path) -> Path:
    folder.mkdir(parents=True)
    row = ("a variant", 0, 1.0, 1, 1, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    frame = tables.table("evaluations", [row])
    frame.to_parquet(folder / "evaluations.parquet", compression="none")
    return folder / "evaluations.parquet"


def test_a_folders_name_is_no_column(tmp_path: Path) -> None:
    """A folder such as lr=0.1 is one of results; Parquet readers would make a column of it."""
    file = evaluations(tmp_path / "lr=0.1" / "loss=7")
    read = tables.read_table("evaluations", file.parent)
    pd.testing.assert_frame_equal(read, tables.table("evaluations", read.itertuples(index=False)))
    assert read.loss.tolist() == [1.0]

    frame = pd.DataFrame({"tau": [1, 2]})
    tables.write_table(frame, file.parent / "sweep.parquet")
    pd.testing.assert_frame_equal(read_frame(file.parent / "sweep.parquet"), frame)


def test_a_damaged_table_of_a_run_is_told(tmp_path: Path) -> None:
    """A text that is no UTF-8, half a file, a folder or a list of links in its place."""
    file = evaluations(tmp_path / "run")
    changed(file, b"a variant", b"\xff variant")
    with pytest.raises(RunError, match=r"evaluations\.parquet: cannot be read as a table"):
        tables.read_table("evaluations", file.parent)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(RunError, match=r"evaluations\.parquet: cannot be read as a table"):
        tables.read_table("evaluations", file.parent)
    file.unlink()
    file.mkdir()
    pq.write_table(PLAIN, file / "part.parquet")
    with pytest.raises(RunError, match=r"evaluations\.parquet: cannot be read as a table"):
        tables.read_table("evaluations", file.parent)


def test_pandas_own_notes_are_kept(tmp_path: Path) -> None:
    """What pandas wrote is what it reads: types and missing values."""
    frame = pd.DataFrame(
        {"word": ["a", None], "number": [1.5, float("nan")], "whole": [1, 2], "yes": [True, False]}
    )
    file = tmp_path / "points.parquet"
    tables.write_table(frame, file)
    pd.testing.assert_frame_equal(read_frame(file), pd.read_parquet(file))
    assert json.loads(pq.read_schema(file).metadata[b"pandas"])["columns"][0]["name"] == "word"
