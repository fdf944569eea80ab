"""The calls of a loader, and of those who ask what became of loads."""

from collections.abc import AsyncIterator

import grpc.aio
from typing_extensions import override

from qserv.catalog import loadhistory, system
from qserv.catalog.storedrows import stored_rows
from qserv.czar.loads import Loads
from qserv.czar.members import Members
from qserv.faces.rpc import loads as convert
from qserv.faces.rpc import storedrows
from qserv.wire.v1 import czar_pb2
from qserv.wire.v1.czar_pb2_grpc import CzarServicer

Context = grpc.aio.ServicerContext


class LoadCalls(CzarServicer):
    """The part of a czar's face that loads use.

    Parameters
    ----------
    loads
        Runs loads.
    members
        The workers.
    """

    def __init__(self, *, loads: Loads, members: Members) -> None:
        self._loads = loads
        self._members = members

    @override
    async def Begin(
        self,
        request: czar_pb2.BeginRequest,
        context: "Context[czar_pb2.BeginRequest, czar_pb2.BeginReply]",
    ) -> czar_pb2.BeginReply:
        """Begin a load, or go on with one."""
        begun = await self._loads.begin(convert.beginning(request))
        return convert.begun(begun, self._members.alive, self._loads.lease)

    @override
    async def Place(
        self,
        request: czar_pb2.PlaceRequest,
        context: "Context[czar_pb2.PlaceRequest, czar_pb2.PlaceReply]",
    ) -> czar_pb2.PlaceReply:
        """Choose the workers of a load."""
        placed = await self._loads.place(
            request.transaction,
            request.tree,
            request.index_shards,
            attempt=request.attempt,
            avoid=request.avoid,
            renew=request.renew,
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
            attempt=request.attempt,
        )
        return czar_pb2.ContributeReply()

    @override
    async def Staged(
        self,
        request: czar_pb2.StagedRequest,
        context: "Context[czar_pb2.StagedRequest, czar_pb2.StagedReply]",
    ) -> AsyncIterator[czar_pb2.StagedReply]:
        """Tell which files of a load workers hold."""
        files = await self._loads.staged(request.transaction, request.attempt)
        for page in convert.pages(files):
            yield page

    @override
    async def ListStored(
        self,
        request: czar_pb2.ListStoredRequest,
        context: "Context[czar_pb2.ListStoredRequest, czar_pb2.ListStoredReply]",
    ) -> AsyncIterator[czar_pb2.ListStoredReply]:
        """Tell what the own rows of a table are, and who has them."""
        system.check_release(request.release)
        found = await self._loads.registry.read(
            stored_rows, request.release, request.table
        )
        for page in storedrows.pages(found, self._members.all):
            yield page

    @override
    async def Keep(
        self,
        request: czar_pb2.KeepRequest,
        context: "Context[czar_pb2.KeepRequest, czar_pb2.KeepReply]",
    ) -> czar_pb2.KeepReply:
        """Take a loader's sign of life."""
        progress = convert.progress(request)
        await self._loads.keep(request.transaction, progress, request.attempt)
        return czar_pb2.KeepReply()

    @override
    async def Commit(
        self,
        request: czar_pb2.CommitRequest,
        context: "Context[czar_pb2.CommitRequest, czar_pb2.CommitReply]",
    ) -> czar_pb2.CommitReply:
        """Make a load visible."""
        rows, bounds, checked = convert.commit(request)
        committed = await self._loads.commit(
            request.transaction,
            rows,
            bounds,
            checked=checked,
            attempt=request.attempt,
        )
        return convert.committed(committed, self._members.alive)

    @override
    async def Abort(
        self,
        request: czar_pb2.AbortRequest,
        context: "Context[czar_pb2.AbortRequest, czar_pb2.AbortReply]",
    ) -> czar_pb2.AbortReply:
        """Give a load up."""
        await self._loads.abort(request.transaction, request.reason, request.attempt)
        return czar_pb2.AbortReply()

    @override
    async def ListLoads(
        self,
        request: czar_pb2.ListLoadsRequest,
        context: "Context[czar_pb2.ListLoadsRequest, czar_pb2.ListLoadsReply]",
    ) -> AsyncIterator[czar_pb2.ListLoadsReply]:
        """Tell which loads there are, and of one what each file brought."""
        past = await self._loads.history(
            release=request.release,
            load=request.load,
            ended=None if request.all or request.load else loadhistory.LAST,
        )
        for page in convert.listed(past, self._loads):
            yield page
        if request.load:
            for page in convert.brought(await self._loads.brought(request.load)):
                yield page
