"""The gRPC face of a czar: thin, every call is one line of `qserv.czar`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc.aio
from typing_extensions import override

from qserv.catalog.store import Store
from qserv.czar.damage import Damage
from qserv.czar.dropping import Dropping
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.members import Members
from qserv.czar.placements import Placements
from qserv.czar.repair import Repair
from qserv.czar.session import Session
from qserv.czar.views import Views
from qserv.dialects.statements import Mode
from qserv.faces.rpc import convert, placement
from qserv.faces.rpc.checking import Checking
from qserv.faces.rpc.loadcalls import LoadCalls
from qserv.faces.rpc.loads import under_way
from qserv.faces.rpc.status import status
from qserv.faces.rpc.tables import listed
from qserv.wire.bundle import Bundle
from qserv.wire.v1 import czar_pb2

Context = grpc.aio.ServicerContext


class CzarService(LoadCalls, Checking):
    """Serves users, loaders and workers.

    Parameters
    ----------
    session
        Answers queries.
    loads
        Runs loads.
    views
        Makes, drops and describes views.
    dropping
        Drops tables.
    installation
        Has workers forget aborted loads.
    damage
        Takes note of bad copies.
    members
        The workers.
    repair, placements
        Makes copies as they are wanted; changes what is wanted.
    store
        The metadata.
    interval
        Seconds between two signs of life of a worker.
    lease
        Seconds of a loader's silence after which its load counts as left.
    """

    def __init__(
        self,
        *,
        session: Session,
        loads: Loads,
        views: Views,
        dropping: Dropping,
        installation: Installation,
        damage: Damage,
        members: Members,
        repair: Repair,
        placements: Placements,
        store: Store,
        interval: float,
        lease: float,
    ) -> None:
        super().__init__(loads=loads, members=members)
        self._repair = repair
        self._placements = placements
        self._session = session
        self._views = views
        self._dropping = dropping
        self._installation = installation
        self._damage = damage
        self._store = store
        self._interval = interval
        self._lease = lease
        self._forgetting: set[asyncio.Task[None]] = set()

    @override
    async def Query(
        self,
        request: czar_pb2.QueryRequest,
        context: "Context[czar_pb2.QueryRequest, czar_pb2.ResultFrames]",
    ) -> AsyncGenerator[czar_pb2.ResultFrames, None]:
        """Answer one query as a stream of frames."""
        answer = self._session.query(convert.request(request))
        waiting = Bundle[czar_pb2.ResultFrame]()
        async with aclosing(answer) as frames:
            async for frame in frames:
                waiting.add(convert.frame(frame))
                # A few rows wait for what follows them, most often the trailer.
                if waiting.full or not isinstance(frame, bytes):
                    yield czar_pb2.ResultFrames(frames=waiting.take())

    @override
    async def Explain(
        self,
        request: czar_pb2.ExplainRequest,
        context: "Context[czar_pb2.ExplainRequest, czar_pb2.ExplainReply]",
    ) -> czar_pb2.ExplainReply:
        """Print how a query would be answered; run, too, if that is asked for."""
        mode = Mode.ANALYZE if request.analyze else Mode.EXPLAIN
        text = await self._session.explain(convert.request(request.query, mode))
        return czar_pb2.ExplainReply(text=text)

    @override
    async def Cancel(
        self,
        request: czar_pb2.CancelRequest,
        context: "Context[czar_pb2.CancelRequest, czar_pb2.CancelReply]",
    ) -> czar_pb2.CancelReply:
        """Stop a running query."""
        return czar_pb2.CancelReply(found=self._session.cancel(request.query_id))

    @override
    async def Status(
        self,
        request: czar_pb2.StatusRequest,
        context: "Context[czar_pb2.StatusRequest, czar_pb2.StatusReply]",
    ) -> czar_pb2.StatusReply:
        """Describe the cluster."""
        snapshot, running = self._store.snapshot(), self._session.running
        reply = status(snapshot, self._members, running, self._repair)
        reply.loads.extend(under_way(self._loads))
        reply.trouble = self._store.trouble
        return reply

    @override
    async def ShowPlacement(
        self,
        request: czar_pb2.ShowPlacementRequest,
        context: "Context[czar_pb2.ShowPlacementRequest, czar_pb2.ShowPlacementReply]",
    ) -> czar_pb2.ShowPlacementReply:
        """Describe which workers hold what."""
        families = self._placements.names(request.family)
        return await placement.shown(self._repair, self._members, families)

    @override
    async def ChangePlacement(
        self,
        request: czar_pb2.ChangePlacementRequest,
        context: (
            "Context[czar_pb2.ChangePlacementRequest, czar_pb2.ChangePlacementReply]"
        ),
    ) -> czar_pb2.ChangePlacementReply:
        """Drain, readmit or give up a worker; change the copies of a family."""
        text = await placement.changed(self._placements, request)
        return czar_pb2.ChangePlacementReply(text=text)

    @override
    async def CreateView(
        self,
        request: czar_pb2.CreateViewRequest,
        context: "Context[czar_pb2.CreateViewRequest, czar_pb2.CreateViewReply]",
    ) -> czar_pb2.CreateViewReply:
        """Make a view."""
        made = await self._views.create(
            request.release, convert.view(request), replaces=request.replace
        )
        return czar_pb2.CreateViewReply(view=convert.described(made))

    @override
    async def DropView(
        self,
        request: czar_pb2.DropViewRequest,
        context: "Context[czar_pb2.DropViewRequest, czar_pb2.DropViewReply]",
    ) -> czar_pb2.DropViewReply:
        """Drop a view."""
        snapshot = await self._views.drop(request.release, request.name)
        return czar_pb2.DropViewReply(snapshot=snapshot)

    @override
    async def ListViews(
        self,
        request: czar_pb2.ListViewsRequest,
        context: "Context[czar_pb2.ListViewsRequest, czar_pb2.ListViewsReply]",
    ) -> czar_pb2.ListViewsReply:
        """Describe views."""
        snapshot = request.snapshot if request.HasField("snapshot") else None
        found = await self._views.describe(snapshot, request.release or None)
        return czar_pb2.ListViewsReply(views=map(convert.described, found))

    @override
    async def DropTable(
        self,
        request: czar_pb2.DropTableRequest,
        context: "Context[czar_pb2.DropTableRequest, czar_pb2.DropTableReply]",
    ) -> czar_pb2.DropTableReply:
        """Drop tables."""
        gone = await self._dropping.drop(
            request.release, request.name, with_children=request.with_children
        )
        return czar_pb2.DropTableReply(snapshot=gone.snapshot, names=gone.names)

    @override
    async def ListTables(
        self,
        request: czar_pb2.ListTablesRequest,
        context: "Context[czar_pb2.ListTablesRequest, czar_pb2.ListTablesReply]",
    ) -> czar_pb2.ListTablesReply:
        """Describe the tables of a release."""
        number = request.snapshot if request.HasField("snapshot") else None
        snapshot = await asyncio.to_thread(self._store.snapshot, number)
        return listed(snapshot, request.release)

    @override
    async def Join(
        self,
        request: czar_pb2.JoinRequest,
        context: "Context[czar_pb2.JoinRequest, czar_pb2.JoinReply]",
    ) -> czar_pb2.JoinReply:
        """Take a worker's sign of life."""
        self._store.heard(request.worker_id, request.remembered)
        worker, fresh = await self._members.join(
            request.worker_id,
            request.endpoint,
            request.threads,
            (request.disk_free, request.disk_total),
        )
        if fresh:
            self._loads.joined()
            task = asyncio.create_task(self._installation.forget([worker]))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)
        await self._damage.told(worker, request.damaged, request.damaged_total)
        return czar_pb2.JoinReply(
            worker_id=worker,
            cluster_id=self._store.cluster_id,
            interval=self._interval,
            open_transactions=self._loads.open,
            epoch=self._store.epoch,
        )

    async def close(self) -> None:
        """Stop what runs beside the calls."""
        for task in self._forgetting:
            task.cancel()
        await asyncio.gather(*self._forgetting, return_exceptions=True)
