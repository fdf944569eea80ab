"""The gRPC face of a czar: thin, every call is one line of `qserv.czar`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc.aio
from typing_extensions import override

from qserv.catalog.store import Store
from qserv.czar.damage import Damage
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.members import Members
from qserv.czar.session import Session
from qserv.czar.views import Views
from qserv.dialects.statements import Mode
from qserv.faces.rpc import convert
from qserv.faces.rpc.status import status
from qserv.wire.bundle import Bundle
from qserv.wire.messages import bounds_from_proto
from qserv.wire.v1 import czar_pb2
from qserv.wire.v1.czar_pb2_grpc import CzarServicer

Context = grpc.aio.ServicerContext


class CzarService(CzarServicer):
    """Serves users, loaders and workers.

    Parameters
    ----------
    session
        Answers queries.
    loads
        Runs loads.
    views
        Makes, drops and describes views.
    installation
        Has workers forget aborted loads.
    damage
        Takes note of bad copies.
    members
        The workers.
    store
        The metadata.
    interval
        Seconds between two signs of life of a worker.
    """

    def __init__(
        self,
        *,
        session: Session,
        loads: Loads,
        views: Views,
        installation: Installation,
        damage: Damage,
        members: Members,
        store: Store,
        interval: float,
    ) -> None:
        self._session = session
        self._loads = loads
        self._views = views
        self._installation = installation
        self._damage = damage
        self._members = members
        self._store = store
        self._interval = interval
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
        return status(self._store.snapshot(), self._members, self._session.running)

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
    async def Join(
        self,
        request: czar_pb2.JoinRequest,
        context: "Context[czar_pb2.JoinRequest, czar_pb2.JoinReply]",
    ) -> czar_pb2.JoinReply:
        """Take a worker's sign of life."""
        worker, fresh = await self._members.join(
            request.worker_id,
            request.endpoint,
            request.threads,
            (request.disk_free, request.disk_total),
        )
        if fresh:
            task = asyncio.create_task(self._installation.forget([worker]))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)
        await self._damage.told(worker, request.damaged, request.damaged_total)
        return czar_pb2.JoinReply(
            worker_id=worker,
            cluster_id=self._store.cluster_id,
            interval=self._interval,
            open_transactions=self._loads.open,
        )

    @override
    async def Begin(
        self,
        request: czar_pb2.BeginRequest,
        context: "Context[czar_pb2.BeginRequest, czar_pb2.BeginReply]",
    ) -> czar_pb2.BeginReply:
        """Begin a load."""
        number, goal = await self._loads.begin(convert.beginning(request))
        return convert.begun(number, goal, self._members.alive)

    @override
    async def Place(
        self,
        request: czar_pb2.PlaceRequest,
        context: "Context[czar_pb2.PlaceRequest, czar_pb2.PlaceReply]",
    ) -> czar_pb2.PlaceReply:
        """Choose the workers of a load."""
        placed = self._loads.place(
            request.transaction, request.tree, request.index_shards
        )
        return convert.placed(placed, self._members.all)

    @override
    async def Contribute(
        self,
        request: czar_pb2.ContributeRequest,
        context: "Context[czar_pb2.ContributeRequest, czar_pb2.ContributeReply]",
    ) -> czar_pb2.ContributeReply:
        """Take in what a loader staged."""
        await self._loads.contribute(
            request.transaction,
            [convert.contribution(message) for message in request.contributions],
            [convert.staged(message) for message in request.files],
        )
        return czar_pb2.ContributeReply()

    @override
    async def Commit(
        self,
        request: czar_pb2.CommitRequest,
        context: "Context[czar_pb2.CommitRequest, czar_pb2.CommitReply]",
    ) -> czar_pb2.CommitReply:
        """Make a load visible."""
        rows = dict(request.rows)
        bounds = {of.table: bounds_from_proto(of) for of in request.bounds}
        snapshot = await self._loads.commit(request.transaction, rows, bounds)
        return czar_pb2.CommitReply(snapshot=snapshot)

    @override
    async def Abort(
        self,
        request: czar_pb2.AbortRequest,
        context: "Context[czar_pb2.AbortRequest, czar_pb2.AbortReply]",
    ) -> czar_pb2.AbortReply:
        """Give a load up."""
        await self._loads.abort(request.transaction, request.reason)
        return czar_pb2.AbortReply()

    async def close(self) -> None:
        """Stop what runs beside the calls."""
        for task in self._forgetting:
            task.cancel()
        await asyncio.gather(*self._forgetting, return_exceptions=True)
