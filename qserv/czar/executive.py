"""Runs what dispatch decides: one stream a task, rows counted batch by batch.

The rows of an open batch are kept until its last frame: only when the digest and the
number of rows are right do they leave this room. A query's rows are therefore those of
whole batches, each chunk once.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pyarrow as pa

from qserv.czar.dispatch import (
    Accept,
    AttemptFailed,
    BatchDone,
    Cancel,
    Dispatch,
    Event,
    Fail,
    Finish,
    Send,
    SetAside,
    Start,
    Stop,
    TaskEnded,
    WorkerLost,
)
from qserv.czar.halos import Around, halo
from qserv.czar.members import Member, Members
from qserv.errors import (
    Cancelled,
    ClusterError,
    CorruptData,
    InternalError,
    QservError,
    TaskFailed,
    WorkerUnavailable,
)
from qserv.plan.explain import Happened
from qserv.serving import aside
from qserv.telemetry import logger
from qserv.wire.codec import Digest, decode_batch
from qserv.wire.errors import from_rpc
from qserv.wire.v1 import worker_pb2

_log = logger(__name__)

_WAITING: int = 4
"""Finished batches of a query that may wait for a slow reader."""
_PATIENCE: float = 10.0
"""Seconds that a worker may take to forget a query."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one finished batch.

    Parameters
    ----------
    messages
        Arrow IPC record batch messages as they arrived.
    batches
        The same rows, decoded over the same memory.
    chunks
        Whose rows they are.
    worker, attempt, batch
        Where they come from; where the rows of a batch that is spooled stay.
    count, size
        How many they are, and their bytes.
    """

    messages: tuple[bytes, ...]
    batches: tuple[pa.RecordBatch, ...]
    chunks: tuple[int, ...]
    worker: str
    attempt: int
    batch: int
    count: int
    size: int


@dataclass(slots=True)
class Tally:
    """What a query has done so far, and each of its stages; counted up meanwhile."""

    chunks_done: int = 0
    attempts: int = 0
    bytes_scanned: int = 0
    stages: defaultdict[int, Happened] = field(
        default_factory=lambda: defaultdict(Happened)
    )

    def accept(self, stage: int, rows: Rows) -> None:
        """Count a batch whose rows count."""
        self.chunks_done += len(rows.chunks)
        self.stages[stage].chunks += len(rows.chunks)
        self.stages[stage].rows += rows.count
        self.stages[stage].size += rows.size


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of a fragment share.

    Parameters
    ----------
    task
        The task without attempt and chunks.
    schema
        Arrow schema of the rows that come back.
    around
        Its halo sources: each task says who has their chunks.
    pieces
        Serialized tasks with a side table each, which are part of all tasks.
    """

    task: worker_pb2.Task
    schema: pa.Schema
    around: tuple[Around, ...] = ()
    pieces: tuple[bytes, ...] = ()


@dataclass(slots=True)
class _OpenBatch:
    digest: Digest = field(default_factory=Digest)
    messages: list[bytes] = field(default_factory=list)

    def add(self, message: bytes) -> None:
        self.messages.append(message)
        self.digest.update(message)


class Executive:
    """Runs fragments on the workers.

    Parameters
    ----------
    members
        The workers and the channels to them.
    """

    def __init__(self, *, members: Members) -> None:
        self._members = members
        self._busy: Counter[str] = Counter()
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> Counter[str]:
        """Bytes that each worker was sent to read and has not finished."""
        return self._busy

    def forget(self, query_id: str) -> None:
        """Have all workers forget what they keep for a query; does not wait."""
        for member in self._members.alive.values():
            ending = asyncio.create_task(_end_query(member, query_id))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def close(self) -> None:
        """See through what `forget` began."""
        await asyncio.gather(*self._endings)

    async def run(
        self, job: Job, start: Start, tally: Tally
    ) -> AsyncGenerator[Rows | SetAside, None]:
        """Run a fragment over its chunks.

        Parameters
        ----------
        job
            What to run.
        start
            Where.
        tally
            Counted up as batches end.

        Yields
        ------
        Rows or SetAside
            Rows of one batch each, in the order in which batches end; or that chunks
            are left out of this run.

        Raises
        ------
        ClusterError
            If a chunk has no replica left.
        QservError
            What a worker says about the query itself, at once.
        """
        run = _Run(job, tally, self._members, self._busy)
        with self._members.watching(run.worker_lost):
            async with aclosing(run.rows(start)) as batches:
                async for rows in batches:
                    yield rows


async def _end_query(member: Member, query_id: str) -> None:
    request = worker_pb2.EndQueryRequest(query_id=query_id)
    try:
        await member.stub.EndQuery(request, timeout=_PATIENCE)
    except grpc.aio.AioRpcError as error:
        # The worker forgets by itself when it hears no more of the query.
        text = from_rpc(error, member.endpoint).text
        _log.warning("spools stay", worker=member.id, query_id=query_id, reason=text)


