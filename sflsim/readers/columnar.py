"""Parquet and Arrow files of others, validated in full before a value of them is used.

They are read into memory, never mapped: a mapped file that is cut short ends the process with SIGBUS.
Offsets and texts that lead out of a file's buffers do the same, which the validation tells. Pyarrow
and pandas lazily.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def validated(table: pa.Table) -> pa.Table:
    """Return a table whose every offset, length, text and name has been looked at.

    Raises:
        pyarrow.ArrowInvalid: one of them is wrong.
        UnicodeDecodeError: a name is no UTF-8.
    """
    table.validate(full=True)
    fields = list(table.schema)
    while fields:  # the validation leaves names out
        field = fields.pop()
        field.name.encode()
        fields += [field.type.field(place) for place in range(field.type.num_fields)]
    return table


def read_parquet(file: Path) -> pa.Table:
    """Return the table of a Parquet file; the names of its folders say nothing of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return validated(pq.ParquetFile(pa.BufferReader(file.read_bytes())).read())


def read_arrow(file: Path) -> pa.Table:
    """Return the table of an Arrow file, in the stream or the file format."""
    import pyarrow as pa

    content = pa.py_buffer(file.read_bytes())
    is_file = content.size >= 6 and content.slice(0, 6).to_pybytes() == b"ARROW1"
    reader = pa.ipc.open_file(content) if is_file else pa.ipc.open_stream(content)
    return validated(reader.read_all())


def read_frame(file: Path) -> pd.DataFrame:
    """Return the table of a Parquet file as pandas has it."""
    frame: pd.DataFrame = read_parquet(file).to_pandas()
    return frame
