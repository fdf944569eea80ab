"""The loader's calls to the czar and to workers, with typed errors."""

from collections.abc import Callable
from threading import Lock
from typing import Any, Final, Self, TypeVar

import grpc

from qserv.wire.channel import sync_channel
from qserv.wire.errors import from_rpc
from qserv.wire.v1 import czar_pb2, czar_pb2_grpc

CALL_SECONDS: Final = 120.0
"""Deadline of a call that only asks or tells."""

COMMIT_SECONDS: Final = 900.0
"""Deadline of a commit, in which workers sync what they install."""

Reply = TypeVar("Reply")


class Channels:
    """One channel for each endpoint, shared by threads, closed together."""

    def __init__(self) -> None:
        self._open: dict[str, grpc.Channel] = {}
        self._lock = Lock()

    def __call__(self, endpoint: str) -> grpc.Channel:
        """Return the channel to ``host:port``."""
        with self._lock:
            if endpoint not in self._open:
                self._open[endpoint] = sync_channel(endpoint)
            return self._open[endpoint]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._open.values():
            channel.close()


class Czar:
    """The life of one load, as the czar is told of it.

    Every method raises the typed error that the czar raised, or `CzarUnavailable`.

    Parameters
    ----------
    endpoint
        ``host:port`` of the czar.
    channels
        Gives its channel.
    """

    def __init__(self, endpoint: str, channels: Channels) -> None:
        self._endpoint = endpoint
        self._stub = czar_pb2_grpc.CzarStub(channels(endpoint))

    def begin(self, request: czar_pb2.BeginRequest) -> czar_pb2.BeginReply:
        """Begin a load."""
        return self._call(self._stub.Begin, request)

    def place(self, request: czar_pb2.PlaceRequest) -> czar_pb2.PlaceReply:
        """Ask which workers hold what."""
        return self._call(self._stub.Place, request)

    def contribute(self, request: czar_pb2.ContributeRequest) -> None:
        """Tell which files are staged where."""
        self._call(self._stub.Contribute, request)

    def commit(self, request: czar_pb2.CommitRequest) -> int:
        """Make the load visible; return the snapshot that shows it."""
        return self._call(self._stub.Commit, request, COMMIT_SECONDS).snapshot

    def abort(self, request: czar_pb2.AbortRequest) -> None:
        """Have everybody forget the load."""
        self._call(self._stub.Abort, request)

    def _call(
        self,
        method: Callable[..., Reply],
        request: Any,
        seconds: float = CALL_SECONDS,
    ) -> Reply:
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise from_rpc(error, self._endpoint, czar=True) from error
