"""Values of a column by key, out of a file: sorted once, then looked up by every task.

Keys are sorted and compared as those of an index are (`qserv.ingest.bulk.keys`); where
that has the home of a key, here is where its value lies.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.tables import Table, TableKind
from qserv.ingest import formats
from qserv.ingest.bulk import keys, runs
from qserv.ingest.bulk.keys import KEY, KeyRun, KeyShard, KeyTask, Known
from qserv.ingest.bulk.runs import INPUT, NUMBER, ORDER
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.formats import Piece
from qserv.ingest.index import shard_count
from qserv.ingest.inputs import check_unchanged
from qserv.ingest.ordering import by_key
from qserv.ingest.partition import as_keys
from qserv.ingest.rejects import Reject

VALUE: Final = "\0value"
"""The values of a run, in the order of the file."""

_TOLD: Final = 100_000
"""Keys of no row that are told; so many show well enough that something is wrong."""
_ROW: Final = 32
"""Bits of a place that tell the row; the others tell the run."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ValuesTask:
    """A file of keys and values.

    Parameters
    ----------
    name
        Unique within the load.
    scratch
        Where runs go.
    table
        Two columns: the key, then the value.
    pieces
        The file.
    input
        As which input of the load its rows are told.
    """

    name: str
    scratch: Scratch
    table: Table
    pieces: tuple[Piece, ...]
    input: int


@dataclass(slots=True)
class ReadValues:
    """What a file of values gave: runs in its order, their keys, rows left out."""

    runs: list[Path] = field(default_factory=list)
    keys: list[KeyRun] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    nulled: int = 0

    @property
    def rows(self) -> int:
        """Its rows."""
        return sum(run.rows for run in self.keys)


def pair(table: Table, key: str, column: str) -> Table:
    """Return what a file of values of a column, by a key of its table, has to be."""
    names = (table.column(key), table.column(column))
    return Table(table.name, TableKind.REPLICATED, names)


def read(task: ValuesTask) -> ReadValues:
    """Read a file of values; what was done before is not done again.

    Raises
    ------
    BadContribution
        If it cannot be read.
    """
    return task.scratch.once(task.name, lambda: _read(task))


def _read(task: ValuesTask) -> ReadValues:
    made = ReadValues()
    key, value = (column.name for column in task.table.columns)
    for batch in (batch for piece in task.pieces for batch in formats.read(piece)):
        made.nulled += batch.nulled
        made.rejects += [
            Reject(task.input, r.row, r.column, r.value, r.reason)
            for r in batch.rejects
        ]
        found = batch.rows.column(key)
        null = np.asarray(found.is_null())
        made.rejects += [
            Reject(task.input, row, key, "", "the key is NULL")
            for row in batch.numbers[null].tolist()
        ]
        good = pa.array(~null)
        rows = {
            VALUE: batch.rows.column(value).filter(good),
            NUMBER: batch.numbers[~null],
        }
        _keep(task, made, as_keys(pa.chunked_array([found.filter(good)])), rows)
    for piece in task.pieces:
        check_unchanged(piece.file)
    return made


def _keep(
    task: ValuesTask, made: ReadValues, found: pa.Array, rows: dict[str, pa.Array]
) -> None:
    if not len(found):
        return
    number = len(made.runs)
    which = by_key(found)
    places = (number << _ROW) + which
    sorted_keys = pa.table(
        {
            KEY: found.take(pa.array(which)),
            ORDER: places,
            INPUT: np.full(len(which), task.input, np.int32),
            NUMBER: rows[NUMBER][which],
        }
    )
    name = f"{task.name}-{number}"
    made.runs.append(runs.write_batch(task.scratch, name, pa.table(rows)))
    made.keys.append(keys.write_run(task.scratch, f"{name}-keys", sorted_keys))


def key_tasks(task: ValuesTask, made: ReadValues) -> Iterator[KeyTask]:
    """Cut the keys into ranges, one a task; duplicates are found there."""
    if not made.keys:
        return
    key = task.table.columns[0].name
    ranges = keys.ranges(made.keys, shard_count(made.rows))
    for number, (low, high) in enumerate(ranges):
        name = f"{task.name}-sorted-{number}"
        yield KeyTask(name, task.scratch, key, tuple(made.keys), low, high, None)


@dataclass(frozen=True, slots=True)
class Values:
    """Values that are looked up by key.

    Parameters
    ----------
    key
        The column of the table whose values the keys are.
    type
        Of the values.
    runs
        The values, as they were read.
    shards
        The keys, sorted, each once, with the places of their values.
    """

    key: str
    type: pa.DataType
    runs: tuple[Path, ...]
    shards: tuple[KeyShard, ...]

    def find(self, wanted: pa.ChunkedArray) -> tuple[pa.Array, Integers]:
        """Return the value of each key (NULL where there is none), and its place.

        A place is -1 where there is no value.
        """
        known = Known(self.shards, f"the key {self.key} of the file of values")
        places = known.homes(as_keys(wanted))
        parts = [pa.array([], self.type)]
        at, taken = np.full(len(places), -1, np.int64), 0
        found = np.flatnonzero(places >= 0)
        for run in np.unique(places[found] >> _ROW).tolist():
            mine = found[places[found] >> _ROW == run]
            rows = places[mine] & ((1 << _ROW) - 1)
            parts.append(_opened(self.runs[run]).column(VALUE).take(pa.array(rows)))
            at[mine] = np.arange(taken, taken + len(mine))
            taken += len(mine)
        where = pa.array(at, mask=at < 0)
        return pa.concat_arrays(parts).take(where), places

    def unused(
        self, used: Iterable[Path], *, number: int, table: str
    ) -> Iterator[Reject]:
        """Tell of keys that no row has.

        Parameters
        ----------
        used
            Files with the places that were found.
        number
            As which input of the load the file is told.
        table
            The table, for people.
        """
        seen = [np.zeros(_opened(run).num_rows, np.bool_) for run in self.runs]
        for path in used:
            places = np.load(path)
            for run in np.unique(places >> _ROW).tolist():
                mine = places[places >> _ROW == run]
                seen[run][mine & ((1 << _ROW) - 1)] = True
        told = 0
        for shard in self.shards if not all(each.all() for each in seen) else ():
            batch = runs.map_batch(shard.path)
            places = runs.numbers(batch, ORDER)
            for at in _without(seen, places)[: _TOLD - told].tolist():
                told += 1
                key = str(batch.column(KEY)[at].as_py())
                why = f"{key} is no {self.key} of {table}"
                yield Reject(number, self._number(int(places[at])), self.key, key, why)

    def _number(self, place: int) -> int:
        numbers = _opened(self.runs[place >> _ROW]).column(NUMBER)
        return int(numbers[place & ((1 << _ROW) - 1)].as_py())


def _without(seen: Sequence[npt.NDArray[np.bool_]], places: Integers) -> Integers:
    """Return which of the places were not seen."""
    first = np.concatenate(([0], np.cumsum([len(each) for each in seen])))
    flat = first[places >> _ROW] + (places & ((1 << _ROW) - 1))
    return np.flatnonzero(~np.concatenate(seen)[flat]).astype(np.int64)


@lru_cache(4096)
def _opened(path: Path) -> pa.RecordBatch:
    return runs.map_batch(path)
