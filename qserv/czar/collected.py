"""The rows of a query's earlier stages, held in memory under one quota."""

from collections.abc import Collection, Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.ipc

from qserv.catalog.tables import Column
from qserv.czar.results import Message
from qserv.errors import LimitExceeded
from qserv.plan.plan import (
    FoundRestrictor,
    Fragment,
    Residual,
    Stage,
    SystemRows,
    keyed,
    stage_name,
)
from qserv.serving import aside
from qserv.wire.codec import arrow_schema
from qserv.wire.v1 import worker_pb2


class Collected:
    """The rows of earlier stages, for those that read them.

    Parameters
    ----------
    memory
        Bytes that all of them may have together.
    broadcast
        Bytes of them that may travel with a task.
    """

    def __init__(self, *, memory: int, broadcast: int) -> None:
        self._memory = memory
        self._broadcast = broadcast
        self._schemas: dict[int, pa.Schema] = {}
        self._batches: dict[int, list[pa.RecordBatch]] = {}
        self._sizes: dict[int, int] = {}
        self._pieces: dict[int, bytes] = {}

    def open(self, number: int, columns: Iterable[Column]) -> None:
        """Begin a stage, without rows."""
        self._schemas[number] = arrow_schema(tuple(columns))
        self._batches[number] = []
        self._sizes[number] = 0

    def add(self, number: int, message: Message) -> None:
        """Keep rows of a stage.

        Raises
        ------
        LimitExceeded
            If they are too many.
        """
        self._batches[number].append(message.rows)
        self._sizes[number] += len(message.data)
        if sum(self._sizes.values()) > self._memory:
            raise LimitExceeded(
                f"the rows to be merged have more than {_mebibytes(self._memory)}; "
                "select fewer rows or columns, or raise merge_memory"
            )

    def tables(self, numbers: Iterable[int]) -> Mapping[int, pa.Table]:
        """Return the rows of stages, by number."""
        return {
            k: pa.Table.from_batches(self._batches[k], self._schemas[k])
            for k in numbers
        }

    async def pieces(self, numbers: Iterable[int]) -> tuple[bytes, ...]:
        """Return the rows of stages as pieces of a serialized task, encoded once.

        Raises
        ------
        LimitExceeded
            If they are too large to go to every worker.
        """
        if not (wanted := list(numbers)):
            return ()
        self._check_broadcast(sum(self._sizes[k] for k in wanted))
        fresh = set(wanted) - self._pieces.keys()
        for number, table in self.tables(fresh).items():
            made = await aside(self._sizes[number], _piece, number, table)
            self._pieces[number] = made
        pieces = tuple(self._pieces[number] for number in wanted)
        self._check_broadcast(sum(map(len, pieces)))
        return pieces

    def _check_broadcast(self, size: int) -> None:
        if size > self._broadcast:
            raise LimitExceeded(
                f"rows that must go to every worker have {_mebibytes(size)}, more than "
                f"the {_mebibytes(self._broadcast)} that broadcast_memory allows; "
                "restrict the subquery or the joined table further, select fewer of "
                "its columns, or raise broadcast_memory"
            )

    def keep(self, numbers: Collection[int]) -> None:
        """Forget all stages but these."""
        for held in (self._batches, self._sizes, self._schemas, self._pieces):
            for number in held.keys() - set(numbers):
                del held[number]


def _piece(number: int, table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    task = worker_pb2.Task()
    task.side_tables.add(
        name=stage_name(number), arrow_stream=sink.getvalue().to_pybytes()
    )
    return task.SerializeToString()


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.3g} MiB"


def read_by(stages: Iterable[Stage]) -> set[int]:
    """Return the numbers of the stages whose rows these stages read."""
    found: set[int] = set()
    for stage in stages:
        match stage:
            case Residual(inputs=inputs):
                found.update(inputs)
            case Fragment():
                found.update(_read_by(stage))
            case SystemRows():
                pass
    return found


def _read_by(sent: Fragment) -> Iterator[int]:
    yield from (each.stage for each in sent.inputs)
    for each in keyed(sent.restrictors):
        if isinstance(each, FoundRestrictor):
            yield each.stage
