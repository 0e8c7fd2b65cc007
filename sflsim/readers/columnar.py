"""Parquet and Arrow files of others, validated in full before a value of them is used.

They are read piece by piece, never mapped: a mapped file that is cut short ends the process with SIGBUS.
Offsets and texts that lead out of a file's buffers do the same, which the validation tells. Pyarrow
and pandas lazily.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sflsim.readers.files import check_file

MOST_TIMES = 100
LEAST_BYTES = 2**30
ROWS = 2**16
WIDTHS_BYTES = {
    "BOOLEAN": 1 / 8,
    "INT32": 4,
    "INT64": 8,
    "INT96": 8,
    "FLOAT": 4,
    "DOUBLE": 8,
    "BYTE_ARRAY": 4,
}
"""Of a value in memory by its type; of texts, their places."""

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
    """Return the table of a Parquet file; the names of its folders say nothing of it.

    Raises:
        OSError: it is no regular file, or cannot be read.
        ValueError: it unpacks to more than `MOST_TIMES` its size, and more than `LEAST_BYTES`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = check_file(file)
    with pa.OSFile(str(file)) as content:
        return _parquet(pq.ParquetFile(content), size)


def _parquet(parquet: Any, size_bytes: int) -> pa.Table:
    """Return the table of an opened Parquet file."""
    import pyarrow as pa

    most_bytes = max(LEAST_BYTES, MOST_TIMES * size_bytes)
    known_bytes, row_bytes = _unpacked_bytes(parquet.metadata)
    if known_bytes > most_bytes:
        raise _too_large(most_bytes)
    if known_bytes + parquet.metadata.num_rows * row_bytes <= most_bytes:
        return validated(parquet.read())
    batches, unpacked_bytes = [], 0
    for batch in parquet.iter_batches(max(1, min(ROWS, most_bytes // (8 * row_bytes)))):
        batches.append(batch)
        columns = [getattr(column, "indices", column) for column in batch.columns]  # a dictionary is shared
        unpacked_bytes += sum(column.nbytes for column in columns)
        if unpacked_bytes > most_bytes:
            raise _too_large(most_bytes)
    return validated(pa.Table.from_batches(batches, parquet.schema_arrow).unify_dictionaries())


def _unpacked_bytes(metadata: Any) -> tuple[float, int]:
    """Return what a Parquet file unpacks to at least, as it states itself, and what a row may add at most.

    A dictionary holds a text once that many rows may have: none is larger than its column.
    """
    known_bytes, row_bytes = 0.0, 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        coded_bytes = 0
        for column in map(group.column, range(group.num_columns)):
            is_text = column.physical_type == "BYTE_ARRAY"
            known_bytes += column.num_values * WIDTHS_BYTES.get(column.physical_type, 0)
            if is_text and column.has_dictionary_page:
                coded_bytes += column.total_uncompressed_size
            else:
                known_bytes += column.total_uncompressed_size if is_text else 0
        row_bytes = max(row_bytes, coded_bytes)
    return known_bytes, row_bytes


def _too_large(most_bytes: int) -> ValueError:
    times = f"{MOST_TIMES} times its size and {LEAST_BYTES / 2**20:.0f} MiB"
    return ValueError(f"it unpacks to more than {most_bytes / 2**20:.0f} MiB: more than {times}")


def read_arrow(file: Path) -> pa.Table:
    """Return the table of an Arrow file, in the stream or the file format."""
    import pyarrow as pa

    check_file(file)
    with pa.OSFile(str(file)) as content:
        is_file = content.read(6) == b"ARROW1"
        content.seek(0)
        reader = pa.ipc.open_file(content) if is_file else pa.ipc.open_stream(content)
        return validated(reader.read_all())


def read_frame(file: Path) -> pd.DataFrame:
    """Return the table of a Parquet file as pandas has it, without what pandas once noted about an index."""
    frame: pd.DataFrame = read_parquet(file).to_pandas(ignore_metadata=True)
    return frame
