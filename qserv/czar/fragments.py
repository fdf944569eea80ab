"""Runs the fragments of one query on the workers."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing

import pyarrow as pa

from qserv.catalog.snapshot import Snapshot
from qserv.czar.collected import Collected, read_by
from qserv.czar.dispatch import Start
from qserv.czar.executive import Executive, Job, Rows
from qserv.czar.halos import around
from qserv.czar.members import Members
from qserv.czar.preparation import Work
from qserv.czar.queries import Running
from qserv.czar.tasks import fragment, replicas, shared, template
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

    async def run(self, number: int) -> AsyncGenerator[Rows, None]:
        """Run the fragment of that number.

        Yields
        ------
        Rows
            Of one batch each.
        """
        route = await self._route(number)
        runs = self._executive.run(
            self._job(number), self._start(number, route), self._running.tally
        )
        async with aclosing(runs) as batches:
            async for rows in batches:
                yield rows

    async def _route(self, number: int) -> Route:
        if (known := self._work.routes.get(number)) is not None:
            return known
        sent = fragment(self._work, number)
        found = self._collected.tables(read_by([sent]))
        route = await self._router(sent, self._work.snapshot, found)
        self._running.chunks += int(route.chunks.size)
        return route

    def _start(self, number: int, route: Route) -> Start:
        sent = fragment(self._work, number)
        alive = self._members.alive.keys()
        return Start(
            chunks=route.chunks,
            work=route.work,
            replicas=replicas(sent, route, self._work.snapshot, alive),
            alive=alive,
            busy=self._executive.busy,
        )

    def _job(self, number: int) -> Job:
        sent = fragment(self._work, number)
        task = template(
            self._work,
            number,
            query_id=self._running.id,
            epoch=self._epoch,
            limit=self._limit(number),
            side_tables=self._collected.side_tables(shared(sent, Sharing.BROADCAST)),
        )
        return Job(task, arrow_schema(sent.columns), around(sent, self._work.snapshot))

    def _limit(self, number: int) -> int | None:
        limit = fragment(self._work, number).limit
        if number < len(self._work.plan.stages) - 1 or self._most is None:
            return limit
        # One row more than is wanted tells that the result overflows.
        most = self._most + 1
        return most if limit is None else min(limit, most)
