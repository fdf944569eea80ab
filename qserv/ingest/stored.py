"""The columns of stored files: those of the table, and before them the system's."""

from typing import Final

import pyarrow as pa

from qserv.catalog.tables import (
    CHUNK,
    HEALPIX,
    SOURCE,
    UNIT_VECTOR,
    Column,
    DataType,
    Table,
)
from qserv.storage.shard import INDEX_KEY
from qserv.wire.codec import arrow_schema

_SYSTEM: Final = {
    HEALPIX: Column(
        HEALPIX,
        DataType.BIGINT,
        description="Home: HEALPix NESTED pixel of the director at order 29",
        nullable=False,
    ),
    CHUNK: Column(
        CHUNK,
        DataType.BIGINT,
        description="Host: the chunk beside which this copy is stored",
        nullable=False,
    ),
    SOURCE: Column(
        SOURCE,
        DataType.INTEGER,
        description="Number of the input file that the row came from",
        nullable=False,
    ),
    **{
        name: Column(
            name,
            DataType.DOUBLE,
            description=f"Unit vector of the own position, {name[1]}",
            nullable=False,
        )
        for name in UNIT_VECTOR
    },
}


def stored_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table's files: system columns first, home first.

    Fields carry unit, UCD and description. Own and overlap files have the same one.
    """
    system = [_SYSTEM[name] for name in table.system_columns]
    return arrow_schema([*system, *table.columns])


def index_schema(key: Column) -> pa.Schema:
    """Return the Arrow schema of the index on a column.

    Columns are `INDEX_KEY` (int64 or string) and ``_healpix_29``.
    """
    wide = DataType.BIGINT if key.datatype.is_integer else key.datatype
    return arrow_schema([Column(INDEX_KEY, wide, nullable=False), _SYSTEM[HEALPIX]])


def bounded_columns(table: Table) -> tuple[str, ...]:
    """Return the columns of a table whose bounds its manifest entries have."""
    home = (HEALPIX,) if table.partitioned else ()
    names = (table.key, table.second_key, table.id, *(table.position or ()))
    return (*home, *(table.column(name).name for name in names if name))
