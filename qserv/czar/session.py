"""Answers queries: plan, find the chunks, run, merge, stream. All faces come here."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Final

from qserv.catalog.tables import Column
from qserv.czar import explanation
from qserv.czar.admission import Admission
from qserv.czar.ahead import Ahead
from qserv.czar.answer import Answer
from qserv.czar.collected import Collected
from qserv.czar.executive import Executive
from qserv.czar.fragments import Fragments
from qserv.czar.members import Members
from qserv.czar.merge import Merge
from qserv.czar.preparation import Preparation, Work
from qserv.czar.queries import Queries, Running
from qserv.czar.results import Cut, Frame, Header, Progress, Request, Steps, Trailer
from qserv.czar.system import System
from qserv.dialects.statements import Mode
from qserv.errors import LimitExceeded, QservError
from qserv.telemetry import logger, query_context
from qserv.wire.codec import arrow_schema, encode_schema

_log = logger(__name__)

_LOGGED: Final = 2_000
"""Characters of a query's text that a log line holds at most."""


class Session:
    """Answers queries, whoever asks.

    Parameters
    ----------
    preparation
        Makes queries ready to run.
    members
        The workers.
    executive, merge, system
        Run fragments and residuals, and read what qserv knows itself.
    queries
        Knows the running queries.
    epoch
        The czar's epoch: fences what an earlier czar sent.
    broadcast_memory
        Bytes of earlier stages' rows that may go to every worker.
    admission
        Says whose turn it is.
    max_result_bytes
        Bytes after which a result ends with an error; None: never.
    """

    def __init__(
        self,
        *,
        preparation: Preparation,
        members: Members,
        executive: Executive,
        merge: Merge,
        system: System,
        queries: Queries,
        epoch: int,
        broadcast_memory: int,
        admission: Admission,
        max_result_bytes: int | None = None,
    ) -> None:
        self._preparation = preparation
        self._members = members
        self._executive = executive
        self._merge = merge
        self._system = system
        self._queries = queries
        self._epoch = epoch
        self._broadcast_memory = broadcast_memory
        self._admission = admission
        self._max_result_bytes = max_result_bytes

    async def query(self, request: Request) -> AsyncGenerator[Frame, None]:
        """Answer one query.

        Yields
        ------
        Header, bytes, Progress, Trailer
            Header first, trailer last. Closing the generator stops all work.

        Raises
        ------
        QservError
            Instead of the trailer: what was sent before is then no result.
        """
        with (
            self._queries.run(request.query_id, request.text) as running,
            query_context(running.id),
        ):
            steps, outcome = Steps(), "abandoned"
            try:
                async with aclosing(self._frames(request, running, steps)) as frames:
                    async for frame in frames:
                        yield frame
                outcome = "done"
            except QservError as error:
                outcome = error.code
                raise
            finally:
                if running.spools:
                    self._executive.forget(running.id)
                _log.info(
                    "query",
                    text=request.text[:_LOGGED],
                    chunks=running.chunks,
                    rows=running.rows,
                    milliseconds=round(steps.total / 1000, 1),
                    outcome=outcome,
                )

    async def explain(self, request: Request) -> str:
        """Say how a query is answered, in the mode that is asked for, as one text."""
        async with aclosing(self.query(request)) as frames:
            return explanation.text_of([frame async for frame in frames])

    def cancel(self, query_id: str) -> bool:
        """Stop a query; return whether it was running."""
        return self._queries.cancel(query_id)

    @property
    def running(self) -> tuple[Running, ...]:
        """The queries that run now, oldest first."""
        return self._queries.running

    async def _frames(
        self, request: Request, running: Running, steps: Steps
    ) -> AsyncGenerator[Frame, None]:
        work = await self._preparation.prepare(explanation.asked(request), steps)
        async with (
            self._turn(work),
            aclosing(self._run(work, running, steps)) as frames,
        ):
            steps.done("wait")
            async for frame in frames:
                yield frame

    def _turn(self, work: Work) -> AbstractAsyncContextManager[None]:
        """Wait until a query may run; to be explained it need not."""
        if work.request.mode is Mode.EXPLAIN:
            return nullcontext()
        return self._admission.turn(work.plan, self._preparation.cost(work))

    async def _run(
        self, work: Work, running: Running, steps: Steps
    ) -> AsyncGenerator[Frame, None]:
        answer = self._rows if work.request.mode is Mode.RUN else self._explained
        running.plans(work.chunks)
        try:
            async with aclosing(answer(work, running, steps)) as frames:
                async for frame in frames:
                    yield frame
        except LimitExceeded as error:
            again = await self._frugal(work, running, steps)
            if again is None:
                raise
            _log.info("planned again", reason=error.text)
            async with aclosing(answer(again, running, steps)) as frames:
                async for frame in frames:
                    if not isinstance(frame, Header):
                        yield frame

    async def _frugal(self, work: Work, running: Running, steps: Steps) -> Work | None:
        """Plan a query again of which more rows came to the czar than were expected.

        None where rows of the answer are out already, or no other plan does with fewer.
        """
        if running.rows:
            return None
        again = await self._preparation.prepare(work.request, steps, frugal=True)
        if again.plan.stages == work.plan.stages:
            return None
        running.plans(again.chunks)
        return again

    async def _explained(
        self, work: Work, running: Running, steps: Steps
    ) -> AsyncGenerator[Frame, None]:
        """Print the plan, after its query has run if that is asked for."""
        yield _header(work, running, explanation.COLUMNS)
        happened = None
        if work.request.mode is Mode.ANALYZE:
            async with aclosing(self._rows(work, running, steps)) as frames:
                async for frame in frames:
                    if isinstance(frame, Progress):
                        yield frame
            happened = running.tally.stages
        text = self._preparation.explain(work, happened)
        cut = Cut(limit=None, max_rows=None)
        for message in explanation.messages(text):
            cut.take(message)
            yield message.data
        yield _trailer(cut, running, steps)

    async def _rows(
        self, work: Work, running: Running, steps: Steps
    ) -> AsyncGenerator[Frame, None]:
        most = self._preparation.most(work.request)
        most_bytes = self._max_result_bytes
        cut = Cut(limit=work.plan.limit, max_rows=most, max_bytes=most_bytes)
        answer = self._answer(work, running, steps, most)
        async with aclosing(Ahead(answer.parts())) as parts:
            yield _header(work, running, work.plan.columns)
            while not cut.full and (part := await parts.next()) is not None:
                if isinstance(part, Progress):
                    yield part
                elif (data := cut.take(part)) is not None:
                    running.rows = cut.rows
                    cut.check()
                    yield data
        yield _trailer(cut, running, steps)

    def _answer(
        self, work: Work, running: Running, steps: Steps, most: int | None
    ) -> Answer:
        collected = Collected(
            memory=self._merge.memory, broadcast=self._broadcast_memory
        )
        fragments = Fragments(
            work,
            running,
            collected,
            executive=self._executive,
            members=self._members,
            router=self._preparation.route,
            epoch=self._epoch,
            most=most,
        )
        return Answer(
            work,
            running,
            steps,
            fragments=fragments,
            merge=self._merge,
            system=self._system,
            collected=collected,
        )


def _header(work: Work, running: Running, columns: tuple[Column, ...]) -> Header:
    chunks, of = work.read
    return Header(
        schema=encode_schema(arrow_schema(columns)),
        query_id=running.id,
        release=work.plan.release,
        snapshot=work.snapshot.id,
        chunks=chunks,
        chunks_total=of,
    )


def _trailer(cut: Cut, running: Running, steps: Steps) -> Trailer:
    overflow = (f"the result was cut after {cut.rows} rows",) if cut.overflow else ()
    return Trailer(
        rows=cut.rows,
        overflow=cut.overflow,
        warnings=overflow,
        microseconds=steps.total,
        steps=steps.spent,
        bytes_scanned=running.tally.bytes_scanned,
        attempts=running.tally.attempts,
        digest=cut.digest.value(),
    )
