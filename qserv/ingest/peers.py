"""The loader's calls to the czar and to workers, with typed errors."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

import grpc

from qserv import patience
from qserv.errors import UnknownName
from qserv.wire.channel import sync_channel
from qserv.wire.errors import from_rpc
from qserv.wire.v1 import czar_pb2, czar_pb2_grpc

CALL_SECONDS: Final = 120.0
"""Deadline of a call that only asks or tells."""

COMMIT_SECONDS: Final = 900.0
"""Deadline of a commit, in which workers sync what they install."""

_OVER: Final = frozenset({"committed", "aborted"})

Reply = TypeVar("Reply")


@cache
def channel(endpoint: str) -> grpc.Channel:
    """Return this process's channel to ``host:port``; it stays open."""
    return sync_channel(endpoint)


class Czar:
    """The life of one load, as the czar is told of it.

    Every method raises the typed error that the czar raised, or `CzarUnavailable`.

    Parameters
    ----------
    endpoint
        ``host:port`` of the czar.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._stub = czar_pb2_grpc.CzarStub(channel(endpoint))

    def begin(self, request: czar_pb2.BeginRequest) -> czar_pb2.BeginReply:
        """Begin a load; asks once, for nobody may be there."""
        return self._once(self._stub.Begin, request)

    def begin_again(self, request: czar_pb2.BeginRequest) -> czar_pb2.BeginReply:
        """Begin a load after the czar let it wait."""
        return self._call(self._stub.Begin, request)

    def place(self, request: czar_pb2.PlaceRequest) -> czar_pb2.PlaceReply:
        """Ask which workers hold what."""
        return self._call(self._stub.Place, request)

    def contribute(self, request: czar_pb2.ContributeRequest) -> None:
        """Tell which files are staged where."""
        self._call(self._stub.Contribute, request)

    def commit(self, request: czar_pb2.CommitRequest) -> czar_pb2.CommitReply:
        """Make the load visible; tells the snapshot that shows it."""
        return self._call(self._stub.Commit, request, COMMIT_SECONDS)

    def keep(self, request: czar_pb2.KeepRequest) -> None:
        """Say that the loader is there."""
        self._once(self._stub.Keep, request)

    def staged(self, request: czar_pb2.StagedRequest) -> list[czar_pb2.StagedFile]:
        """Return the files that workers have acknowledged."""

        def streamed(request: Any, timeout: float) -> list[czar_pb2.StagedFile]:
            replies = self._stub.Staged(request, timeout=timeout)
            return [file for reply in replies for file in reply.files]

        return self._call(streamed, request)

    def ended(self, load: str) -> bool | None:
        """Say whether a load has ended; None where the czar knows of none."""
        request = czar_pb2.ListLoadsRequest(load=load)
        try:
            pages = self._stub.ListLoads(request, timeout=CALL_SECONDS)
            return all(known.state in _OVER for page in pages for known in page.loads)
        except grpc.RpcError as error:
            told = from_rpc(error, self._endpoint, czar=True)
            return None if isinstance(told, UnknownName) else False

    def stored(self, release: str, table: str) -> list[czar_pb2.ListStoredReply]:
        """Ask what the own rows of a live table are."""
        asked = czar_pb2.ListStoredRequest(release=release, table=table)
        try:
            return list(self._stub.ListStored(asked, timeout=CALL_SECONDS))
        except grpc.RpcError as error:
            raise from_rpc(error, self._endpoint, czar=True) from error

    def abort(self, request: czar_pb2.AbortRequest) -> None:
        """Have everybody forget the load."""
        self._once(self._stub.Abort, request)

    def _call(
        self,
        method: Callable[..., Reply],
        request: Any,
        seconds: float = CALL_SECONDS,
    ) -> Reply:
        """Call again while the czar may be on its way back: no call acts twice."""
        again = patience.for_czar()
        reply: Reply = again(self._once, method, request, seconds)
        return reply

    def _once(
        self,
        method: Callable[..., Reply],
        request: Any,
        seconds: float = CALL_SECONDS,
    ) -> Reply:
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise from_rpc(error, self._endpoint, czar=True) from error
