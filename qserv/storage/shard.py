"""Makes the Parquet files that workers hold: own rows, overlap, copies, index.

A file is sorted before it comes here. Its bounds are computed from the rows that we
write and go into the manifest; nobody prunes by footers that others wrote.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.catalog.tables import CHUNK

INDEX_KEY: Final = "key"
"""The column of an index shard that holds the director keys."""

ROW_GROUP: Final[Mapping[Role, int]] = {
    Role.BASE: 98_304,
    Role.DELTA: 98_304,
    Role.OVERLAP: 16_384,
    Role.INDEX: 8_192,
}
"""Rows of a row group: whole DuckDB vectors, small where few rows are wanted."""

Bounds = Mapping[str, tuple[int | float | str, int | float | str]]


def made(
    rows: pa.Table,
    *,
    role: Role,
    chunk: int,
    path: str,
    bounded: Sequence[str],
    offset: float | None = None,
) -> tuple[ManifestEntry, pa.Buffer]:
    """Make one file in memory and describe it.

    Parameters
    ----------
    rows
        At least one row, sorted, with the columns and metadata that the file gets.
    role, chunk, path, offset
        As in `ManifestEntry`.
    bounded
        Columns whose bounds are computed; one that is all NULL gets none.

    Returns
    -------
    entry
        With rows, size, sha256 and bounds of the file.
    content
        Its bytes.
    """
    content = _packed(rows, role)
    entry = ManifestEntry(
        role=role,
        chunk=chunk,
        path=path,
        rows=rows.num_rows,
        live_rows=rows.num_rows,
        size=content.size,
        sha256=hashlib.sha256(content).hexdigest(),
        bounds=bounds(rows, bounded),
        offset=offset,
    )
    return entry, content


def packed(rows: pa.Table) -> float:
    """Return the bytes that rows take in a file, by those they take in memory."""
    return float(_packed(rows, Role.BASE).size / max(rows.nbytes, 1))


def _packed(rows: pa.Table, role: Role) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        compression="snappy",
        row_group_size=ROW_GROUP[role],
        use_dictionary=False if (deltas := _deltas(rows, role)) else _repeated(rows),
        column_encoding=deltas or None,
    )
    return sink.getvalue()


def bounds(rows: pa.Table, names: Sequence[str]) -> Bounds:
    """Return the minimum and maximum of columns, NULL left out."""
    found = {}
    for name in names:
        ends = pc.min_max(rows.column(name)).as_py()
        if ends["min"] is not None:
            found[name] = (ends["min"], ends["max"])
    return found


def _deltas(rows: pa.Table, role: Role) -> dict[str, str]:
    # Keys ascend, and homes often nearly do: this halves an index.
    whole = (f.name for f in rows.schema if pa.types.is_integer(f.type))
    return dict.fromkeys(whole, "DELTA_BINARY_PACKED") if role is Role.INDEX else {}


def _repeated(rows: pa.Table) -> list[str]:
    # A dictionary of measurements or ids only grows, costs more time than all the rest
    # of writing, and is thrown away when it is full.
    return [f.name for f in rows.schema if _repeats(f)]


def _repeats(field: pa.Field) -> bool:
    if pa.types.is_integer(field.type):
        return bool(field.type.bit_width < 64) or field.name == CHUNK
    return not pa.types.is_floating(field.type)
