"""Runs one prepared query: its fragment on the workers, its residual here."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

import pyarrow as pa

from qserv.catalog.snapshot import EVERYWHERE, Snapshot
from qserv.czar.dispatch import Start
from qserv.czar.executive import Executive, Rows, Stage
from qserv.czar.members import Members
from qserv.czar.merge import Merge
from qserv.czar.preparation import Work
from qserv.czar.queries import Running
from qserv.czar.results import Message, Progress, Steps
from qserv.errors import InternalError, LimitExceeded
from qserv.plan.plan import Fragment, Residual, ScanClass
from qserv.wire.codec import arrow_schema, encode_schema
from qserv.wire.messages import source_to_proto, value_to_proto
from qserv.wire.v1 import worker_pb2

_PROGRESS: Final = 0.25
"""Seconds between two progress frames."""

_SCAN_CLASS: Final = {
    ScanClass.INTERACTIVE: worker_pb2.SCAN_CLASS_INTERACTIVE,
    ScanClass.SCAN: worker_pb2.SCAN_CLASS_SCAN,
}

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
    executive, merge, members
        The czar's.
    epoch
        The czar's epoch.
    most
        Rows of the result after which nothing more is wanted; None: never.
    """

    def __init__(
        self,
        work: Work,
        running: Running,
        steps: Steps,
        *,
        executive: Executive,
        merge: Merge,
        members: Members,
        epoch: int,
        most: int | None,
    ) -> None:
        self._most = most
        self._work = work
        self._running = running
        self._steps = steps
        self._executive = executive
        self._merge = merge
        self._members = members
        self._epoch = epoch
        self._told = time.monotonic()
        self._rows = 0

    async def parts(self) -> AsyncGenerator[Part, None]:
        """Run the query.

        Yields
        ------
        Message or Progress
            The rows of the result, and how far it is.
        """
        fragment, residual = self._work.plan.fragment, self._work.plan.residual
        if residual is not None:
            parts = self._merged(residual, fragment)
        elif fragment is not None:
            parts = self._streamed(fragment)
        else:
            raise InternalError("a plan without stages")
        async with aclosing(parts):
            async for part in parts:
                yield part

    async def _streamed(self, fragment: Fragment) -> AsyncGenerator[Part, None]:
        try:
            async with aclosing(self._run(fragment)) as batches:
                async for rows in batches:
                    for data, batch in zip(rows.messages, rows.batches, strict=True):
                        yield Message(data, batch)
                    if (progress := self._progress(rows)) is not None:
                        yield progress
        finally:
            self._steps.done("execute")

    async def _merged(
        self, residual: Residual, fragment: Fragment | None
    ) -> AsyncGenerator[Part, None]:
        partials: list[pa.RecordBatch] = []
        schema, size, count = None, 0, 0
        if fragment is not None:
            schema = arrow_schema(fragment.columns)
            async with aclosing(self._run(fragment)) as batches:
                async for rows in batches:
                    partials += rows.batches
                    size += sum(map(len, rows.messages))
                    self._check_size(size)
                    if (progress := self._progress(rows)) is not None:
                        yield progress
                    count += sum(batch.num_rows for batch in rows.batches)
                    if fragment.limit is not None and count >= fragment.limit:
                        # A worker that has sent as many ends its task early, too.
                        break
            self._steps.done("execute")
        result = arrow_schema(self._work.plan.columns)
        merged = self._merge.rows(residual, partials, schema, result)
        async with aclosing(merged) as messages:
            async for message in messages:
                yield message
        self._steps.done("merge")

    def _check_size(self, size: int) -> None:
        if size > self._merge.memory:
            raise LimitExceeded(
                f"the chunks sent more than {self._merge.memory / 2**20:,.0f} MiB to "
                "be merged; select fewer rows or columns, or raise merge_memory"
            )

    def _run(self, fragment: Fragment) -> AsyncGenerator[Rows, None]:
        route = self._work.route
        start = Start(
            chunks=route.chunks,
            work=route.work,
            replicas=_replicas(self._work, fragment),
            alive=self._members.alive.keys(),
            busy=self._executive.busy,
        )
        return self._executive.run(self._stage(fragment), start, self._running.tally)

    def _stage(self, fragment: Fragment) -> Stage:
        work = self._work
        schema = arrow_schema(fragment.columns)
        task = worker_pb2.Task(
            query_id=self._running.id,
            stage=0,
            czar_epoch=self._epoch,
            snapshot=work.snapshot.id,
            sql=fragment.sql,
            parameters=[value_to_proto(value) for value in fragment.parameters],
            sources=[
                source_to_proto(
                    source,
                    family=(family := work.snapshot.family(source.release)).name,
                    tree_version=family.tree_version,
                )
                for source in fragment.sources
            ],
            schema=encode_schema(schema),
            scan_class=_SCAN_CLASS[work.plan.scan_class],
            batch_chunks=work.request.batch_chunks,
            limit=self._limit(fragment),
        )
        return Stage(task, schema)

    def _limit(self, fragment: Fragment) -> int | None:
        if self._work.plan.residual is not None or self._most is None:
            return fragment.limit
        # One row more than is wanted tells that the result overflows.
        most = self._most + 1
        return most if fragment.limit is None else min(fragment.limit, most)

    def _progress(self, rows: Rows) -> Progress | None:
        self._rows += sum(batch.num_rows for batch in rows.batches)
        now = time.monotonic()
        if now - self._told < _PROGRESS:
            return None
        self._told = now
        return Progress(
            self._running.tally.chunks_done, self._running.chunks, self._rows
        )


def _replicas(work: Work, fragment: Fragment) -> Mapping[int, tuple[str, ...]]:
    snapshot, route = work.snapshot, work.route
    if route.once:
        return {EVERYWHERE: _everywhere(snapshot, fragment)}
    return snapshot.family(work.plan.release).replicas


def _everywhere(snapshot: Snapshot, fragment: Fragment) -> tuple[str, ...]:
    """Return the workers that hold every replicated table that is read."""
    lists = [
        snapshot.family(source.release).replicas[EVERYWHERE]
        for source in fragment.sources
    ]
    common = set(lists[0]).intersection(*lists[1:])
    return tuple(worker for worker in lists[0] if worker in common)
