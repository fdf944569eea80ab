"""Mechanisms of qserv that can be switched off in a program before it begins."""

from qserv.czar.dispatch import Accept, BatchDone, Dispatch
from qserv.czar.exchange import Ended, Exchange
from qserv.czar.executive import Rows, TaskEnded, _Run
from qserv.wire.codec import decode_batch


def without_waiting_for_digests():
    """Let rows count as they come, not when their batch ended with its digest."""

    def pushed(run, send, batch, messages, chunks, end=None):
        rows = Rows(
            messages=tuple(messages),
            batches=tuple(decode_batch(m, run._job.schema) for m in messages),
            chunks=tuple(chunks),
            worker=send.worker,
            attempt=send.attempt,
            batch=batch,
            count=end.rows if end else 0,
            size=end.counters.bytes_out if end else 0,
        )
        done = BatchDone(send.attempt, batch, rows.chunks)
        run._events.put_nowait((done, rows))

    async def frames(run, send, member, call):
        async for message in call:
            for frame in message.frames:
                kind = frame.WhichOneof("frame")
                if kind == "data":
                    data = frame.data
                    await run._room.acquire()
                    pushed(run, send, data.batch, [data.record_batch], ())
                elif kind == "batch_end":
                    end = frame.batch_end
                    await run._room.acquire()
                    pushed(run, send, end.batch, (), end.chunks, end)
        return TaskEnded(send.attempt)

    _Run._frames = frames


def without_memory_of_batches():
    """Forget which batches of a worker were accepted: all is asked of another again."""
    ended = Dispatch._ended

    def accepted(self, event):
        return [Accept(event.attempt, event.batch)]

    def forgiving(self, number):
        self._open[number].outstanding.clear()
        return ended(self, number)

    def counted(self, event):
        for chunk in event.chunks:
            self._stages[event.stage].missing.pop(chunk, None)
        return []

    Dispatch._batch_done, Dispatch._ended = accepted, forgiving
    Exchange._done = counted


def without_asking_again():
    """Take what a lost worker sent for all that it was to send."""
    drop, handled = Dispatch._drop, Exchange.handle

    def dropped(self, attempt, error):
        drop(self, attempt, error)
        return []

    def handle(self, event):
        if isinstance(event, Ended):
            for stage in self._stages.values():
                stage.missing.clear()
        return handled(self, event)

    Dispatch._drop, Exchange.handle = dropped, handle


MECHANISMS = {
    "digests": without_waiting_for_digests,
    "batches": without_memory_of_batches,
    "asking-again": without_asking_again,
}
