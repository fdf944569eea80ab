"""The first half of a load: all rows are read, checked, located and counted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final

from qserv.catalog.tables import Table, TableKind
from qserv.ingest import formats
from qserv.ingest.bulk import keys, reading
from qserv.ingest.bulk.execution import finished
from qserv.ingest.bulk.gathered import Gathered
from qserv.ingest.bulk.keys import KeyTask, Known
from qserv.ingest.bulk.reading import Read, ReadTask
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.bulk.tasks import key_tasks, read_tasks
from qserv.ingest.index import LiveIndex
from qserv.ingest.inputs import InputFile, ReadOptions
from qserv.ingest.locate import Homes
from qserv.ingest.progress import Meter, Phase
from qserv.ingest.rejects import Rejects
from qserv.ingest.rework.changes import NewColumn
from qserv.ingest.rework.rereading import Rereading

_HOPELESS: Final = 100_000
"""Rejects after which reading is given up, where fewer are allowed."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input file of a load.

    Parameters
    ----------
    table
        The table, in lower case.
    file
        The file.
    sha256
        Of its bytes, 32 bytes.
    options
        How it is read.
    """

    table: str
    file: InputFile
    sha256: bytes
    options: ReadOptions


class Gathering:
    """Reads the input files of one load.

    Parameters
    ----------
    tables
        Lower-case name -> the tables that files are for.
    inputs
        The files to read, each with its number among all files of the load.
    again
        Lower-case name -> what stored rows of a table are read again, before files.
    live
        Lower-case name -> the index of a table that is live.
    radii, order
        Table -> its overlap radius in degrees, for those that have one; HEALPix order
        at which rows are counted.
    leaf_rows
        Rows of a director that a leaf may hold.
    pool, scratch
        Runs the tasks; where they leave things.
    rejects, meter
        What takes rows that are left out; who is told.
    """

    def __init__(
        self,
        *,
        tables: Mapping[str, Table],
        inputs: Sequence[tuple[int, Input]],
        again: Mapping[str, Rereading],
        live: Mapping[str, LiveIndex],
        radii: Mapping[str, float],
        order: int,
        leaf_rows: int,
        pool: Executor,
        scratch: Scratch,
        rejects: Rejects,
        meter: Meter,
    ) -> None:
        self._tables = tables
        self._inputs = inputs
        self._again = again
        self._changes: dict[str, NewColumn | None] = {}
        self._live = live
        self._radii = radii
        self._order = order
        self._leaf_rows = leaf_rows
        self._pool = pool
        self._scratch = scratch
        self._rejects = rejects
        self._meter = meter
        self._gathered: dict[str, Gathered] = {}

    def run(self) -> dict[str, Gathered]:
        """Read all files; returns what there is of each table, by lower-case name.

        Raises
        ------
        BadContribution
            If a file cannot be read, or more rows than allowed must be left out.
        InternalError
            If stored rows are not what they should be.
        """
        counts = [formats.count(i.file) for _, i in self._inputs]
        known = [count for count in counts if count is not None]
        stored = sum(each.rows for each in self._again.values())
        total = stored + sum(known) if len(known) == len(counts) else None
        self._meter.enter(Phase.READING, total=total)
        for name, each in self._again.items():
            self._changes[name] = each.change(self._pool, self._rejects)
        directors = {
            name for name, t in self._tables.items() if t.kind is TableKind.DIRECTOR
        }
        # Children ask where their directors are, which must be known by then.
        self._read(directors)
        self._read(self._tables.keys() - directors)
        return self._gathered

    def _read(self, names: Iterable[str]) -> None:
        chosen = set(names)
        tables = [table for name, table in self._tables.items() if name in chosen]
        every = [task for table in tables for task in self._tasks(table)]
        tasks = {task.name: replace(task, tasks=len(every)) for task in every}
        done: dict[str, Read] = {}
        for name, made in finished(self._pool, reading.read, tasks):
            done[name] = made
            self._count(tasks[name], made)
            if len(self._rejects) > _HOPELESS:
                self._rejects.refuse()
        for table in tables:
            # In the order of the input files, whichever task ended first.
            mine = [done[name] for name, task in tasks.items() if task.table is table]
            total = Gathered.of(table, self._order, self._leaf_rows, mine)
            self._gathered[table.name.lower()] = total
            self._check_again(total)
        self._sort_keys(tables)

    def _check_again(self, gathered: Gathered) -> None:
        name = gathered.table.name.lower()
        if (again := self._again.get(name)) is not None:
            again.check(gathered, self._changes[name], self._rejects)

    def _count(self, task: ReadTask, made: Read) -> None:
        self._rejects.add(made.rejects)
        size = sum(run.size for run in made.runs)
        self._meter.add(task.table.name, sum(made.rows.values()), size)

    def _tasks(self, table: Table) -> Iterator[ReadTask]:
        name = table.name.lower()
        files = (each for each in self._inputs if each[1].table == name)
        task = ReadTask(
            f"{table.name}-read",
            self._scratch,
            table,
            tuple(
                (number, piece)
                for number, each in files
                for piece in formats.pieces(table, each.file, each.options)
            ),
            self._directors(table),
            self._radii.get(table.name, 0.0),
            self._order,
            self._leaf_rows,
        )
        if (again := self._again.get(name)) is not None:
            yield from read_tasks(again.task(task, self._changes[name]))
        yield from read_tasks(task)

    def _directors(self, table: Table) -> Mapping[str, Sequence[Homes]]:
        """Return who knows the homes of the directors that a table names."""
        known: dict[str, list[Homes]] = {}
        for _, director in table.links:
            name = director.lower()
            if here := self._gathered.get(name):
                what = f"the key {here.table.key} of {here.table.name}"
                known[name] = [Known(here.shards, what)]
            if name in self._live:
                known.setdefault(name, []).append(self._live[name])
        return known

    def _sort_keys(self, tables: Sequence[Table]) -> None:
        owners: dict[str, Gathered] = {}
        tasks: dict[str, KeyTask] = {}
        for gathered in (self._gathered[table.name.lower()] for table in tables):
            live = self._live.get(gathered.table.name.lower())
            for task in key_tasks(gathered, live, self._scratch):
                owners[task.name], tasks[task.name] = gathered, task
        shards = dict(finished(self._pool, keys.merge, tasks))
        for gathered in (self._gathered[table.name.lower()] for table in tables):
            mine = [shards[name] for name in tasks if owners[name] is gathered]
            gathered.keep_shards(mine, self._scratch)
            for shard in mine:
                self._rejects.add(shard.rejects)
            if gathered.gone:
                self._again[gathered.table.name.lower()].check_homes(gathered)
        self._rejects.refuse()
