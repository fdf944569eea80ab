"""Runs one prepared query, stage by stage: on the workers, or here."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from qserv.czar.collected import Collected, read_by
from qserv.czar.fragments import Fragments
from qserv.czar.merge import Merge
from qserv.czar.preparation import Work
from qserv.czar.queries import Running
from qserv.czar.results import Message, Progress, Steps
from qserv.czar.system import System
from qserv.errors import InternalError
from qserv.plan.plan import Fragment, Residual, Stage, SystemRows, stage_name
from qserv.wire.codec import arrow_schema

_PROGRESS: Final = 0.25
"""Seconds between two progress frames."""

Part = Message | Progress


class Answer:
    """One query on its way.

    Parameters
    ----------
    work
        What to run.
    running
        Counted up meanwhile.
    steps
        Told when a step is done.
    fragments, merge, system
        Run its stages.
    collected
        Keeps the rows of the stages before the last.
    """

    def __init__(
        self,
        work: Work,
        running: Running,
        steps: Steps,
        *,
        fragments: Fragments,
        merge: Merge,
        system: System,
        collected: Collected,
    ) -> None:
        self._stages = work.plan.stages
        self._snapshot = work.snapshot.id
        self._running = running
        self._steps = steps
        self._fragments = fragments
        self._merge = merge
        self._system = system
        self._collected = collected
        self._told = time.monotonic()
        self._rows = 0

    async def parts(self) -> AsyncGenerator[Part, None]:
        """Run the query.

        Yields
        ------
        Message or Progress
            The rows of the result, and how far it is.
        """
        if not self._stages:
            raise InternalError("a plan without stages")
        with self._fragments.exchanging():
            for number, stage in enumerate(self._stages):
                with self._timed(number):
                    async with aclosing(self._part(number, stage)) as parts:
                        async for part in parts:
                            yield part
                self._collected.keep(read_by(self._stages[number + 1 :]))

    @contextmanager
    def _timed(self, number: int) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            taken = time.monotonic() - began
            self._running.tally.stages[number].seconds = taken

    def _part(self, number: int, stage: Stage) -> AsyncGenerator[Part, None]:
        last = number == len(self._stages) - 1
        return self._run(number, stage) if last else self._collect(number, stage)

    async def _collect(self, number: int, stage: Stage) -> AsyncGenerator[Part, None]:
        """Keep the rows of a stage; yields its progress."""
        self._collected.open(number, stage.columns)
        limit = stage.limit if isinstance(stage, Fragment) else None
        rows = 0
        async with aclosing(self._run(number, stage)) as parts:
            async for part in parts:
                if isinstance(part, Progress):
                    yield part
                    continue
                self._collected.add(number, part)
                rows += part.rows.num_rows
                if limit is not None and rows >= limit:
                    # A worker that has sent as many ends its task early, too.
                    break

    def _run(self, number: int, stage: Stage) -> AsyncGenerator[Part, None]:
        match stage:
            case Fragment():
                return self._sent(number)
            case Residual():
                return self._merged(number, stage)
            case SystemRows():
                return self._counted(number, self._system.rows(stage, self._snapshot))

    async def _sent(self, number: int) -> AsyncGenerator[Part, None]:
        try:
            async with aclosing(self._fragments.run(number)) as batches:
                async for rows in batches:
                    for data, batch in zip(rows.messages, rows.batches, strict=True):
                        yield Message(data, batch)
                    self._rows += sum(batch.num_rows for batch in rows.batches)
                    if (progress := self._progress()) is not None:
                        yield progress
        finally:
            self._steps.done("execute")

    async def _merged(
        self, number: int, residual: Residual
    ) -> AsyncGenerator[Part, None]:
        tables = self._collected.tables(residual.inputs)
        inputs = {stage_name(number): table for number, table in tables.items()}
        schema = arrow_schema(residual.columns)
        merged = self._merge.rows(residual, inputs, schema)
        async with aclosing(self._counted(number, merged)) as messages:
            async for message in messages:
                yield message
        self._steps.done("merge")

    async def _counted(
        self, number: int, made: AsyncGenerator[Message, None]
    ) -> AsyncGenerator[Part, None]:
        happened = self._running.tally.stages[number]
        async with aclosing(made) as messages:
            async for message in messages:
                happened.rows += message.rows.num_rows
                happened.size += len(message.data)
                yield message

    def _progress(self) -> Progress | None:
        now = time.monotonic()
        if now - self._told < _PROGRESS:
            return None
        self._told = now
        tally = self._running.tally
        return Progress(tally.chunks_done, self._running.chunks, self._rows)
