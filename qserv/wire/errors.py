"""Errors that keep their class across the wire.

A server wrapped in `TypedErrors` ends a failed call with a gRPC status for everybody
and, for us, the `Error` message in the trailing metadata; `from_rpc` makes the same
error again from it.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from typing_extensions import override

from qserv import errors
from qserv.telemetry import logger, query_of
from qserv.wire.v1 import common_pb2

__all__ = ["TRAILER", "TypedErrors", "error_from_proto", "error_to_proto", "from_rpc"]

TRAILER: Final = "qserv-error-bin"
"""Key of the trailing metadata that carries the `Error` message."""

_TEXT_LIMIT: Final = 4000
# Trailing metadata may have some kilobytes.
_CHUNKS: Final = 200
_DETAILS_LIMIT: Final = 400

_STATUS: Final[dict[type[errors.QservError], grpc.StatusCode]] = {
    errors.UserError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownName: grpc.StatusCode.NOT_FOUND,
    errors.UnsupportedQuery: grpc.StatusCode.UNIMPLEMENTED,
    errors.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.ClusterError: grpc.StatusCode.UNAVAILABLE,
    errors.ChunkMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CorruptData: grpc.StatusCode.DATA_LOSS,
    errors.TaskFailed: grpc.StatusCode.ABORTED,
    errors.SpoolLost: grpc.StatusCode.DATA_LOSS,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.QservError: grpc.StatusCode.INTERNAL,
}

_log = logger(__name__)


def error_to_proto(error: errors.QservError, query_id: str = "") -> common_pb2.Error:
    """Turn an error into its message; a text beyond 4000 characters is cut."""
    return common_pb2.Error(
        code=error.code,
        text=error.text[:_TEXT_LIMIT],
        query_id=query_id or query_of(error),
        worker_id=error.worker_id if isinstance(error, errors.SpoolLost) else "",
        chunks=error.chunks[:_CHUNKS] if isinstance(error, errors.ClusterError) else (),
    )


def error_from_proto(message: common_pb2.Error) -> errors.QservError:
    """Make the error again that a message tells of."""
    made = errors.from_wire(message.code, message.text)
    if isinstance(made, errors.ClusterError):
        made.chunks = tuple(message.chunks)
    if isinstance(made, errors.SpoolLost):
        made.worker_id = message.worker_id
    return made


def from_rpc(
    error: grpc.RpcError, peer: str, *, czar: bool = False
) -> errors.QservError:
    """Make the error again that a failed call ended with.

    Parameters
    ----------
    error
        What the sync or the async gRPC client raised.
    peer
        Address of the server, for the text.
    czar
        Whether the server is a czar; else it is a worker.

    Returns
    -------
    QservError
        The class that the server raised. Without one, what the status tells: the
        deadline passed, the call was cancelled, a message was too large; any other
        status means that nobody answered properly: `CzarUnavailable` or
        `WorkerUnavailable`.
    """
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == TRAILER:
            return _decode(value, peer)
    match call.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlineExceeded(
                f"{peer} did not finish in the time given, and was told to stop: "
                "allow more time, or ask for less"
            )
        case grpc.StatusCode.CANCELLED:
            return errors.Cancelled(f"the call to {peer} was cancelled")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return errors.LimitExceeded(f"{peer}: {call.details()}")
        case grpc.StatusCode.UNIMPLEMENTED:
            return errors.InvalidRequest(
                f"{peer} does not know this call: is it a qserv of this version?"
            )
        case _:
            return _unavailable(call.details(), peer, czar=czar)


def _unavailable(details: str, peer: str, *, czar: bool) -> errors.ClusterError:
    unavailable = errors.CzarUnavailable if czar else errors.WorkerUnavailable
    return unavailable(
        f"the {'czar' if czar else 'worker'} at {peer} does not answer: {details}"
    )


def _decode(value: bytes, peer: str) -> errors.QservError:
    try:
        return error_from_proto(common_pb2.Error.FromString(value))
    except DecodeError:
        return errors.InternalError(f"{peer} sent an error that cannot be read")


class TypedErrors(grpc.aio.ServerInterceptor):
    """Ends failed calls with a status and the typed error in the trailing metadata.

    An exception that is no `QservError` is a bug: it is logged with its traceback and
    goes out as `InternalError` that names only its class, for its text may hold paths
    or values. Cancellation passes through. Streams are written from a coroutine, so
    that a cancelled call closes the handler's generator at once.
    """

    @override
    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails],
            "Awaitable[grpc.RpcMethodHandler[Any, Any] | None]",
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Wrap the handler of one call; None where the server lacks the method."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        behaviour = (
            handler.unary_unary
            or handler.stream_unary
            or handler.unary_stream
            or handler.stream_stream
        )
        wrap = _stream if inspect.isasyncgenfunction(behaviour) else _coroutine
        kind = (
            f"{'stream' if handler.request_streaming else 'unary'}_"
            f"{'stream' if handler.response_streaming else 'unary'}"
        )
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        made: grpc.RpcMethodHandler[Any, Any] = make(
            wrap(behaviour, method),
            handler.request_deserializer,
            handler.response_serializer,
        )
        return made


Coroutine = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncGenerator[Any, None]]


def _coroutine(behaviour: Coroutine, method: str) -> Coroutine:
    async def call(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 the boundary: all must be told
            await _abort(error, request, context, method)

    return call


def _stream(behaviour: Stream, method: str) -> Coroutine:
    async def call(request: Any, context: Any) -> None:
        try:
            async with aclosing(behaviour(request, context)) as messages:
                async for message in messages:
                    await context.write(message)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 the boundary: all must be told
            await _abort(error, request, context, method)

    return call


async def _abort(error: Exception, request: Any, context: Any, method: str) -> NoReturn:
    query_id = query_of(error) or getattr(request, "query_id", "")
    typed = error if isinstance(error, errors.QservError) else None
    if typed is None:
        _log.error("bug", method=method, query_id=query_id, exc_info=error)
        where = f" in query {query_id}" if query_id else ""
        typed = errors.InternalError(
            f"{type(error).__name__} in {method}{where}; the server's log says more"
        )
    message = error_to_proto(typed, query_id)
    await context.abort(
        _status(type(typed)),
        typed.text[:_DETAILS_LIMIT],
        ((TRAILER, message.SerializeToString()),),
    )
    raise AssertionError("abort raises")


def _status(kind: type[errors.QservError]) -> grpc.StatusCode:
    return next(_STATUS[base] for base in kind.__mro__ if base in _STATUS)
