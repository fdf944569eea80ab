"""Tables to read files into, and files read at once."""

from dataclasses import dataclass

import pyarrow as pa

from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.ingest import formats, inputs
from qserv.wire.codec import arrow_schema


def table(**types):
    """Return a table; a type that ends in ! holds no NULL, VARCHAR(2) has a length."""
    columns = tuple(_column(name, said) for name, said in types.items())
    return Table("T", TableKind.REPLICATED, columns)


def _column(name, said):
    datatype, _, length = said.rstrip("!)").partition("(")
    nullable = not said.endswith("!")
    return Column(
        name, DataType(datatype), nullable=nullable, length=int(length or 0) or None
    )


@dataclass(frozen=True)
class Found:
    """All that was read of a file."""

    data: pa.Table
    numbers: list
    rejects: list
    nulled: int

    @property
    def rows(self) -> dict:
        return self.data.to_pydict()

    @property
    def reasons(self) -> list:
        return [(r.row, r.column, r.value) for r in self.rejects]


def read(path, into, **options) -> Found:
    """Read a file into a table."""
    said = inputs.ReadOptions(**options)
    (file,) = inputs.find("T", [path], said)
    batches = [
        batch
        for piece in formats.pieces(into, file, said)
        for batch in formats.read(piece)
    ]
    return Found(
        data=pa.Table.from_batches(
            [batch.rows for batch in batches], schema=arrow_schema(into.columns)
        ),
        numbers=[int(n) for batch in batches for n in batch.numbers],
        rejects=[reject for batch in batches for reject in batch.rejects],
        nulled=sum(batch.nulled for batch in batches),
    )


def schema_of(path, **options) -> pa.Schema:
    """Return the columns of a file."""
    said = inputs.ReadOptions(**options)
    (file,) = inputs.find("T", [path], said)
    return formats.schema_of(file, said)
