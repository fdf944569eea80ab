"""Rows of one table on their way, and which row of which input file each of them is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.tables import Table

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of one table.

    Parameters
    ----------
    table
        The table.
    data
        The rows in the table's columns and types.
    inputs
        Which input file of the load each row came from, counted from 0.
    numbers
        The number of each row in its file; the first data row is 1.
    homes
        Of rows that were stored before: their homes, which they keep.
    """

    table: Table
    data: pa.Table
    inputs: Integers
    numbers: Integers
    homes: Integers | None = None

    def __len__(self) -> int:
        return int(self.data.num_rows)

    @staticmethod
    def joined(parts: Sequence["Rows"]) -> "Rows":
        """Put rows of one table one after the other; at least one part is given."""
        homes = [part.homes for part in parts if part.homes is not None]
        return Rows(
            parts[0].table,
            # Columns in one piece are numpy's without another copy.
            pa.concat_tables(part.data for part in parts).combine_chunks(),
            np.concatenate([part.inputs for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate(homes) if homes else None,
        )

    def only(self, flags: Flags) -> "Rows":
        """Return the rows that are flagged."""
        if flags.all():
            return self
        return Rows(
            self.table,
            self.data.filter(pa.array(flags)),
            self.inputs[flags],
            self.numbers[flags],
            None if self.homes is None else self.homes[flags],
        )

    def count(self, flags: Flags) -> dict[int, int]:
        """Return how many rows of each input file are flagged, where any is."""
        counts = np.bincount(self.inputs[flags]).tolist()
        return {number: count for number, count in enumerate(counts) if count}