class _Run:
    """One run of one job: turns actions into calls, and frames into events."""

    def __init__(
        self, job: Job, tally: Tally, members: Members, busy: Counter[str]
    ) -> None:
        self._job = job
        self._packed = job.task.SerializeToString()
        self._tally = tally
        self._members = members
        self._busy = busy
        self._dispatch = Dispatch(tally.attempts)
        self._events: asyncio.Queue[tuple[Event, Rows | None]] = asyncio.Queue()
        self._room = asyncio.Semaphore(_WAITING)
        self._readers: dict[int, asyncio.Task[None]] = {}

    def worker_lost(self, worker: str, error: ClusterError) -> None:
        self._events.put_nowait((WorkerLost(worker, error), None))

    async def rows(self, start: Start) -> AsyncGenerator[Rows | SetAside, None]:
        event: Event = start
        rows: Rows | None = None
        try:
            while True:
                for action in self._dispatch.handle(event):
                    match action:
                        case Send():
                            self._send(action)
                        case Cancel():
                            self._readers[action.attempt].cancel()
                        case Accept():
                            assert rows is not None, "only a batch is accepted"
                            self._tally.accept(self._job.task.stage, rows)
                            yield rows
                        case SetAside():
                            yield action
                        case Fail():
                            raise action.error
                        case Finish():
                            return
                if rows is not None:
                    self._room.release()
                event, rows = await self._events.get()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        self._dispatch.handle(Stop())
        self._tally.attempts = self._dispatch.attempts
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)

    def _send(self, send: Send) -> None:
        happened = self._tally.stages[self._job.task.stage]
        happened.tasks += 1
        reader = asyncio.create_task(self._attend(send))
        self._readers[send.attempt] = reader

    async def _attend(self, send: Send) -> None:
        """See one attempt through, whatever its end, and tell dispatch."""
        work = sum(send.work)
        self._busy[send.worker] += work
        try:
            event: Event = await self._read(send, self._members.get(send.worker))
        except QservError as error:
            if isinstance(error, WorkerUnavailable):
                self._members.lost(send.worker, error)
            event = AttemptFailed(send.attempt, error)
        except Exception as error:  # noqa: BLE001 the boundary: nobody awaits a reader
            _log.exception("reader failed", worker=send.worker, attempt=send.attempt)
            kind = type(error).__name__
            event = AttemptFailed(
                send.attempt,
                InternalError(f"{kind} while reading from worker {send.worker}"),
            )
        finally:
            self._busy[send.worker] -= work
        self._events.put_nowait((event, None))

    async def _read(self, send: Send, member: Member) -> Event:
        call = member.run(await self._whole(send))
        try:
            return await self._frames(send, member, call)
        except grpc.aio.AioRpcError as error:
            typed = from_rpc(error, member.endpoint)
            if isinstance(typed, Cancelled):
                # It was not us: a worker that stops cancels its calls.
                typed = WorkerUnavailable(f"{member.endpoint} gave its task up")
            raise typed from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # It was not us: the channel was closed under the call.
            raise WorkerUnavailable(
                f"the channel to {member.endpoint} closed"
            ) from None
        finally:
            call.cancel()

    async def _whole(self, send: Send) -> bytes:
        """Return a task: messages are merged by writing one behind the other.

        So side tables, which may be large, are serialized once.
        """
        parts = self._packed, *self._job.pieces, self._rest(send)
        return await aside(sum(map(len, parts)), b"".join, parts)

    def _rest(self, send: Send) -> bytes:
        """Return what a task has beside those of others."""
        task = worker_pb2.Task(
            attempt=send.attempt,
            chunks=send.chunks,
            file_parts=[-1] * len(send.chunks),
            work=send.work,
        )
        if self._job.around:
            alive = {m.id: m.endpoint for m in self._members.alive.values()}
            task.halos.extend(
                halo(each, send.chunks, send.worker, alive) for each in self._job.around
            )
        return task.SerializeToString()

    async def _frames(
        self,
        send: Send,
        member: Member,
        call: "grpc.aio.UnaryStreamCall[bytes, worker_pb2.TaskFrames]",
    ) -> Event:
        where = f"worker {send.worker} at {member.endpoint}"
        open_batches: dict[int, _OpenBatch] = {}
        async for message in call:
            for frame in message.frames:
                if frame.attempt != send.attempt:
                    raise CorruptData(f"{where} sent frames of another attempt")
                match frame.WhichOneof("frame"):
                    case "data":
                        batch = open_batches.setdefault(frame.data.batch, _OpenBatch())
                        batch.add(frame.data.record_batch)
                    case "batch_end":
                        number = frame.batch_end.batch
                        batch = open_batches.pop(number, _OpenBatch())
                        await self._close_batch(send, where, batch, frame.batch_end)
                    case "task_end":
                        return TaskEnded(send.attempt)
                    case "progress" | None:
                        pass
        raise TaskFailed(f"{where} stopped before the end of its task")

    async def _close_batch(
        self, send: Send, where: str, batch: _OpenBatch, end: worker_pb2.BatchEnd
    ) -> None:
        # Rows that are spooled stay where they are; who reads them checks them.
        decoded = () if self._spools else self._checked(where, batch, end)
        await self._room.acquire()
        self._tally.bytes_scanned += end.counters.bytes_scanned
        happened = self._tally.stages[self._job.task.stage]
        happened.read += end.counters.bytes_scanned - end.counters.bytes_brought
        happened.brought += end.counters.bytes_brought
        rows = Rows(
            messages=tuple(batch.messages),
            batches=decoded,
            chunks=tuple(end.chunks),
            worker=send.worker,
            attempt=send.attempt,
            batch=end.batch,
            count=end.rows,
            size=end.counters.bytes_out,
        )
        done = BatchDone(send.attempt, end.batch, rows.chunks)
        self._events.put_nowait((done, rows))

    @property
    def _spools(self) -> bool:
        return self._job.task.HasField("spool")

    def _checked(
        self, where: str, batch: _OpenBatch, end: worker_pb2.BatchEnd
    ) -> tuple[pa.RecordBatch, ...]:
        if batch.digest.value() != end.digest:
            raise CorruptData(f"{where}: batch {end.batch} differs from its digest")
        schema = self._job.schema
        decoded = tuple(decode_batch(message, schema) for message in batch.messages)
        count = sum(rows.num_rows for rows in decoded)
        if count != end.rows:
            raise CorruptData(f"{where}: batch {end.batch} lacks rows")
        return decoded
