"""Czar values as messages, and back."""

from qserv.catalog.views import View
from qserv.czar.results import LANGUAGE, Frame, Header, Progress, Request, Trailer
from qserv.czar.views import Described
from qserv.dialects.statements import Mode
from qserv.errors import UnsupportedQuery
from qserv.wire.messages import (
    columns_to_proto,
)
from qserv.wire.v1 import czar_pb2


def request(message: czar_pb2.QueryRequest, mode: Mode = Mode.RUN) -> Request:
    """Read what a client asks for.

    Raises
    ------
    UnsupportedQuery
        If it has parameters.
    """
    if message.parameters:
        raise UnsupportedQuery(
            "query parameters are not answered yet; write the values into the query"
        )
    return Request(
        text=message.text,
        language=message.language or LANGUAGE,
        snapshot=message.snapshot if message.HasField("snapshot") else None,
        default_release=message.default_release or None,
        max_rows=message.max_rows if message.HasField("max_rows") else None,
        query_id=message.query_id,
        batch_chunks=message.batch_chunks,
        mode=mode,
    )


def frame(part: Frame) -> czar_pb2.ResultFrame:
    """Turn one part of a result into its message."""
    match part:
        case bytes():
            return czar_pb2.ResultFrame(data=czar_pb2.ResultData(record_batch=part))
        case Header():
            return czar_pb2.ResultFrame(
                header=czar_pb2.ResultHeader(
                    schema=part.schema,
                    query_id=part.query_id,
                    release=part.release,
                    snapshot=part.snapshot,
                    chunks=part.chunks,
                    chunks_total=part.chunks_total,
                )
            )
        case Progress():
            return czar_pb2.ResultFrame(
                progress=czar_pb2.ResultProgress(
                    chunks_done=part.chunks_done, chunks=part.chunks, rows=part.rows
                )
            )
        case Trailer():
            return czar_pb2.ResultFrame(
                trailer=czar_pb2.ResultTrailer(
                    rows=part.rows,
                    overflow=part.overflow,
                    warnings=part.warnings,
                    microseconds=part.microseconds,
                    bytes_scanned=part.bytes_scanned,
                    digest=part.digest,
                    microseconds_by_step=part.steps,
                    attempts=part.attempts,
                )
            )


def view(message: czar_pb2.CreateViewRequest) -> View:
    """Read what a view is to be."""
    return View(message.name, message.text, message.description)


def described(value: Described) -> czar_pb2.ViewDescription:
    """Turn a view and what it shows into its message."""
    return czar_pb2.ViewDescription(
        release=value.release,
        name=value.view.name,
        text=value.view.text,
        description=value.view.description,
        columns=columns_to_proto(value.columns),
        trouble=value.trouble,
        since=value.view.since,
    )
