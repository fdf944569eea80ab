"""Read tasks: pieces of input files become runs of located rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.tables import Table, TableKind
from qserv.ingest import formats
from qserv.ingest.bulk import keys, runs
from qserv.ingest.bulk.counting import Counted, added, coarse, counted, few
from qserv.ingest.bulk.keys import KEY, KeyRun
from qserv.ingest.bulk.runs import INPUT, NUMBER, ORDER, SECOND, Run
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.formats import Piece
from qserv.ingest.inputs import check_unchanged
from qserv.ingest.locate import Found, Homes, Locator
from qserv.ingest.ordering import ascending, by_key, in_order
from qserv.ingest.partition import Located, as_keys
from qserv.ingest.rejects import Reject
from qserv.ingest.rework import pieces as stored
from qserv.ingest.rework.changes import NewColumn
from qserv.ingest.rework.pieces import GONE, StoredPiece
from qserv.ingest.rows import Rows
from qserv.sky import healpix
from qserv.storage import shard

RUN_BYTES = 96 * 2**20
"""Bytes in memory after which a run is written; a task holds a few times as much."""

_SAMPLE = 20_000
"""Rows that are written to see how well they compress."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Some pieces of a table's input files.

    Parameters
    ----------
    name
        Unique within the load.
    scratch
        Where runs go.
    table
        What the rows are.
    pieces
        What to read, each with the input file that it is of, counted from 0; of stored
        files that does not matter.
    directors
        Lower-case name of a director -> who knows its homes.
    overlap
        Overlap radius of the table, degrees; 0 where it has none.
    order
        HEALPix order at which rows are counted.
    leaf_rows, tasks
        Rows of a director that a leaf may hold; how many tasks read the load.
    change
        What becomes of stored rows; None: nothing.
    watched
        Whether it is noted where keys were whose rows are left out.
    """

    name: str
    scratch: Scratch
    table: Table
    pieces: tuple[tuple[int, Piece | StoredPiece], ...]
    directors: Mapping[str, Sequence[Homes]]
    overlap: float
    order: int
    leaf_rows: int = 0
    tasks: int = 1
    change: NewColumn | None = None
    watched: bool = False


@dataclass(slots=True)
class Read:
    """What a read task made.

    Parameters
    ----------
    runs
        Rows sorted by home; of a replicated table as they came.
    keys
        Runs of the column that gets an index.
    counted
        A file with the pixels of the task's order and the rows that each stands for;
        None without rows.
    rows, nulled, wrapped
        By input file: good rows; NaN that became NULL; right ascensions wrapped.
    rejects
        The rows left out.
    packed
        Bytes of a stored row by those in memory, as a sample told; None without rows.
    used
        Files with the places of the values that a change gave to rows.
    gone
        Runs of the keys whose rows were left out.
    """

    runs: list[Run] = field(default_factory=list)
    keys: list[KeyRun] = field(default_factory=list)
    counted: Path | None = None
    rows: Counter[int] = field(default_factory=Counter)
    nulled: Counter[int] = field(default_factory=Counter)
    wrapped: Counter[int] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    packed: float | None = None
    used: list[Path] = field(default_factory=list)
    gone: list[KeyRun] = field(default_factory=list)


def read(task: ReadTask) -> Read:
    """Read pieces; what was done before is not done again.

    Raises
    ------
    BadContribution
        If a file cannot be read.
    """
    return task.scratch.once(task.name, lambda: _Reading(task).run())


class _Reading:
    def __init__(self, task: ReadTask) -> None:
        self._task = task
        self._made = Read()
        self._locator = Locator(directors=task.directors, overlap=task.overlap)
        self._counted: list[Counted] = []

    def run(self) -> Read:
        for rows in self._gathered():
            if self._task.table.kind is TableKind.REPLICATED:
                self._keep_copies(rows)
            else:
                self._keep(self._locator.locate(rows))
        if self._counted:
            every = np.stack(added(*self._counted))
            self._made.counted = self._task.scratch.save(
                f"{self._task.name}.npy", every
            )
        return self._made

    def _gathered(self) -> Iterator[Rows]:
        """Join batches until they make a run."""
        held: list[Rows] = []
        size = 0
        for rows in self._batches():
            held.append(rows)
            size += rows.data.nbytes
            if size >= RUN_BYTES:
                joined, held, size = self._joined(held), [], 0
                yield joined
        if any(map(len, held)):
            yield self._joined(held)

    def _batches(self) -> Iterator[Rows]:
        for number, piece in self._task.pieces:
            if isinstance(piece, StoredPiece):
                yield from self._stored(piece)
            else:
                yield from self._fresh(number, piece)

    def _fresh(self, number: int, piece: Piece) -> Iterator[Rows]:
        for batch in formats.read(piece):
            self._made.nulled[number] += batch.nulled
            self._made.rejects += [
                Reject(number, r.row, r.column, r.value, r.reason)
                for r in batch.rejects
            ]
            inputs = np.full(len(batch.numbers), number, np.int64)
            data = pa.Table.from_batches([batch.rows])
            yield Rows(self._task.table, data, inputs, batch.numbers)
        check_unchanged(piece.file)

    def _stored(self, piece: StoredPiece) -> Iterator[Rows]:
        for rows in stored.read(piece, self._task.scratch):
            gone = rows.inputs == GONE
            if gone.any() and self._task.watched:
                self._note_gone(rows.only(gone))
            kept = rows.only(~gone)
            yield self._changed(kept) if self._task.change else kept

    def _changed(self, rows: Rows) -> Rows:
        assert self._task.change is not None
        changed, places = self._task.change.apply(rows)
        if places.size:
            name = f"{self._task.name}-used-{len(self._made.used)}.npy"
            path = self._task.scratch.save(name, np.unique(places))
            self._made.used.append(path)
        return changed

    def _note_gone(self, rows: Rows) -> None:
        assert rows.homes is not None
        key = rows.table.column(rows.table.key or "").name
        found, name = as_keys(rows.data.column(key)), f"gone-{len(self._made.gone)}"
        self._write_keys(self._made.gone, name, found, rows.homes, rows)

    def _joined(self, held: list[Rows]) -> Rows:
        rows = Rows.joined(held)
        if self._made.packed is None:
            self._made.packed = shard.packed(rows.data.slice(0, _SAMPLE))
        return rows

    def _keep_copies(self, rows: Rows) -> None:
        self._made.rows.update(rows.count(np.ones(len(rows), np.bool_)))
        self._write(_with_system(rows, np.zeros(len(rows), np.int64)))

    def _keep(self, found: Found) -> None:
        located, rows = found.located, found.rows
        self._made.rejects += found.rejects
        self._made.wrapped.update(found.wrapped)
        self._made.rows.update(rows.count(np.ones(len(rows), np.bool_)))
        if not len(rows):
            return
        every = _with_system(rows, located.homes, located.seconds)
        ordered = in_order(every, ascending(located.homes))
        self._count(runs.numbers(ordered, ORDER), ordered.nbytes)
        self._write(ordered)
        if located.ids is not None:
            self._keep_keys(located, rows)

    def _count(self, homes: Integers, size: int) -> None:
        found = counted(homes >> 2 * (healpix.ORDER - self._task.order))
        rows = len(homes) * RUN_BYTES / size
        most = few(self._task.leaf_rows, rows, self._task.tasks)
        self._counted.append(coarse(found, most))

    def _write(self, rows: pa.Table) -> None:
        name = f"{self._task.name}-{len(self._made.runs)}"
        self._made.runs.append(runs.write(self._task.scratch, name, rows))

    def _keep_keys(self, located: Located, rows: Rows) -> None:
        assert located.ids is not None
        name = f"keys-{len(self._made.keys)}"
        self._write_keys(self._made.keys, name, located.ids, located.homes, rows)

    def _write_keys(
        self, to: list[KeyRun], name: str, found: pa.Array, homes: Integers, rows: Rows
    ) -> None:
        which = by_key(found)
        table = pa.table(
            {
                KEY: found.take(pa.array(which)),
                ORDER: homes[which],
                INPUT: rows.inputs[which].astype(np.int32),
                NUMBER: rows.numbers[which],
            }
        )
        name = f"{self._task.name}-{name}"
        to.append(keys.write_run(self._task.scratch, name, table))


def _with_system(
    rows: Rows, homes: Integers, seconds: Integers | None = None
) -> pa.Table:
    system = {ORDER: homes, INPUT: rows.inputs.astype(np.int32)}
    if seconds is not None:
        system[SECOND] = seconds
    if rows.table.indexed is not None:
        system[NUMBER] = rows.numbers  # Of these, rows may still be left out.
    return pa.Table.from_arrays(
        [*map(pa.array, system.values()), *rows.data.columns],
        names=[*system, *rows.data.column_names],
    )
