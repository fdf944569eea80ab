"""Has a load read stored files again, and proves that what came of it is right."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from qserv.errors import BadContribution, InternalError
from qserv.ingest import formats
from qserv.ingest.bulk import keys
from qserv.ingest.bulk.execution import finished
from qserv.ingest.bulk.gathered import Gathered
from qserv.ingest.bulk.keys import KEY, Known
from qserv.ingest.bulk.reading import ReadTask
from qserv.ingest.bulk.runs import ORDER, map_batch, numbers
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.rejects import Rejects
from qserv.ingest.rework import values
from qserv.ingest.rework.asked import Rework
from qserv.ingest.rework.changes import NewColumn
from qserv.ingest.rework.pieces import Sources, StoredPiece
from qserv.ingest.rework.values import Values, ValuesTask
from qserv.wire.codec import arrow_schema
from qserv.wire.messages import entry_from_proto

_SHOWN: Final = 5
"""Keys that an error names."""


def arranged(
    reworks: Sequence[Rework], *, after: int, scratch: Scratch
) -> dict[str, "Rereading"]:
    """Return what a load reads again by the lower-case name of the table.

    Each table has an input for a file of values, and one for each contribution that is
    kept; `after` is how many files the load reads.
    """
    found: dict[str, Rereading] = {}
    first = after + len(reworks)
    for number, asked in enumerate(reworks, after):
        found[asked.name] = Rereading(asked, first, number, scratch)
        first += len(asked.kept)
    return found


def numbers_of(again: Iterable["Rereading"]) -> list[int]:
    """Return what `_source` says in rows of the inputs that `arranged` numbered."""
    again = list(again)
    return [0 for _ in again] + [c.number for each in again for c in each.asked.kept]


@dataclass(frozen=True)
class Rereading:
    """What a load reads again of one table.

    Parameters
    ----------
    asked
        Of which table, and what becomes of it.
    first
        The first contribution that is kept counts as this input of the load.
    values_input
        As which input rows of a file of values are told.
    scratch
        Where things are left.
    """

    asked: Rework
    first: int
    values_input: int
    scratch: Scratch

    @property
    def rows(self) -> int:
        """Rows of the files that are read."""
        return sum(file.entry.rows for file in self.asked.files)

    def task(self, plain: ReadTask, change: NewColumn | None) -> ReadTask:
        """Return the task that reads all stored files, made of one that reads none."""
        table = self.asked.stored.table
        return replace(
            plain,
            name=f"{table.name}-stored",
            pieces=tuple((0, piece) for piece in self._pieces()),
            change=change,
            watched=self.asked.watched,
        )

    def _pieces(self) -> Iterator[StoredPiece]:
        stored, sources = self.asked.stored, self._sources
        for number, file in enumerate(self.asked.files):
            holders = [stored.workers[at] for at in file.workers]
            # Each is asked first for some files, so that all of them work.
            turn = number % max(len(holders), 1)
            yield StoredPiece(
                stored.table,
                entry_from_proto(file.entry),
                (*holders[turn:], *holders[:turn]),
                sources,
            )

    @cached_property
    def _sources(self) -> Sources:
        kept = np.array([each.number for each in self.asked.kept], np.int64)
        name = f"{self.asked.stored.table.name}-kept.npy"
        return Sources(self.scratch.save(name, kept), self.asked.gone, self.first)

    def change(self, pool: Executor, rejects: Rejects) -> NewColumn | None:
        """Return what becomes of rows, after reading the values that they get.

        Raises
        ------
        BadContribution
            If the file of values cannot be read, or has bad rows.
        """
        if (column := self.asked.column) is None:
            return None
        if column.values is None:
            return NewColumn(column.table, column.value, None)
        key, name = column.values.key, column.table.columns[-1].name
        pair = values.pair(column.table, key, name)
        file = column.values.file
        pieces = formats.pieces(pair, file, column.values.options)
        task = ValuesTask(
            f"{column.table.name}-values",
            self.scratch,
            pair,
            tuple(pieces),
            self.values_input,
        )
        ((_, made),) = finished(pool, values.read, {task.name: task})
        rejects.add(made.rejects)
        tasks = {each.name: each for each in values.key_tasks(task, made)}
        shards = dict(finished(pool, keys.merge, tasks))
        for shard in shards.values():
            rejects.add(shard.rejects)
        rejects.refuse()
        known = Values(
            column.table.column(key).name,
            arrow_schema(pair.columns).field(1).type,
            tuple(made.runs),
            tuple(shards[name] for name in tasks),
        )
        return NewColumn(column.table, column.value, known)

    def check(
        self, gathered: Gathered, change: NewColumn | None, rejects: Rejects
    ) -> None:
        """Compare what was read with what had to come.

        Raises
        ------
        InternalError
            If rows are missing, or there are too many.
        BadContribution
            If values are for rows that there are not.
        """
        self._check_counts(gathered)
        if change is not None and change.values is not None:
            table = f"{self.asked.stored.release}.{gathered.table.name}"
            unused = change.values.unused(
                gathered.used, number=self.values_input, table=table
            )
            rejects.add(unused)
            rejects.refuse()

    def _check_counts(self, gathered: Gathered) -> None:
        for at, each in enumerate(self.asked.kept, self.first):
            if (found := gathered.rows[at]) != each.rows:
                raise InternalError(
                    f"the files of table {gathered.table.name} have {found:,} rows of "
                    f"{each.source} (number {each.number}), which brought {each.rows:,}"
                    "; nothing was changed; see qserv doctor"
                )

    def check_homes(self, gathered: Gathered) -> None:
        """Refuse keys that go, or move, while others may refer to them.

        Raises
        ------
        BadContribution
            If there is one; names some.
        """
        known = Known(gathered.shards, f"the key of {gathered.table.name}")
        missing: list[int | str] = []
        for run in gathered.gone:
            batch = map_batch(run.path)
            strays = known.homes(batch.column(KEY)) != numbers(batch, ORDER)
            found = batch.column(KEY).filter(pa.array(strays))
            missing += found.slice(0, _SHOWN).to_pylist()
        if missing:
            shown = ", ".join(map(repr, missing[:_SHOWN]))
            raise BadContribution(
                f"table {gathered.table.name} was not loaded: other tables have rows "
                "of its keys, and the new files lack keys of the old ones, or have "
                f"them elsewhere in the sky, such as {shown}; a file that replaces "
                "another holds every key of it where it was"
            )
