"""What becomes of stored rows on their way through a load."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.tables import Table
from qserv.ingest.rework.values import Values
from qserv.ingest.rows import Rows
from qserv.wire.codec import arrow_schema

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A column that rows get, behind those that they have.

    Parameters
    ----------
    table
        With the column.
    value
        What it holds in every row: an array of one value; NULL where `values` says.
    values
        Knows it by key; None where it is the same everywhere.
    """

    table: Table
    value: pa.Array
    values: Values | None

    def apply(self, rows: Rows) -> tuple[Rows, Integers]:
        """Return rows with the column, and the places of the values that they got."""
        added, places = self._values(rows)
        schema = arrow_schema(self.table.columns)
        data = pa.Table.from_arrays([*rows.data.columns, added], schema=schema)
        return replace(rows, table=self.table, data=data), places

    def _values(self, rows: Rows) -> tuple[pa.Array, Integers]:
        if self.values is None:
            same = self.value.take(pa.array(np.zeros(len(rows), np.int64)))
            return same, np.zeros(0, np.int64)
        name = self.table.column(self.values.key).name
        found, places = self.values.find(rows.data.column(name))
        return found, places[places >= 0]
