"""The second half of a load: rows are cut into files, which go to the workers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final, TypeVar

from qserv.catalog.bounds import Bounds, widened
from qserv.catalog.snapshot import Role
from qserv.ingest.bulk import leaves
from qserv.ingest.bulk.execution import finished
from qserv.ingest.bulk.gathered import Gathered
from qserv.ingest.bulk.leaves import IndexTask, LeafTask, Leaves
from qserv.ingest.bulk.tasks import Cutting
from qserv.ingest.progress import Meter, TableReport
from qserv.ingest.staging import Delivery, Have
from qserv.wire.v1 import common_pb2
from qserv.wire.v1 import czar_pb2 as pb

_FILES_A_CALL: Final = 1000

AnyTask = TypeVar("AnyTask", LeafTask, IndexTask)
_Key = tuple[str, int, int]
"""Table, role, and chunk or index shard."""


class Sending:
    """Makes and sends the files of one load.

    Parameters
    ----------
    gathered
        The rows of each table.
    pool
        Runs the tasks.
    meter
        Who is told.
    tell
        Tells the czar which files workers have acknowledged.
    have
        What they had acknowledged before.
    """

    def __init__(
        self,
        *,
        gathered: Iterable[Gathered],
        pool: Executor,
        meter: Meter,
        tell: Callable[[Sequence[pb.StagedFile]], None],
        have: Iterable[pb.StagedFile] = (),
    ) -> None:
        self._gathered = tuple(gathered)
        self._pool = pool
        self._meter = meter
        self._tell = tell
        self._made: dict[str, tuple[str, Leaves]] = {}
        self._have: dict[_Key, list[pb.StagedFile]] = defaultdict(list)
        for file in have:
            self._have[file.table, file.entry.role, file.entry.chunk].append(file)

    def run(
        self, cutting: Cutting, *, instead: Callable[[Mapping[str, str]], Cutting]
    ) -> None:
        """Make and send all files, until each has all its workers.

        Parameters
        ----------
        cutting
            How rows are cut, and who shall have them.
        instead
            Given the workers that did not take theirs and why, says who shall have
            files in their place.
        """
        cutting.staging.forgive()
        while lost := self._once(cutting):
            cutting = instead(lost)

    def again(self, *, instead: Callable[[Mapping[str, str]], Cutting]) -> None:
        """Send what is missing where workers have gone after they took files.

        Parameters
        ----------
        instead
            As of `run`; given none it finds who is gone.
        """
        self.run(instead({}), instead=instead)

    def _once(self, cutting: Cutting) -> dict[str, str]:
        base: dict[str, LeafTask] = {}
        index: dict[str, IndexTask] = {}
        for gathered in self._gathered:
            base |= {task.name: task for task in cutting.base(gathered)}
            index |= {t.name: t for t in cutting.index(gathered, len(index))}
        lost = self._keep(leaves.make, base) | self._keep(leaves.make_index, index)
        overlap: dict[str, LeafTask] = {}
        for gathered in self._gathered:
            table = gathered.table
            made = [self._made[n][1] for n, t in base.items() if t.table is table]
            overlap |= {task.name: task for task in cutting.overlap(table, made)}
        return lost | self._keep(leaves.make, overlap)

    def _keep(
        self, make: Callable[[AnyTask], Leaves], tasks: Mapping[str, AnyTask]
    ) -> dict[str, str]:
        lost: dict[str, str] = {}
        todo = {n: left for n, task in tasks.items() if (left := self._left(task))}
        for name, made in finished(self._pool, make, todo):
            table, files = tasks[name].table.name, made.delivery.files
            before = self._made.get(name)
            self._made[name] = table, _again(before[1], made) if before else made
            lost |= made.delivery.lost
            for start in range(0, len(files), _FILES_A_CALL):
                self._tell(files[start : start + _FILES_A_CALL])
            rows = 0 if before else made.rows
            self._meter.add(table, rows, sum(map(_sent, files)))
        return lost

    def _left(self, task: AnyTask) -> AnyTask | None:
        """Return what of a task is still to be done; None if nothing is."""
        before = self._made.get(task.name)
        if before is None:
            files = [f for key in _keys(task) for f in self._have.get(key, ())]
            return replace(task, staging=replace(task.staging, have=_have(files)))
        files = [f for f in _files(before[1]) if _lacks(f, task)]
        if not files:
            return None
        staging = replace(task.staging, have=_have(files))
        if isinstance(task, IndexTask):
            return replace(task, staging=staging)
        workers = {f.entry.chunk: task.workers[f.entry.chunk] for f in files}
        # Its overlap and its bounds are known.
        return replace(task, workers=workers, radius=None, staging=staging)

    def bounds(self, table: str) -> Bounds:
        """Return the least and greatest of a table's columns."""
        known: Bounds | None = None
        for owner, made in self._made.values():
            if owner == table and made.bounds is not None:
                known = made.bounds if known is None else widened(known, made.bounds)
        return known or {}

    @property
    def size(self) -> int:
        """Bytes that workers took, all copies."""
        return sum(_sent(file) for _, m in self._made.values() for file in _files(m))

    def report(self, table: str, rows: int) -> TableReport:
        """Return what was made of a table with that many new rows."""
        files = [f for t, m in self._made.values() if t == table for f in _files(m)]
        overlap = common_pb2.ROLE_OVERLAP
        return TableReport(
            rows=rows,
            overlap_rows=sum(f.entry.rows for f in files if f.entry.role == overlap),
            files=len(files),
            size=sum(f.entry.size for f in files),
        )


def _files(made: Leaves) -> tuple[pb.StagedFile, ...]:
    return made.delivery.files


def _sent(file: pb.StagedFile) -> int:
    return int(file.entry.size * len(file.worker_ids))


def _keys(task: LeafTask | IndexTask) -> list[_Key]:
    name = task.table.name
    if isinstance(task, IndexTask):
        return [(name, common_pb2.ROLE_INDEX, task.number)]
    base = task.role is Role.BASE
    role = common_pb2.ROLE_BASE if base else common_pb2.ROLE_OVERLAP
    return [(name, role, chunk) for chunk in task.workers]


def _have(files: Iterable[pb.StagedFile]) -> Have:
    return {
        f.entry.path: (f.entry.sha256.hex(), frozenset(f.worker_ids)) for f in files
    }


def _lacks(file: pb.StagedFile, task: LeafTask | IndexTask) -> bool:
    """Say whether somebody who shall have a file has not acknowledged it."""
    if isinstance(task, IndexTask):
        workers = task.workers
    else:
        workers = task.workers[file.entry.chunk]
    return not {w.worker_id for w in workers} <= set(file.worker_ids)


def _again(before: Leaves, made: Leaves) -> Leaves:
    """Return what a task made, of which some files were made again."""
    files = {f.entry.path: f for f in (*_files(before), *_files(made))}
    return replace(before, delivery=Delivery(tuple(files.values()), made.delivery.lost))
