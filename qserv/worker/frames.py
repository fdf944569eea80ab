"""What a task's stream says, frame by frame."""

from collections.abc import Iterator

from qserv.errors import ClusterError, SpoolLost
from qserv.wire.bundle import Bundle
from qserv.wire.v1 import worker_pb2
from qserv.worker.arrowfile import messages
from qserv.worker.process import Done
from qserv.worker.spools import Spools, Stored
from qserv.worker.tasks import WorkerTask

__all__ = ["TaskStream", "spooled"]


class TaskStream:
    """The frames of one task, and what has been counted so far.

    Parameters
    ----------
    task
        The task.
    attempt
        Copied into every frame.
    """

    def __init__(self, task: WorkerTask, attempt: int) -> None:
        self._task = task
        self._attempt = attempt
        self._reads: dict[int, tuple[int, int, int]] = {}
        self._ended = 0
        self._chunks_done = 0
        self._total = worker_pb2.Counters()

    @property
    def rows(self) -> int:
        """Rows of the batches that ended."""
        return self._total.rows_out

    @property
    def is_full(self) -> bool:
        """Whether the task's limit is reached."""
        return self._task.limit is not None and self.rows >= self._task.limit

    @property
    def is_last(self) -> bool:
        """Whether all batches ended."""
        return self._ended == len(self._task.batches)

    def reads(self, batch: int, files: int, size: int, brought: int = 0) -> None:
        """Take note of the files that a batch reads, and of its bytes.

        `brought` are bytes that came with the task or from peers, besides the files'.
        """
        self._reads[batch] = (files, size, brought)

    def data(self, batch: int, message: bytes) -> worker_pb2.TaskFrame:
        """Return the frame of a message."""
        data = worker_pb2.Data(batch=batch, record_batch=message)
        return worker_pb2.TaskFrame(attempt=self._attempt, data=data)

    def ended(self, batch: int, done: Done) -> list[worker_pb2.TaskFrame]:
        """Return the frames that end a batch."""
        items = self._task.batches[batch]
        files, size, brought = self._reads.pop(batch)
        counters = worker_pb2.Counters(
            rows_out=done.rows,
            bytes_out=done.size,
            files=files,
            bytes_scanned=size + brought,
            engine_microseconds=done.microseconds,
            bytes_brought=brought,
        )
        self._count(counters, len(items))
        end = worker_pb2.BatchEnd(
            batch=batch,
            chunks=[item.chunk for item in items],
            file_parts=[item.part for item in items],
            rows=done.rows,
            digest=done.digest,
            counters=counters,
        )
        frames = [worker_pb2.TaskFrame(attempt=self._attempt, batch_end=end)]
        # One batch tells all with its end.
        if len(self._task.batches) > 1:
            frames.append(self._progress())
        return frames

    def end(self) -> worker_pb2.TaskFrame:
        """Return the task's last frame."""
        end = worker_pb2.TaskEnd(batches=self._ended, counters=self._total)
        return worker_pb2.TaskFrame(attempt=self._attempt, task_end=end)

    def _count(self, counters: worker_pb2.Counters, chunks: int) -> None:
        self._ended += 1
        self._chunks_done += chunks
        for field, value in counters.ListFields():
            setattr(self._total, field.name, getattr(self._total, field.name) + value)

    def _progress(self) -> worker_pb2.TaskFrame:
        progress = worker_pb2.TaskProgress(
            chunks_done=self._chunks_done, chunks=sum(map(len, self._task.batches))
        )
        return worker_pb2.TaskFrame(attempt=self._attempt, progress=progress)


def spooled(
    spools: Spools, request: worker_pb2.SpoolRequest
) -> Iterator[worker_pb2.TaskFrames]:
    """Yield the frames of one bucket, of each batch with the digest it was written by.

    Raises
    ------
    SpoolLost
        If rows are not here, or cannot be read any more.
    """
    stage, attempt = request.stage, request.attempt
    waiting = Bundle[worker_pb2.TaskFrame]()
    found = spools.find(
        request.query_id, stage, attempt, request.batches, request.bucket
    )
    for stored in found:
        for frame in _frames_of(stored, request):
            waiting.add(frame)
            if waiting.full:
                yield worker_pb2.TaskFrames(frames=waiting.take())
    end = worker_pb2.TaskEnd(batches=len(found))
    waiting.add(worker_pb2.TaskFrame(attempt=attempt, task_end=end))
    yield worker_pb2.TaskFrames(frames=waiting.take())


def _frames_of(
    stored: Stored, request: worker_pb2.SpoolRequest
) -> Iterator[worker_pb2.TaskFrame]:
    kept, attempt = stored.kept, request.attempt
    try:
        for message in messages(stored.path) if stored.path else ():
            data = worker_pb2.Data(batch=stored.batch, record_batch=bytes(message))
            yield worker_pb2.TaskFrame(attempt=attempt, data=data)
    except ClusterError as error:
        text = f"rows of stage {request.stage} cannot be read again: {error.text}"
        raise SpoolLost(text) from error
    end = worker_pb2.BatchEnd(
        batch=stored.batch, chunks=[request.bucket], rows=kept.rows, digest=kept.digest
    )
    yield worker_pb2.TaskFrame(attempt=attempt, batch_end=end)
