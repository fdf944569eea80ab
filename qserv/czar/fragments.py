"""Runs the fragments of one query on the workers."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.snapshot import Snapshot
from qserv.czar.collected import Collected, read_by
from qserv.czar.dispatch import SetAside, Start
from qserv.czar.exchange import (
    Begin,
    Done,
    Ended,
    Event,
    Exchange,
    Fail,
    Finish,
    Lost,
    Run,
    Undo,
)
from qserv.czar.executive import Executive, Job, Rows
from qserv.czar.halos import around
from qserv.czar.members import Members
from qserv.czar.preparation import Work
from qserv.czar.queries import Running
from qserv.czar.tasks import bucket_input, fragment, replicas, shared, template
from qserv.errors import ClusterError
from qserv.plan.plan import Fragment, Route, Sharing
from qserv.wire.codec import arrow_schema

Router = Callable[[Fragment, Snapshot, Mapping[int, pa.Table]], Awaitable[Route]]


class Fragments:
    """The fragments of one query.

    Parameters
    ----------
    work
        The query.
    running
        Counted up meanwhile.
    collected
        The rows of earlier stages.
    executive, members
        The czar's.
    router
        Chooses the chunks of a fragment that an earlier stage restricts.
    epoch
        The czar's epoch.
    most
        Rows of the result after which nothing more is wanted; None: never.
    """

    def __init__(
        self,
        work: Work,
        running: Running,
        collected: Collected,
        *,
        executive: Executive,
        members: Members,
        router: Router,
        epoch: int,
        most: int | None,
    ) -> None:
        self._work = work
        self._running = running
        self._collected = collected
        self._executive = executive
        self._members = members
        self._router = router
        self._epoch = epoch
        self._most = most
        self._exchange = Exchange()
        self._routes: dict[int, Route] = {}
        self._spooled: Counter[int] = Counter()

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """Notice in the block when rows that workers keep are lost."""
        stages = self._work.plan.stages
        if not any(isinstance(each, Fragment) and each.spool for each in stages):
            yield
            return
        self._running.spools = True
        with self._members.watching(self._lost):
            yield

    async def run(self, number: int) -> AsyncGenerator[Rows, None]:
        """Run the fragment of that number until it is whole.

        Yields
        ------
        Rows
            Of one batch each.
        """
        route = await self._route(number)
        sent = fragment(self._work, number)
        event: Event = Begin(
            number,
            route.chunks.tolist(),
            spools=sent.spool is not None,
            inputs=tuple(shared(sent, Sharing.BUCKET)),
            steady=sent.spool is None or sent.spool.steady,
        )
        self._routes[number] = route
        self._running.tally.stages[number].routed = int(route.chunks.size)
        while (run := self._next(event)) is not None:
            job, start = await self._job(run), self._start(run)
            parts = self._executive.run(job, start, self._running.tally)
            async with aclosing(parts):
                async for part in parts:
                    if isinstance(part, SetAside):
                        self._lost(part.error.worker_id, part.error)
                        continue
                    self._done(run.stage, part)
                    # Rows of an earlier stage were spooled again, for this one.
                    if run.stage == number:
                        yield part
            event = Ended()

    def _next(self, event: Event) -> Run | None:
        """Return what must run now; None when the fragment is whole."""
        for action in self._exchange.handle(event):
            match action:
                case Undo():
                    self._undo(action)
                case Run():
                    return action
                case Fail():
                    raise action.error
                case Finish():
                    return None
        return None

    def _done(self, stage: int, rows: Rows) -> None:
        self._spooled[stage] += rows.size
        self._exchange.handle(
            Done(stage, rows.worker, rows.attempt, rows.batch, rows.chunks)
        )

    def _lost(self, worker: str, error: ClusterError) -> None:
        for action in self._exchange.handle(Lost(worker, error)):
            if isinstance(action, Undo):
                self._undo(action)

    def _undo(self, undone: Undo) -> None:
        self._running.tally.chunks_done -= len(undone.chunks)

    async def _route(self, number: int) -> Route:
        if (known := self._work.routes.get(number)) is not None:
            return known
        sent = fragment(self._work, number)
        found = self._collected.tables(read_by([sent]))
        route = await self._router(sent, self._work.snapshot, found)
        self._running.chunks += int(route.chunks.size)
        return route

    def _start(self, run: Run) -> Start:
        sent, route = fragment(self._work, run.stage), self._routes[run.stage]
        alive = self._members.alive.keys()
        where = replicas(sent, route, self._work.snapshot, alive)
        again = len(run.chunks) < len(route.chunks)
        kept = np.isin(route.chunks, run.chunks) if again else slice(None)
        return Start(
            chunks=route.chunks[kept],
            work=self._weighed(sent, route)[kept],
            replicas=_preferred(where, run) if run.avoid else where,
            alive=alive,
            busy=self._executive.busy,
        )

    def _weighed(self, sent: Fragment, route: Route) -> npt.NDArray[np.int64]:
        """Return the bytes to read of each chunk; buckets are taken for equal."""
        if not sent.buckets:
            return route.work
        spooled = sum(self._spooled[k] for k in shared(sent, Sharing.BUCKET))
        return np.full_like(route.work, max(1, spooled // sent.buckets))

    async def _job(self, run: Run) -> Job:
        sent = fragment(self._work, run.stage)
        members = self._members.all
        task = template(
            self._work,
            run.stage,
            query_id=self._running.id,
            epoch=self._epoch,
            limit=self._limit(run.stage),
            buckets=[
                bucket_input(self._work, number, shares, members)
                for number, shares in run.inputs.items()
            ],
        )
        return Job(
            task,
            arrow_schema(sent.columns),
            around(sent, self._work.snapshot),
            await self._collected.pieces(shared(sent, Sharing.BROADCAST)),
        )

    def _limit(self, number: int) -> int | None:
        sent = fragment(self._work, number)
        # Nobody counts the rows that stay on workers: all of them are made.
        limit = None if sent.spool else sent.limit
        if number < len(self._work.plan.stages) - 1 or self._most is None:
            return limit
        # One row more than is wanted tells that the result overflows.
        most = self._most + 1
        return most if limit is None else min(limit, most)


def _preferred(
    replicas: Mapping[int, tuple[str, ...]], run: Run
) -> dict[int, tuple[str, ...]]:
    """Return who can run each chunk: who has lost rows only if nobody else can."""
    able = {chunk: replicas.get(chunk, ()) for chunk in run.chunks}
    return {
        chunk: tuple(w for w in workers if w not in run.avoid) or workers
        for chunk, workers in able.items()
    }
