"""The own rows of a live table as its files hold them, bit by bit."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qserv.ingest.peers import Czar
from qserv.ingest.rework.asked import Stored
from qserv.ingest.rework.fetching import fetch
from qserv.wire.messages import entry_from_proto

_BITS = {pa.float32(): np.uint32, pa.float64(): np.uint64}


def stored(db, name) -> Stored:
    """Return what the czar says of the own rows of ``release.table``."""
    return Stored.of(Czar(db.endpoint).stored(*name.split(".")))


def own_rows(db, name, scratch: Path) -> list[tuple]:
    """Return all own rows of a table, system columns too, floats as their bits."""
    found = stored(db, name)
    tables = []
    for file in found.files:
        entry = entry_from_proto(file.entry)
        holders = [found.workers[at] for at in file.workers]
        fetch(entry, holders, scratch / "file.parquet")
        tables.append(pq.read_table(scratch / "file.parquet"))
    return rows_of(pa.concat_tables(tables)) if tables else []


def rows_of(rows: pa.Table) -> list[tuple]:
    """Return rows, sorted, floats as their bits."""
    columns = [_plain(rows.column(name)) for name in rows.column_names]
    return sorted(zip(*columns, strict=True), key=repr)


def _plain(column: pa.ChunkedArray) -> list:
    whole = column.combine_chunks()
    if (bits := _BITS.get(whole.type)) is None:
        return whole.to_pylist()
    values = np.asarray(whole.fill_null(0)).view(bits).tolist()
    there = whole.is_valid().to_pylist()
    return [v if t else None for v, t in zip(values, there, strict=True)]
