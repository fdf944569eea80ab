"""All rows of one table in one load, and where each of them came from."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.tables import Table
from qserv.ingest import files, readers
from qserv.wire.codec import arrow_schema


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a load.

    Parameters
    ----------
    path
        The file.
    sha256
        Of its bytes, 32 bytes.
    rows
        Its rows.
    nulled
        How many NaN became NULL.
    """

    path: Path
    sha256: bytes
    rows: int
    nulled: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one table, file after file.

    Parameters
    ----------
    table
        The table.
    data
        The rows in the table's columns and types.
    sources
        The files, in the order of their rows.
    """

    table: Table
    data: pa.Table
    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def locate(self, row: int) -> tuple[Path, int]:
        """Return the file of a row (counted from 0) and its number there, from 1."""
        ends = list(accumulate(source.rows for source in self.sources))
        source = bisect_right(ends, row)
        before = ends[source] - self.sources[source].rows
        return self.sources[source].path, row - before + 1

    def count(self, flags: npt.NDArray[np.bool_]) -> tuple[int, ...]:
        """Return how many rows of each source are flagged."""
        ends = list(accumulate(source.rows for source in self.sources))
        parts = np.split(flags, ends[:-1])
        return tuple(int(np.count_nonzero(part)) for part in parts)


def gather(
    table: Table, paths: Sequence[Path], *, seen: Callable[[int, int], None]
) -> Rows:
    """Read all files of a table.

    Parameters
    ----------
    table
        The table.
    paths
        Its files.
    seen
        Called with the rows and bytes of each batch that was read.

    Raises
    ------
    BadContribution
        If anything is wrong with a file.
    """
    batches: list[pa.RecordBatch] = []
    sources = []
    for path in paths:
        mark = files.fingerprint(path)
        rows = nulled = 0
        for batch in readers.read(table, path, stray=mark.stray):
            batches.append(batch.rows)
            rows += batch.rows.num_rows
            nulled += batch.nulled
            seen(batch.rows.num_rows, batch.rows.nbytes)
        sources.append(Source(path, mark.sha256, rows, nulled))
    data = pa.Table.from_batches(batches, schema=arrow_schema(table.columns))
    return Rows(table, data, tuple(sources))
