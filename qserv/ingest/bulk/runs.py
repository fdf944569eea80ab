"""Runs: rows on the disk, sorted by a whole number, of which slices are read.

A run is an Arrow file with one uncompressed record batch, so that a slice of it costs
no more memory and time than its own rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from qserv import failpoint
from qserv.errors import LimitExceeded
from qserv.ingest.bulk.scratch import Scratch

ORDER: Final = "\0order"
"""The column that a run is sorted by; it comes first. Names of users' columns have no
character that cannot be printed."""
INPUT: Final = "\0input"
"""The input file of each row."""
NUMBER: Final = "\0number"
"""The number of each row in its file."""
SECOND: Final = "\0second"
"""The home of the second director of a ref-match row."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """A run, before it is opened.

    Parameters
    ----------
    path
        The file.
    rows, size
        Its rows, and their bytes in memory.
    low, high
        The first and the last of what it is sorted by.
    """

    path: Path
    rows: int
    size: int
    low: int
    high: int


def write(scratch: Scratch, name: str, rows: pa.Table) -> Run:
    """Write a run.

    Parameters
    ----------
    scratch, name
        Where, and under which name.
    rows
        At least one row, sorted by its first column, an int64.
    """
    path = write_batch(scratch, name, rows)
    order = rows.column(0)
    return Run(path, rows.num_rows, rows.nbytes, order[0].as_py(), order[-1].as_py())


def write_batch(scratch: Scratch, name: str, rows: pa.Table) -> Path:
    """Write rows as one record batch; what lies there by that name is whole.

    Raises
    ------
    LimitExceeded
        If they are too many for one.
    """
    batches = rows.combine_chunks().to_batches()
    if len(batches) > 1:
        raise LimitExceeded(
            f"{rows.num_rows:,} rows that lie at one place of the sky, or have keys of "
            "one range, have more than 2 GiB of text in one column: load them without "
            "that column, or as several loads"
        )
    part, path = scratch.fresh(name), scratch.file(f"{name}.arrow")
    empty = pa.RecordBatch.from_pylist([], schema=rows.schema)
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as file:
        file.write_batch(batches[0] if batches else empty)
    part.replace(path)
    failpoint.reached("loader.run.written")
    return path


def map_batch(path: Path) -> pa.RecordBatch:
    """Map what `write_batch` wrote into memory."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).get_batch(0)


def cut(runs: Iterable[Run], low: int, high: int) -> pa.Table | None:
    """Return the rows of runs that lie in [low, high), run after run; None if none do.

    They are not sorted across runs. They are copied run by run: what is mapped of a run
    is more than the slice, for the system maps what lies around each page of it.
    """
    slices = []
    for run in runs:
        if run.low < high and run.high >= low:
            batch = map_batch(run.path)
            start, stop = np.searchsorted(numbers(batch, 0), [low, high]).tolist()
            if start < stop:
                slices.append(_copied(batch.slice(start, stop - start)))
    return pa.Table.from_batches(slices) if slices else None


def _copied(rows: pa.RecordBatch) -> pa.RecordBatch:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as copy:
        copy.write_batch(rows)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()


def numbers(rows: pa.RecordBatch | pa.Table, column: int | str) -> Integers:
    """Return a column of whole numbers without NULL."""
    found: Integers = rows.column(column).to_numpy()
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """A range of what runs are sorted by, of about equal bytes.

    Parameters
    ----------
    low, high
        The range [low, high).
    part
        Counts the shares of one leaf that is too large for one; else 0.
    """

    low: int
    high: int
    part: int


def shares(
    ranges: Integers, at: Integers, size: npt.NDArray[np.float64], most: float
) -> Sequence[Share]:
    """Group leaves into shares, and cut those that are too large.

    Parameters
    ----------
    ranges
        Of the leaves, shape (n, 2), ascending and adjacent.
    at, size
        Where rows lie, ascending, and their bytes.
    most
        Bytes of a share; a single value of `at` may have more.

    Returns
    -------
    sequence of Share
        Each holds whole leaves or a part of one; together they hold all, so that no
        row is lost whose place is known only about.
    """
    before = np.concatenate(([0.0], np.cumsum(size)))
    ends = before[np.searchsorted(at, ranges)]
    leaf_size = ends[:, 1] - ends[:, 0]
    found: list[Share] = []
    low: int | None = None
    held = 0.0
    for (first, last), bytes_ in zip(ranges.tolist(), leaf_size.tolist(), strict=True):
        if low is not None and held + bytes_ > most:
            found.append(Share(low, first, 0))
            low, held = None, 0.0
        if bytes_ > most:
            found += _parts(first, last, at, size, most)
        else:
            low, held = (first if low is None else low), held + bytes_
    return found if low is None else [*found, Share(low, int(ranges[-1, 1]), 0)]


def _parts(
    first: int, last: int, at: Integers, size: npt.NDArray[np.float64], most: float
) -> list[Share]:
    start, stop = np.searchsorted(at, [first, last]).tolist()
    filled = np.cumsum(size[start:stop]) // most
    cuts = at[start:stop][np.flatnonzero(np.diff(filled)) + 1].tolist()
    ends = [first, *cuts, last]
    return [Share(low, high, part) for part, (low, high) in enumerate(pairwise(ends))]
