"""The second half of a load: rows are cut into files, which go to the workers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final, TypeVar

from qserv.catalog.bounds import Bounds, widened
from qserv.ingest.bulk import leaves
from qserv.ingest.bulk.execution import finished
from qserv.ingest.bulk.gathered import Gathered
from qserv.ingest.bulk.leaves import IndexTask, LeafTask, Leaves
from qserv.ingest.bulk.tasks import Cutting
from qserv.ingest.progress import Meter, TableReport
from qserv.ingest.staging import Have
from qserv.wire.v1 import common_pb2
from qserv.wire.v1 import czar_pb2 as pb

_FILES_A_CALL: Final = 1000

AnyTask = TypeVar("AnyTask", LeafTask, IndexTask)


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
    """

    def __init__(
        self,
        *,
        gathered: Iterable[Gathered],
        pool: Executor,
        meter: Meter,
        tell: Callable[[Sequence[pb.StagedFile]], None],
    ) -> None:
        self._gathered = tuple(gathered)
        self._pool = pool
        self._meter = meter
        self._tell = tell
        self._made: dict[str, tuple[str, Leaves]] = {}

    def run(
        self,
        cutting: Cutting,
        *,
        instead: Callable[[Mapping[str, str]], tuple[Cutting, Have]],
    ) -> None:
        """Make and send all files, until each has all its workers.

        Parameters
        ----------
        cutting
            How rows are cut, and who shall have them.
        instead
            Given the workers that did not take theirs and why, says who shall have
            files in their place, and which are there already.
        """
        while lost := self._once(cutting):
            cutting = _having(*instead(lost))

    def again(
        self, *, instead: Callable[[Mapping[str, str]], tuple[Cutting, Have]]
    ) -> None:
        """Send what is missing where workers have gone after they took files.

        Parameters
        ----------
        instead
            As of `run`; given none it finds who is gone.
        """
        self.run(_having(*instead({})), instead=instead)

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
        for name, made in finished(self._pool, make, tasks):
            table, files = tasks[name].table.name, made.delivery.files
            self._made[name] = table, made
            lost |= made.delivery.lost
            for start in range(0, len(files), _FILES_A_CALL):
                self._tell(files[start : start + _FILES_A_CALL])
            self._meter.add(table, made.rows, sum(map(_sent, files)))
        return lost

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


def _having(cutting: Cutting, have: Have) -> Cutting:
    return replace(cutting, staging=replace(cutting.staging, have=have))


def _files(made: Leaves) -> tuple[pb.StagedFile, ...]:
    return made.delivery.files


def _sent(file: pb.StagedFile) -> int:
    return int(file.entry.size * len(file.worker_ids))
