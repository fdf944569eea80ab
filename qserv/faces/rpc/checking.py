"""The calls of a czar that have its cluster checked."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc.aio
from typing_extensions import override

from qserv.catalog.store import Store
from qserv.czar.examination import examine
from qserv.czar.members import Members
from qserv.czar.scrubs import scrub
from qserv.faces.rpc.status import own_version
from qserv.wire.v1 import czar_pb2
from qserv.wire.v1.czar_pb2_grpc import CzarServicer

Context = grpc.aio.ServicerContext


class Checking(CzarServicer):
    """Serves those who look after a cluster."""

    _store: Store
    _members: Members
    _lease: float
    """Seconds of a loader's silence after which its load counts as left."""

    @override
    async def Scrub(
        self,
        request: czar_pb2.ScrubClusterRequest,
        context: "Context[czar_pb2.ScrubClusterRequest, czar_pb2.ScrubClusterReply]",
    ) -> AsyncGenerator[czar_pb2.ScrubClusterReply, None]:
        """Have workers read all their files."""
        steps = scrub(self._members, request.worker_ids, request.bytes_per_second)
        async with aclosing(steps):
            async for reply in steps:
                yield reply

    @override
    async def Examine(
        self,
        request: czar_pb2.ExamineClusterRequest,
        context: (
            "Context[czar_pb2.ExamineClusterRequest, czar_pb2.ExamineClusterReply]"
        ),
    ) -> czar_pb2.ExamineClusterReply:
        """Check everything."""
        version = own_version()
        found = await examine(
            self._store, self._members, version=version, lease=self._lease
        )
        return czar_pb2.ExamineClusterReply(
            findings=[
                czar_pb2.Finding(
                    check=each.check,
                    level=each.level,
                    text=each.text,
                    remedy=each.remedy,
                    scrub=each.scrub,
                )
                for each in found
            ],
            clock=time.time(),
            version=version,
        )
